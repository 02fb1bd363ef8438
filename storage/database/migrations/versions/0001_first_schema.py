"""first schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "consents",
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_consents")),
    )
    op.create_table(
        "erasures",
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_erasures")),
    )
    op.create_table(
        "heartbeats",
        sa.Column("process", sa.String(length=32), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("process", "worker", name=op.f("pk_heartbeats")),
    )
    op.create_table(
        "personalities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_personalities")),
        sa.UniqueConstraint("name", name=op.f("uq_personalities_name")),
    )
    op.create_table(
        "rounds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "requested",
                "running",
                "published",
                "skipped",
                "rejected",
                "failed",
                "interrupted",
                name="roundstatus",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("requested_by", sa.String(length=64), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.String(length=255), nullable=True),
        sa.Column("parent_version_id", sa.Integer(), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("manifest_digest", sa.String(length=64), nullable=True),
        sa.Column("progress_channel_id", sa.BigInteger(), nullable=True),
        sa.Column("progress_message_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_rounds_personality_id_personalities")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
    )
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.create_index("ix_rounds_status", ["status", "id"], unique=False)

    op.create_table(
        "versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("base_name", sa.Text(), nullable=False),
        sa.Column("base_revision", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("round_id", sa.Integer(), nullable=True),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("trained_on_deleted_data", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("number > 0", name=op.f("ck_versions_number")),
        sa.ForeignKeyConstraint(["parent_id"], ["versions.id"], name=op.f("fk_versions_parent_id_versions")),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_versions_personality_id_personalities")
        ),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_versions_round_id_rounds")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
        sa.UniqueConstraint("personality_id", "number", name=op.f("uq_versions_personality_id")),
    )
    # Rounds and versions point at each other, so one key waits until both tables stand.
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.create_foreign_key(
            op.f("fk_rounds_parent_version_id_versions"), "versions", ["parent_version_id"], ["id"]
        )
    op.create_table(
        "alias_moves",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column("alias", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("from_version_id", sa.Integer(), nullable=True),
        sa.Column("to_version_id", sa.Integer(), nullable=True),
        sa.Column("moved_by", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["from_version_id"], ["versions.id"], name=op.f("fk_alias_moves_from_version_id_versions")
        ),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_alias_moves_personality_id_personalities")
        ),
        sa.ForeignKeyConstraint(["to_version_id"], ["versions.id"], name=op.f("fk_alias_moves_to_version_id_versions")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias_moves")),
        sa.UniqueConstraint("personality_id", "alias", "generation", name=op.f("uq_alias_moves_personality_id")),
    )
    op.create_table(
        "aliases",
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_aliases_personality_id_personalities")
        ),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_aliases_version_id_versions")),
        sa.PrimaryKeyConstraint("personality_id", "name", name=op.f("pk_aliases")),
    )
    op.create_table(
        "replies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("base_revision", sa.String(length=64), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("prompt_digest", sa.String(length=64), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "streaming",
                "complete",
                "length",
                "timeout",
                "cancelled",
                "failed",
                "interrupted",
                name="outcome",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("answer_tokens", sa.Integer(), nullable=False),
        sa.Column("dropped_turns", sa.Integer(), nullable=False),
        sa.Column("queued_s", sa.Double(), nullable=True),
        sa.Column("first_token_s", sa.Double(), nullable=True),
        sa.Column("total_s", sa.Double(), nullable=True),
        sa.Column("guild_id", sa.BigInteger(), nullable=True),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("source_message_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "basis",
            sa.Enum("local", "prompt_bank", "live_chat", name="basis", native_enum=False, length=32),
            nullable=True,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_replies_personality_id_personalities")
        ),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_replies_version_id_versions")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replies")),
    )
    with op.batch_alter_table("replies", schema=None) as batch_op:
        batch_op.create_index("ix_replies_channel", ["channel_id", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_replies_created_at"), ["created_at"], unique=False)
        batch_op.create_index("ix_replies_prompt", ["personality_id", "prompt_digest"], unique=False)

    op.create_table(
        "corrections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reply_id", sa.Integer(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column(
            "basis",
            sa.Enum("local", "prompt_bank", "live_chat", name="basis", native_enum=False, length=32),
            nullable=True,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["replies.id"], name=op.f("fk_corrections_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corrections")),
    )
    with op.batch_alter_table("corrections", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_corrections_author_id"), ["author_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_corrections_reply_id"), ["reply_id"], unique=False)

    op.create_table(
        "reply_messages",
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reply_id", sa.Integer(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["replies.id"], name=op.f("fk_reply_messages_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_reply_messages")),
    )
    with op.batch_alter_table("reply_messages", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reply_messages_reply_id"), ["reply_id"], unique=False)

    op.create_table(
        "reply_speakers",
        sa.Column("reply_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["replies.id"], name=op.f("fk_reply_speakers_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("reply_id", "user_id", name=op.f("pk_reply_speakers")),
    )
    with op.batch_alter_table("reply_speakers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reply_speakers_user_id"), ["user_id"], unique=False)

    op.create_table(
        "vote_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reply_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("emoji", sa.String(length=16), nullable=False),
        sa.Column("burst", sa.Boolean(), nullable=False),
        sa.Column("standing", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["replies.id"], name=op.f("fk_vote_events_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vote_events")),
    )
    with op.batch_alter_table("vote_events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_vote_events_thumb",
            ["reply_id", "user_id", "message_id", "emoji", "burst", "id", "standing"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_vote_events_user_id"), ["user_id"], unique=False)

    op.create_table(
        "round_pairs",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "source",
            sa.Enum("correction", "siblings", name="pairsource", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("split", sa.Enum("train", "holdout", name="split", native_enum=False, length=32), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("chosen_reply_id", sa.Integer(), nullable=True),
        sa.Column("rejected_reply_id", sa.Integer(), nullable=True),
        sa.Column("correction_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["chosen_reply_id"],
            ["replies.id"],
            name=op.f("fk_round_pairs_chosen_reply_id_replies"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["correction_id"],
            ["corrections.id"],
            name=op.f("fk_round_pairs_correction_id_corrections"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["rejected_reply_id"],
            ["replies.id"],
            name=op.f("fk_round_pairs_rejected_reply_id_replies"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["rounds.id"], name=op.f("fk_round_pairs_round_id_rounds"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("round_id", "position", name=op.f("pk_round_pairs")),
    )
    with op.batch_alter_table("round_pairs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_round_pairs_chosen_reply_id"), ["chosen_reply_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_round_pairs_correction_id"), ["correction_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_round_pairs_rejected_reply_id"), ["rejected_reply_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("round_pairs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_round_pairs_rejected_reply_id"))
        batch_op.drop_index(batch_op.f("ix_round_pairs_correction_id"))
        batch_op.drop_index(batch_op.f("ix_round_pairs_chosen_reply_id"))

    op.drop_table("round_pairs")
    with op.batch_alter_table("vote_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_vote_events_user_id"))
        batch_op.drop_index("ix_vote_events_thumb")

    op.drop_table("vote_events")
    with op.batch_alter_table("reply_speakers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reply_speakers_user_id"))

    op.drop_table("reply_speakers")
    with op.batch_alter_table("reply_messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reply_messages_reply_id"))

    op.drop_table("reply_messages")
    with op.batch_alter_table("corrections", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_corrections_reply_id"))
        batch_op.drop_index(batch_op.f("ix_corrections_author_id"))

    op.drop_table("corrections")
    with op.batch_alter_table("replies", schema=None) as batch_op:
        batch_op.drop_index("ix_replies_prompt")
        batch_op.drop_index(batch_op.f("ix_replies_created_at"))
        batch_op.drop_index("ix_replies_channel")

    op.drop_table("replies")
    op.drop_table("aliases")
    op.drop_table("alias_moves")
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("fk_rounds_parent_version_id_versions"), type_="foreignkey")
    op.drop_table("versions")
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_index("ix_rounds_status")

    op.drop_table("rounds")
    op.drop_table("personalities")
    op.drop_table("heartbeats")
    op.drop_table("erasures")
    op.drop_table("consents")
