"""Rounds without repeated and held-out pairs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("round_pairs", "replayed")
    pairs = sa.table("round_pairs", sa.column("source", sa.String), sa.column("split", sa.String))
    op.execute(pairs.update().where(pairs.c.source == "lone vote").values(source="taste"))
    op.execute(pairs.update().where(pairs.c.split == "holdout").values(split="validation"))
