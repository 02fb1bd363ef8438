"""The answers to one message are found without reading all others."""

from __future__ import annotations

from alembic import op

revision = "7"
down_revision = "6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_replies_source_message", "replies", ["source_message_id"])
