"""Names that say what a row holds: what a round learned from, and people's choices about a version."""

from __future__ import annotations

from alembic import op

revision = "23"
down_revision = "22"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE rounds RENAME COLUMN evidence TO learned_from")
    op.execute("ALTER TABLE versions RENAME COLUMN evidence TO contest")
