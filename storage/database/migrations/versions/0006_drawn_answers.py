"""The newest answers that rounds drew are found without reading all others."""

from __future__ import annotations

from alembic import op

revision = "6"
down_revision = "5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_replies_origin", "replies", ["personality_id", "origin", "id"])
