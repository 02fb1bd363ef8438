"""trusted votes, arenas, canaries and the gate's three answers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "members",
        sa.Column("guild_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("guild_id", "user_id", name=op.f("pk_members")),
    )
    with op.batch_alter_table("members", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_members_user_id"), ["user_id"], unique=False)

    op.create_table(
        "arenas",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=True),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column(
            "status",
            sa.Enum("preparing", "open", "closed", "failed", name="arenastatus", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("started_by", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_arenas_personality_id_personalities")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_arenas")),
        sa.UniqueConstraint("message_id", name=op.f("uq_arenas_message_id")),
    )
    with op.batch_alter_table("arenas", schema=None) as batch_op:
        batch_op.create_index("ix_arenas_status", ["status", "closes_at"], unique=False)

    op.create_table(
        "quarantines",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column(
            "rule",
            sa.Enum("reply", "author", "version", name="quarantinerule", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("vote", sa.String(length=8), nullable=False),
        sa.Column("first_vote_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_vote_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "status",
            sa.Enum("open", "excluded", "counted", name="quarantinestatus", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_quarantines_personality_id_personalities")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantines")),
    )
    with op.batch_alter_table("quarantines", schema=None) as batch_op:
        batch_op.create_index("ix_quarantines_status", ["personality_id", "status"], unique=False)

    op.create_table(
        "round_voters",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("influence", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"], ["rounds.id"], name=op.f("fk_round_voters_round_id_rounds"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("round_id", "user_id", name=op.f("pk_round_voters")),
    )
    with op.batch_alter_table("round_voters", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_round_voters_user_id"), ["user_id"], unique=False)

    op.create_table(
        "canaries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("personality_id", sa.Integer(), nullable=False),
        sa.Column("champion_id", sa.Integer(), nullable=True),
        sa.Column("challenger_id", sa.Integer(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("alpha", sa.Double(), nullable=False),
        sa.Column("max_votes", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "running",
                "promoted",
                "rolled back",
                "inconclusive",
                "stopped",
                name="canarystatus",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("started_by", sa.String(length=64), nullable=False),
        sa.Column("start_reason", sa.Text(), nullable=False),
        sa.Column("overrides_gate", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.Column("announced", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["challenger_id"], ["versions.id"], name=op.f("fk_canaries_challenger_id_versions")),
        sa.ForeignKeyConstraint(["champion_id"], ["versions.id"], name=op.f("fk_canaries_champion_id_versions")),
        sa.ForeignKeyConstraint(
            ["personality_id"], ["personalities.id"], name=op.f("fk_canaries_personality_id_personalities")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canaries")),
    )
    with op.batch_alter_table("canaries", schema=None) as batch_op:
        batch_op.create_index("ix_canaries_status", ["personality_id", "status"], unique=False)

    op.create_table(
        "arena_answers",
        sa.Column("arena_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("reply_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["arena_id"], ["arenas.id"], name=op.f("fk_arena_answers_arena_id_arenas"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["replies.id"], name=op.f("fk_arena_answers_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("arena_id", "position", name=op.f("pk_arena_answers")),
    )
    with op.batch_alter_table("arena_answers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_arena_answers_reply_id"), ["reply_id"], unique=False)

    op.create_table(
        "quarantined_votes",
        sa.Column("quarantine_id", sa.Integer(), nullable=False),
        sa.Column("reply_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["quarantine_id"],
            ["quarantines.id"],
            name=op.f("fk_quarantined_votes_quarantine_id_quarantines"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["replies.id"], name=op.f("fk_quarantined_votes_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("quarantine_id", "reply_id", "user_id", name=op.f("pk_quarantined_votes")),
    )
    with op.batch_alter_table("quarantined_votes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quarantined_votes_reply_id"), ["reply_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_quarantined_votes_user_id"), ["user_id"], unique=False)

    # Added in place: copying a table, as batch mode does, would delete what hangs on its rows by ON DELETE CASCADE.
    no, empty = sa.false(), sa.text("'{}'")
    op.add_column("alias_moves", sa.Column("overrides_gate", sa.Boolean(), nullable=False, server_default=no))
    op.add_column("alias_moves", sa.Column("announced", sa.Boolean(), nullable=False, server_default=sa.true()))
    origin = sa.Enum("chat", "arena", "alternative", "sample", name="origin", native_enum=False, length=32)
    op.add_column("replies", sa.Column("origin", origin, nullable=False, server_default="chat"))
    op.add_column("round_pairs", sa.Column("replayed", sa.Boolean(), nullable=False, server_default=no))
    op.add_column("rounds", sa.Column("evidence", sa.JSON(), nullable=False, server_default=empty))
    op.add_column("rounds", sa.Column("gate", sa.JSON(), nullable=False, server_default=empty))
    verdict = sa.Enum("pass", "fail", "not enough evidence", name="gateverdict", native_enum=False, length=32)
    op.add_column("versions", sa.Column("verdict", verdict, nullable=False, server_default="pass"))

    op.execute(
        "INSERT INTO aliases (personality_id, name, version_id, generation) "
        "SELECT id, 'challenger', NULL, 0 FROM personalities"
    )


def downgrade() -> None:
    op.execute("DELETE FROM alias_moves WHERE alias = 'challenger'")
    op.execute("DELETE FROM aliases WHERE name = 'challenger'")
    for table, column in (
        ("versions", "verdict"),
        ("rounds", "gate"),
        ("rounds", "evidence"),
        ("round_pairs", "replayed"),
        ("replies", "origin"),
        ("alias_moves", "announced"),
        ("alias_moves", "overrides_gate"),
    ):
        op.drop_column(table, column)
    for table in (
        "quarantined_votes",
        "arena_answers",
        "canaries",
        "round_voters",
        "quarantines",
        "arenas",
        "members",
    ):
        op.drop_table(table)
