"""Messages whose answers were deleted, so that a restart does not answer them again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "17"
down_revision = "16"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "answered_questions",
        sa.Column("message_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
    )
