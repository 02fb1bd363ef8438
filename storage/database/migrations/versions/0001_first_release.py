"""The schema of the first release."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "1"  # 0001 to 0012 were those of development versions
down_revision = None
branch_labels = None
depends_on = None

Instant = sa.DateTime(timezone=True)
Choice = sa.String(32)
"""The value of one of the enums in storage/database/tables.py."""
LargeId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
OPEN = sa.text("ended_at IS NULL")
PSEUDONYM_KEY_BYTES = 32

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
    _create_personalities()
    _create_versions()
    _create_replies()
    _create_votes()
    _create_conversations()
    _create_knowledge()
    _create_members()
    _create_operations()


def _create_personalities() -> None:
    op.create_table(
        "personalities",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("card", sa.JSON, nullable=False),
        sa.Column("file_digest", sa.String(64)),
        sa.Column("guild_id", sa.BigInteger),
        sa.Column("archived_at", Instant),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "card_revisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False, index=True),
        sa.Column("card", sa.JSON, nullable=False),
        sa.Column("changed_by", sa.String(64), nullable=False),
        sa.Column("changed_at", Instant, nullable=False),
    )
    op.create_table(
        "bindings",
        sa.Column("scope", Choice, primary_key=True),
        sa.Column("place_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("guild_id", sa.BigInteger, nullable=False),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False, index=True),
        sa.Column("strength", sa.Double, nullable=False),
        sa.Column("bound_by", sa.String(64), nullable=False),
        sa.Column("bound_at", Instant, nullable=False),
    )


def _create_versions() -> None:
    op.create_table(
        "rounds",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("lesson", Choice, nullable=False),
        sa.Column("status", Choice, nullable=False),
        sa.Column("requested_by", sa.String(64), nullable=False),
        sa.Column("requested_at", Instant, nullable=False),
        sa.Column("started_at", Instant),
        sa.Column("finished_at", Instant),
        sa.Column("worker", sa.String(255)),
        sa.Column("lease_until", Instant),
        sa.Column("parent_version_id", sa.Integer),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("manifest_digest", sa.String(64)),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("gate", sa.JSON, nullable=False),
        sa.Column("progress_channel_id", sa.BigInteger),
        sa.Column("progress_message_id", sa.BigInteger),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("ix_rounds_status", "rounds", ["status", "id"])
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("base_name", sa.Text, nullable=False),
        sa.Column("base_revision", sa.String(64), nullable=False),
        sa.Column("parent_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("round_id", sa.Integer, sa.ForeignKey("rounds.id")),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("verdict", Choice, nullable=False),
        sa.Column("trained_on_deleted_data", sa.Boolean, nullable=False),
        sa.Column("withdrawn_at", Instant),
        sa.Column("withdrawn_because", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint("number > 0", name="number"),
        sa.UniqueConstraint("personality_id", "number"),
    )
    # Rounds and versions point at each other, so this key waits until both tables are there.
    with op.batch_alter_table("rounds") as rounds:
        rounds.create_foreign_key(
            op.f("fk_rounds_parent_version_id_versions"), "versions", ["parent_version_id"], ["id"]
        )
    op.create_table(
        "aliases",
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), primary_key=True),
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("generation", sa.Integer, nullable=False),
    )
    op.create_table(
        "alias_moves",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("alias", sa.String(32), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("from_version_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("to_version_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("moved_by", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("overrides_gate", sa.Boolean, nullable=False),
        sa.Column("announced", sa.Boolean, nullable=False),
        sa.Column("moved_at", Instant, nullable=False),
        sa.UniqueConstraint("personality_id", "alias", "generation"),
    )
    op.create_table(
        "canaries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("champion_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("challenger_id", sa.Integer, sa.ForeignKey("versions.id"), nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("alpha", sa.Double, nullable=False),
        sa.Column("max_votes", sa.Integer, nullable=False),
        sa.Column("status", Choice, nullable=False),
        sa.Column("started_by", sa.String(64), nullable=False),
        sa.Column("start_reason", sa.Text, nullable=False),
        sa.Column("overrides_gate", sa.Boolean, nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("numbers", sa.JSON, nullable=False),
        sa.Column("announced", sa.Boolean, nullable=False),
    )
    op.create_index("ix_canaries_status", "canaries", ["personality_id", "status"])
    op.create_table(
        "round_voters",
        sa.Column("round_id", sa.Integer, sa.ForeignKey("rounds.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("pseudonym", sa.BigInteger, primary_key=True, index=True),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("influence", sa.Double, nullable=False),
    )


def _create_replies() -> None:
    op.create_table(
        "replies",
        sa.Column("id", LargeId, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("versions.id")),
        sa.Column("strength", sa.Double, nullable=False),
        sa.Column("base_revision", sa.String(64), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("prompt_digest", sa.String(64), nullable=False),
        sa.Column("messages", sa.JSON, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("sampling", sa.JSON, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("outcome", Choice, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("answer_tokens", sa.Integer, nullable=False),
        sa.Column("dropped_turns", sa.Integer, nullable=False),
        sa.Column("queued_s", sa.Double),
        sa.Column("first_token_s", sa.Double),
        sa.Column("total_s", sa.Double),
        sa.Column("guild_id", sa.BigInteger),
        sa.Column("channel_id", sa.BigInteger, nullable=False),
        sa.Column("author_id", sa.BigInteger, nullable=False),
        sa.Column("source_message_id", sa.BigInteger),
        sa.Column("basis", Choice),
        sa.Column("origin", Choice, nullable=False),
        sa.Column("retrieved", sa.JSON, nullable=False),
        sa.Column("summary_from", sa.BigInteger),
        sa.Column("summary_to", sa.BigInteger),
        sa.Column("edited_at", Instant),
        sa.Column("undelivered", sa.Text),
        sa.Column("request_id", sa.String(16), index=True),
        sa.Column("created_at", Instant, nullable=False, index=True),
    )
    op.create_index("ix_replies_channel", "replies", ["channel_id", "id"])
    op.create_index("ix_replies_guild", "replies", ["guild_id", "id"])
    op.create_index("ix_replies_prompt", "replies", ["personality_id", "prompt_digest"])
    op.create_index("ix_replies_summary", "replies", ["channel_id", "summary_to"])
    reply_ids = op.create_table(
        "reply_ids",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("highest", LargeId, nullable=False),
    )
    op.bulk_insert(reply_ids, [{"id": 1, "highest": 0}])
    op.create_table(
        "reply_messages",
        sa.Column("message_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("channel_id", sa.BigInteger, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_table(
        "reply_speakers",
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("user_id", sa.BigInteger, primary_key=True, index=True),
    )
    op.create_table(
        "reply_sources",
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("message_id", sa.BigInteger, primary_key=True, index=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
    )


def _create_votes() -> None:
    op.create_table(
        "vote_events",
        sa.Column("id", LargeId, primary_key=True),
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), nullable=False),
        sa.Column("message_id", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("emoji", sa.String(16), nullable=False),
        sa.Column("burst", sa.Boolean, nullable=False),
        sa.Column("standing", sa.Boolean, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_index(
        "ix_vote_events_thumb", "vote_events", ["reply_id", "user_id", "message_id", "emoji", "burst", "id", "standing"]
    )
    op.create_table(
        "vote_causes",
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("user_id", sa.BigInteger, primary_key=True, index=True),
        sa.Column("cause", Choice, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("settled_by", sa.String(64)),
    )
    op.create_table(
        "corrections",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("author_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("basis", Choice),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("withdrawn_at", Instant),
    )
    op.create_table(
        "round_pairs",
        sa.Column("round_id", sa.Integer, sa.ForeignKey("rounds.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("source", Choice, nullable=False),
        sa.Column("split", Choice, nullable=False),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("replayed", sa.Boolean, nullable=False),
        sa.Column("chosen_reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="SET NULL"), index=True),
        sa.Column("rejected_reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="SET NULL"), index=True),
        sa.Column("correction_id", sa.Integer, sa.ForeignKey("corrections.id", ondelete="SET NULL"), index=True),
    )
    op.create_table(
        "quarantines",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("rule", Choice, nullable=False),
        sa.Column("subject_id", sa.BigInteger, nullable=False),
        sa.Column("vote", sa.String(8), nullable=False),
        sa.Column("first_vote_at", Instant, nullable=False),
        sa.Column("last_vote_at", Instant, nullable=False),
        sa.Column("status", Choice, nullable=False),
        sa.Column("opened_at", Instant, nullable=False),
        sa.Column("decided_by", sa.String(64)),
        sa.Column("decided_at", Instant),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("ix_quarantines_status", "quarantines", ["personality_id", "status"])
    op.create_table(
        "quarantined_votes",
        sa.Column("quarantine_id", sa.Integer, sa.ForeignKey("quarantines.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True, index=True),
        sa.Column("user_id", sa.BigInteger, primary_key=True, index=True),
    )
    op.create_table(
        "arenas",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), nullable=False),
        sa.Column("guild_id", sa.BigInteger),
        sa.Column("channel_id", sa.BigInteger, nullable=False),
        sa.Column("message_id", sa.BigInteger, unique=True),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("status", Choice, nullable=False),
        sa.Column("started_by", sa.String(64), nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("closes_at", Instant, nullable=False),
        sa.Column("closed_at", Instant),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("ix_arenas_status", "arenas", ["status", "closes_at"])
    op.create_table(
        "arena_answers",
        sa.Column("arena_id", sa.Integer, sa.ForeignKey("arenas.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("reply_id", LargeId, sa.ForeignKey("replies.id", ondelete="CASCADE"), nullable=False, index=True),
    )


def _create_conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("channel_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("summarised_from", sa.BigInteger, nullable=False),
        sa.Column("summarised_to", sa.BigInteger, nullable=False),
        sa.Column("forgotten_to", sa.BigInteger, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
    )
    op.create_table(
        "conversation_speakers",
        sa.Column(
            "channel_id", sa.BigInteger, sa.ForeignKey("conversations.channel_id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("user_id", sa.BigInteger, primary_key=True, index=True),
    )
    op.create_table(
        "member_notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )


def _create_knowledge() -> None:
    op.create_table(
        "documents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("guild_id", sa.BigInteger, nullable=False),
        sa.Column("channel_id", sa.BigInteger),
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id")),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("kind", Choice, nullable=False),
        sa.Column("link", sa.Text, nullable=False),
        sa.Column("media_type", sa.String(128), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("added_by", sa.String(64), nullable=False),
        sa.Column("added_at", Instant, nullable=False),
        sa.Column("refreshed_at", Instant, nullable=False),
        sa.Column("removed_at", Instant),
    )
    op.create_index("ix_documents_guild", "documents", ["guild_id", "removed_at"])
    op.create_table(
        "document_speakers",
        sa.Column("document_id", sa.Integer, sa.ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("user_id", sa.BigInteger, primary_key=True, index=True),
    )
    op.create_table(
        "document_sources",
        sa.Column("document_id", sa.Integer, sa.ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("message_id", sa.BigInteger, primary_key=True, index=True),
        sa.Column("channel_id", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "chunks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("document_id", sa.Integer, sa.ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("heading", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("encoder", sa.String(64), nullable=False, index=True),
        sa.Column("embedding", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_chunks_document", "chunks", ["document_id", "position"])
    for statement in SQLITE_WORDS if op.get_bind().dialect.name == "sqlite" else POSTGRES_WORDS:
        op.execute(statement)


def _create_members() -> None:
    op.create_table(
        "members",
        sa.Column("guild_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
        sa.Column("joined_at", Instant, nullable=False),
    )
    op.create_table(
        "consents",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("given_at", Instant, nullable=False),
    )
    op.create_table(
        "erasures",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("erased_at", Instant, nullable=False),
    )
    op.create_table(
        "greetings",
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("greeted_at", Instant, nullable=False),
    )
    op.create_table(
        "departures",
        sa.Column("guild_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("left_at", Instant, nullable=False, index=True),
    )
    keys = op.create_table(
        "pseudonym_keys",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("id = 1", name="only"),
    )
    op.bulk_insert(keys, [{"id": 1, "key": secrets.token_bytes(PSEUDONYM_KEY_BYTES)}])


def _create_operations() -> None:
    op.create_table(
        "heartbeats",
        sa.Column("process", sa.String(32), primary_key=True),
        sa.Column("worker", sa.String(255), primary_key=True),
        sa.Column("beat_at", Instant, nullable=False),
    )
    op.create_table(
        "schedules",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("seen_until", Instant, nullable=False),
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("says", sa.Text, nullable=False),
        sa.Column("remedy", sa.Text, nullable=False),
        sa.Column("lasts", sa.Boolean, nullable=False),
        sa.Column("raised_at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
        sa.Column("told", sa.Boolean, nullable=False),
        sa.Column("end_told", sa.Boolean, nullable=False),
    )
    op.create_index("uq_alerts_open", "alerts", ["scope", "key"], unique=True, sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("happened_at", Instant, nullable=False),
        sa.Column("guild_id", sa.BigInteger),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("actor_id", sa.BigInteger, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("personality_id", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("outcome", Choice, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("ix_audit_guild", "audit", ["guild_id", "id"])
    op.create_table(
        "spend",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("server", sa.String(255), primary_key=True),
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("answers", sa.Integer, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("answer_tokens", sa.BigInteger, nullable=False),
    )
