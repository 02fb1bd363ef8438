"""operations: the request that an answer belongs to, and alerts"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from storage.database.columns import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OPEN = sa.text("ended_at IS NULL")


def upgrade() -> None:
    op.add_column("replies", sa.Column("request_id", sa.String(16)))
    op.create_index("ix_replies_request_id", "replies", ["request_id"])
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("says", sa.Text, nullable=False),
        sa.Column("remedy", sa.Text, nullable=False),
        sa.Column("lasts", sa.Boolean, nullable=False),
        sa.Column("raised_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("told", sa.Boolean, nullable=False),
        sa.Column("end_told", sa.Boolean, nullable=False),
    )
    op.create_index("uq_alerts_open", "alerts", ["scope", "key"], unique=True, sqlite_where=OPEN, postgresql_where=OPEN)


def downgrade() -> None:
    op.drop_table("alerts")
    op.drop_index("ix_replies_request_id", "replies")
    op.drop_column("replies", "request_id")
