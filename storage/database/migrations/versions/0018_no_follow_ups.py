"""Thanks, and going on after an answer, are read no more: no measurement on people spoke for them."""

from __future__ import annotations

from alembic import op

revision = "18"
down_revision = "17"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("follow_ups")
