"""The console: sessions, sittings in which people label pairs of answers, and prompts of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from storage.database.columns import LargeId

revision = "8"
down_revision = "7"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sittings",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Index("ix_sittings_person", "personality_id", "user_id"),
    )
    op.create_table(
        "sitting_pairs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sitting_id", sa.Integer, sa.ForeignKey("sittings.id", ondelete="CASCADE"), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        _reply("first_id"),
        _reply("second_id"),
        sa.Column("chosen_by", sa.String(32), nullable=False),
        sa.Column("label", sa.String(32)),
        sa.Column("labelled_at", MOMENT),
    )
    for column in ("sitting_id", "first_id", "second_id"):
        op.create_index(f"ix_sitting_pairs_{column}", "sitting_pairs", [column])
    op.create_table(
        "own_prompts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("added_by", sa.String(64), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.UniqueConstraint("personality_id", "digest", name="uq_own_prompts_personality_id"),
    )
    op.create_table(
        "console_sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("is_link", sa.Boolean, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
    )
    for column in ("user_id", "expires_at"):
        op.create_index(f"ix_console_sessions_{column}", "console_sessions", [column])


def _reply(column: str) -> sa.Column[int]:
    return sa.Column(column, LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), nullable=False)
