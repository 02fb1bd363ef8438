"""Whether what people like acts on a personality, and whether they were told; where it acted already, they know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "21"
down_revision = "20"
branch_labels = None
depends_on = None

PERSONALITIES = sa.table("personalities", *(sa.column(name) for name in ("id", "told_of_choosing", "told_of_teaching")))
REPLIES = sa.table("replies", sa.column("id"), sa.column("personality_id"))
CHOICES = sa.table("reply_choices", sa.column("reply_id"))
ROUNDS = sa.table("rounds", sa.column("id"), sa.column("personality_id"))
PAIRS = sa.table("round_pairs", sa.column("round_id"), sa.column("source"))


def upgrade() -> None:
    columns = {"follows_taste": sa.true(), "told_of_choosing": sa.false(), "told_of_teaching": sa.false()}
    for name, before in columns.items():
        op.add_column("personalities", sa.Column(name, sa.Boolean, nullable=False, server_default=before))
    chose = sa.select(CHOICES.c.reply_id).join(REPLIES, REPLIES.c.id == CHOICES.c.reply_id)
    taught = sa.select(PAIRS.c.round_id).join(ROUNDS, ROUNDS.c.id == PAIRS.c.round_id).where(PAIRS.c.source == "taste")
    for values, acted in (
        ({"told_of_choosing": sa.true()}, chose.where(REPLIES.c.personality_id == PERSONALITIES.c.id)),
        ({"told_of_teaching": sa.true()}, taught.where(ROUNDS.c.personality_id == PERSONALITIES.c.id)),
    ):
        op.execute(sa.update(PERSONALITIES).where(sa.exists(acted)).values(values))
