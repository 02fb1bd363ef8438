"""Personalities with a picture of their own, and the webhooks through which they speak."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "13"
down_revision = "12"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("personalities", sa.Column("picture_digest", sa.String(64)))
    op.create_table(
        "pictures",
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("channel_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("picture_digest", sa.String(64)),
    )
