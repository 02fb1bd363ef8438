"""pseudonyms: rounds name their voters by a keyed hash, and versions say when their files were withdrawn"""

from __future__ import annotations

import hmac
import secrets

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEY_BYTES = 32


def upgrade() -> None:
    keys = op.create_table(
        "pseudonym_keys",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_pseudonym_keys_only")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pseudonym_keys")),
    )
    key = secrets.token_bytes(KEY_BYTES)
    op.get_bind().execute(sa.insert(keys), {"id": 1, "key": key})

    voters = sa.table("round_voters", *map(sa.column, ("round_id", "user_id", "share", "influence")))
    rows = op.get_bind().execute(sa.select(voters)).all()
    op.drop_table("round_voters")
    renamed = _create_voters("pseudonym")
    if rows:
        op.get_bind().execute(
            sa.insert(renamed),
            [
                {"round_id": round_id, "pseudonym": _pseudonym(key, user_id), "share": share, "influence": influence}
                for round_id, user_id, share, influence in rows
            ],
        )

    op.add_column("versions", sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("versions", sa.Column("withdrawn_because", sa.Text(), nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    op.drop_column("versions", "withdrawn_because")
    op.drop_column("versions", "withdrawn_at")
    op.drop_table("round_voters")  # no way leads back to the ids
    _create_voters("user_id")
    op.drop_table("pseudonym_keys")


def _create_voters(who: str) -> sa.Table:
    table = op.create_table(
        "round_voters",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column(who, sa.BigInteger(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("influence", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"], ["rounds.id"], name=op.f("fk_round_voters_round_id_rounds"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("round_id", who, name=op.f("pk_round_voters")),
    )
    op.create_index(op.f(f"ix_round_voters_{who}"), "round_voters", [who])
    return table


def _pseudonym(key: bytes, user_id: int) -> int:
    """As in storage/members/pseudonyms.py when this was written; 0 is nobody."""
    if user_id == 0:
        return 0
    return int.from_bytes(hmac.digest(key, user_id.to_bytes(8, "big"), "sha256")[:8], "big") >> 1
