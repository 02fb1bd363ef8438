"""What people chose between a version and the champion; canaries end after days, not after votes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("evidence", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("canaries", sa.Column("days", sa.Double, nullable=False, server_default="14"))
    for column in ("alpha", "max_votes"):
        op.drop_column("canaries", column)
