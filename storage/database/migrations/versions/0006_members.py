"""members: messages behind prompts and documents, who left, who was greeted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("replies", sa.Column("summary_from", sa.BigInteger(), nullable=True))
    op.add_column("replies", sa.Column("summary_to", sa.BigInteger(), nullable=True))
    op.add_column("replies", sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_replies_guild", "replies", ["guild_id", "id"])
    op.create_index("ix_replies_summary", "replies", ["channel_id", "summary_to"])
    op.create_table(
        "reply_ids",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("highest", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply_ids")),
    )
    op.execute("INSERT INTO reply_ids (id, highest) VALUES (1, 0)")
    op.add_column("conversations", sa.Column("summarised_from", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "reply_sources",
        sa.Column("reply_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["replies.id"], name=op.f("fk_reply_sources_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("reply_id", "message_id", name=op.f("pk_reply_sources")),
    )
    op.create_index(op.f("ix_reply_sources_message_id"), "reply_sources", ["message_id"])
    op.create_table(
        "document_sources",
        sa.Column("document_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            name=op.f("fk_document_sources_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("document_id", "message_id", name=op.f("pk_document_sources")),
    )
    op.create_index(op.f("ix_document_sources_message_id"), "document_sources", ["message_id"])
    op.create_index(op.f("ix_document_sources_channel_id"), "document_sources", ["channel_id"])
    op.create_table(
        "greetings",
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("greeted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_greetings")),
    )
    op.create_table(
        "departures",
        sa.Column("guild_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("guild_id", "user_id", name=op.f("pk_departures")),
    )
    op.create_index(op.f("ix_departures_left_at"), "departures", ["left_at"])
    _remember_questions()
    _remember_linked_messages()


def downgrade() -> None:
    op.drop_index("ix_replies_summary", "replies")
    op.drop_index("ix_replies_guild", "replies")
    for table in ("reply_ids", "departures", "greetings", "document_sources", "reply_sources"):
        op.drop_table(table)
    op.drop_column("conversations", "summarised_from")
    for column in ("edited_at", "summary_to", "summary_from"):
        op.drop_column("replies", column)


def _remember_questions() -> None:
    """Of earlier answers the question alone is known, not what was said before it."""
    op.execute(
        "INSERT INTO reply_sources (reply_id, message_id, user_id) "
        "SELECT id, source_message_id, author_id FROM replies WHERE source_message_id IS NOT NULL"
    )


def _remember_linked_messages() -> None:
    """Of a document made of one message, its link ends with channel and message."""
    documents = sa.table("documents", *map(sa.column, ("id", "kind", "link", "removed_at")))
    sources = sa.table("document_sources", *map(sa.column, ("document_id", "message_id", "channel_id")))
    linked = sa.select(documents.c.id, documents.c.link).where(
        documents.c.kind == "message", documents.c.removed_at.is_(None)
    )
    for row in op.get_bind().execute(linked).all():
        channel_id, message_id = (int(part) for part in row.link.rstrip("/").rsplit("/", 2)[-2:])
        op.get_bind().execute(
            sa.insert(sources).values(document_id=row.id, message_id=message_id, channel_id=channel_id)
        )
