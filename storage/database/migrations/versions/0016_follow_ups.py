"""Weak votes: what members write after an answer, such as thanks, without the words."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from storage.database.columns import LargeId

revision = "16"
down_revision = "15"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "follow_ups",
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("said", sa.String(32)),
        sa.Column("message_id", sa.BigInteger),
        sa.Column("said_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_follow_ups_message_id", "follow_ups", ["message_id"])
