"""Votes by any emoji: a server's own has an ID of up to 20 digits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "11"
down_revision = "10"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":  # SQLite limits no text
        op.alter_column("vote_events", "emoji", type_=sa.String(32))
