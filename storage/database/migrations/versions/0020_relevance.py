"""How relevant answers are to their messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "20"
down_revision = "19"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reply_measures", sa.Column("relevance", sa.Double, nullable=True))
