"""Which prompts hold what no member wrote: descriptions of pictures, and web pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "12"
down_revision = "11"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("replies", sa.Column("has_outside_text", sa.Boolean, nullable=False, server_default=sa.false()))
