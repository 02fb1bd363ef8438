"""personalities: cards, bindings, strength, rounds that learn from examples; memory; causes of votes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "card_revisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("changed_by", sa.String(length=64), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_card_revisions_personality_id_personalities")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card_revisions")),
    )
    with op.batch_alter_table("card_revisions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_card_revisions_personality_id"), ["personality_id"], unique=False)

    scope = sa.Enum("thread", "channel", "category", "server", name="scope", native_enum=False, length=32)
    op.create_table(
        "bindings",
        sa.Column("scope", scope, nullable=False),
        sa.Column("place_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column("strength", sa.Double(), nullable=False),
        sa.Column("bound_by", sa.String(length=64), nullable=False),
        sa.Column("bound_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_bindings_personality_id_personalities")
        ),
        sa.PrimaryKeyConstraint("scope", "place_id", name=op.f("pk_bindings")),
    )
    with op.batch_alter_table("bindings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_bindings_personality_id"), ["personality_id"], unique=False)

    op.create_table(
        "conversations",
        sa.Column("channel_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("summarised_to", sa.BigInteger(), nullable=False),
        sa.Column("forgotten_to", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("channel_id", name=op.f("pk_conversations")),
    )
    op.create_table(
        "conversation_speakers",
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"],
            ["conversations.channel_id"],
            name=op.f("fk_conversation_speakers_channel_id_conversations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("channel_id", "user_id", name=op.f("pk_conversation_speakers")),
    )
    with op.batch_alter_table("conversation_speakers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_conversation_speakers_user_id"), ["user_id"], unique=False)
    op.create_table(
        "member_notes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_member_notes")),
    )
    with op.batch_alter_table("member_notes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_member_notes_user_id"), ["user_id"], unique=False)

    causes = ("wrong fact", "wrong tone", "too long", "unsafe", "other")
    op.create_table(
        "vote_causes",
        sa.Column("reply_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Enum(*causes, name="cause", native_enum=False, length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_by", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["replies.id"], name=op.f("fk_vote_causes_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("reply_id", "user_id", name=op.f("pk_vote_causes")),
    )
    with op.batch_alter_table("vote_causes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vote_causes_user_id"), ["user_id"], unique=False)

    # Added in place: copying a table, as batch mode does, would delete what hangs on its rows by ON DELETE CASCADE.
    op.add_column("personalities", sa.Column("card", sa.JSON(), nullable=False, server_default=sa.text("'{}'")))
    op.add_column("personalities", sa.Column("file_digest", sa.String(length=64), nullable=True))
    op.add_column("personalities", sa.Column("guild_id", sa.BigInteger(), nullable=True))
    op.add_column("personalities", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("replies", sa.Column("strength", sa.Double(), nullable=False, server_default=sa.text("1")))
    lesson = sa.Enum("votes", "examples", name="lesson", native_enum=False, length=32)
    op.add_column("rounds", sa.Column("lesson", lesson, nullable=False, server_default="votes"))


def downgrade() -> None:
    for table, column in (
        ("rounds", "lesson"),
        ("replies", "strength"),
        ("personalities", "archived_at"),
        ("personalities", "guild_id"),
        ("personalities", "file_digest"),
        ("personalities", "card"),
    ):
        op.drop_column(table, column)
    for table in (
        "vote_causes",
        "member_notes",
        "conversation_speakers",
        "conversations",
        "bindings",
        "card_revisions",
    ):
        op.drop_table(table)
