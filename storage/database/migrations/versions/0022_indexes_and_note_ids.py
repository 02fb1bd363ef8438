"""Indexes of questions that come every few seconds, and note ids that SQLite does not reuse."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "22"
down_revision = "21"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Programs between the two schemas created new databases of 21 with them.
    op.create_index("ix_replies_author", "replies", ["author_id", "guild_id", "created_at"], if_not_exists=True)
    shown = sa.text("progress_message_id IS NOT NULL")
    op.create_index(
        "ix_rounds_shown",
        "rounds",
        ["progress_message_id"],
        sqlite_where=shown,
        postgresql_where=shown,
        if_not_exists=True,
    )
    if op.get_bind().dialect.name == "sqlite":
        _never_reuse_note_ids()


def _never_reuse_note_ids() -> None:
    """Recreate the table, because SQLite cannot alter it. Dropping the old one empties `reply_notes`: keep a copy."""
    op.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM reply_notes")
    with op.batch_alter_table("member_notes", recreate="always", table_kwargs={"sqlite_autoincrement": True}):
        pass
    op.execute("INSERT INTO reply_notes SELECT * FROM kept")
    op.execute("DROP TABLE kept")
