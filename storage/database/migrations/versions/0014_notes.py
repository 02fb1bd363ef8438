"""Notes of a member in one server, the answers that used them, and what members were asked to let the bot keep."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from storage.database.columns import LargeId

revision = "14"
down_revision = "13"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("member_notes", sa.Column("guild_id", sa.BigInteger))
    op.create_table(
        "reply_notes",
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("note_id", sa.Integer, sa.ForeignKey("member_notes.id", ondelete="CASCADE"), primary_key=True),
        sa.Index("ix_reply_notes_note_id", "note_id"),
    )
    op.create_table(
        "fact_questions",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("asked_at", MOMENT, nullable=False),
    )
    op.create_table(
        "note_opt_outs",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("since", MOMENT, nullable=False),
    )
