"""knowledge: documents, their chunks, and what was quoted in a reply"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# An index over the chunks' own text (FTS5 calls it external content), kept in step by triggers.
SQLITE_WORDS = (
    "CREATE VIRTUAL TABLE chunk_words USING fts5("
    "heading, text, content='chunks', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')",
    "CREATE TRIGGER chunk_words_insert AFTER INSERT ON chunks BEGIN "
    "INSERT INTO chunk_words (rowid, heading, text) VALUES (new.id, new.heading, new.text); END",
    "CREATE TRIGGER chunk_words_delete AFTER DELETE ON chunks BEGIN "
    "INSERT INTO chunk_words (chunk_words, rowid, heading, text) VALUES ('delete', old.id, old.heading, old.text); END",
    "CREATE TRIGGER chunk_words_update AFTER UPDATE OF heading, text ON chunks BEGIN "
    "INSERT INTO chunk_words (chunk_words, rowid, heading, text) VALUES ('delete', old.id, old.heading, old.text); "
    "INSERT INTO chunk_words (rowid, heading, text) VALUES (new.id, new.heading, new.text); END",
)
POSTGRES_WORDS = (
    "ALTER TABLE chunks ADD COLUMN words tsvector GENERATED ALWAYS AS ("
    "setweight(to_tsvector('english', heading), 'A') || setweight(to_tsvector('english', text), 'B')) STORED",
    "CREATE INDEX ix_chunks_words ON chunks USING gin (words)",
)


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=True),
        sa.Column("personality_id", sa.Integer(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("text", "file", "message", "pins", name="documentkind", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("media_type", sa.String(length=128), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("added_by", sa.String(length=64), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_documents_personality_id_personalities")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
    )
    op.create_index("ix_documents_guild", "documents", ["guild_id", "removed_at"])

    op.create_table(
        "document_speakers",
        sa.Column("document_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            name=op.f("fk_document_speakers_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("document_id", "user_id", name=op.f("pk_document_speakers")),
    )
    op.create_index(op.f("ix_document_speakers_user_id"), "document_speakers", ["user_id"])

    op.create_table(
        "chunks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("document_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("heading", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("encoder", sa.String(length=64), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name=op.f("fk_chunks_document_id_documents"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chunks")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_chunks_document", "chunks", ["document_id", "position"])
    op.create_index(op.f("ix_chunks_encoder"), "chunks", ["encoder"])

    for statement in SQLITE_WORDS if op.get_bind().dialect.name == "sqlite" else POSTGRES_WORDS:
        op.execute(statement)
    op.add_column("replies", sa.Column("retrieved", sa.JSON(), nullable=False, server_default=sa.text("'[]'")))


def downgrade() -> None:
    op.drop_column("replies", "retrieved")
    op.execute(
        "DROP TABLE IF EXISTS chunk_vectors"
    )  # made by storage/knowledge/vectors.py where PostgreSQL has pgvector
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE chunk_words")
    for table in ("chunks", "document_speakers", "documents"):
        op.drop_table(table)
