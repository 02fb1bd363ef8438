"""Rename both columns called `evidence`: rounds have `learned_from`, versions have `contest`."""

from __future__ import annotations

from alembic import op

revision = "23"
down_revision = "22"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE rounds RENAME COLUMN evidence TO learned_from")
    op.execute("ALTER TABLE versions RENAME COLUMN evidence TO contest")
