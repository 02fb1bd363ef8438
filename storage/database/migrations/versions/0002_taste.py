"""Measures of answers, choices among candidates, comparisons, and members who opted out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from storage.database.columns import LargeId

revision = "2"
down_revision = "1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reply_measures",
        _of_reply("reply_id"),
        sa.Column("revision", sa.String(12), nullable=False),
        sa.Column("numbers", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "reply_choices",
        _of_reply("reply_id"),
        sa.Column("utilities", sa.JSON, nullable=False),
        sa.Column("shown", sa.Integer, nullable=False),
        sa.Column("propensity", sa.Double, nullable=False),
    )
    op.create_table(
        "comparisons",
        _of_reply("first_id"),
        _of_reply("second_id"),
        sa.Column("user_id", sa.BigInteger, primary_key=True),
        sa.Column("better_id", LargeId),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    for column in ("second_id", "user_id"):
        op.create_index(f"ix_comparisons_{column}", "comparisons", [column])
    op.create_table(
        "opt_outs",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )


def _of_reply(name: str) -> sa.Column[int]:
    return sa.Column(name, LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
