"""large ids: answers and vote events outgrow 32 bits in a few years of millions a day"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

PARTITIONED = "p"
ANSWERS = (
    ("replies", "id"),
    ("reply_messages", "reply_id"),
    ("reply_speakers", "reply_id"),
    ("reply_sources", "reply_id"),
    ("vote_events", "id"),
    ("vote_events", "reply_id"),
    ("vote_causes", "reply_id"),
    ("corrections", "reply_id"),
    ("round_pairs", "chosen_reply_id"),
    ("round_pairs", "rejected_reply_id"),
    ("quarantined_votes", "reply_id"),
    ("arena_answers", "reply_id"),
)


def upgrade() -> None:
    _retype(sa.BigInteger())


def downgrade() -> None:
    _retype(sa.Integer())


def _retype(type_: sa.types.TypeEngine[int]) -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        return  # its integers have 64 bits
    kind = connection.scalar(sa.text("SELECT relkind FROM pg_class WHERE oid = 'vote_events'::regclass"))
    for table, column in ANSWERS:
        if (table, column) != ("vote_events", "reply_id") or kind != PARTITIONED:  # the key of partitions is fixed
            op.alter_column(table, column, type_=type_)
