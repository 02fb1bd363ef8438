"""When people's choices decided about a version, and whether that was announced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("decided_at", sa.DateTime(timezone=True)))
    op.add_column("versions", sa.Column("announced", sa.Boolean, nullable=False, server_default=sa.false()))
