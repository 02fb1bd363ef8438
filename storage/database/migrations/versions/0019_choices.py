"""Canaries go: a version that was one waits for its comparison. A choice says whether an admin made it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "19"
down_revision = "18"
branch_labels = None
depends_on = None

VERSIONS = sa.table(
    "versions",
    sa.column("id"),
    sa.column("number"),
    sa.column("personality_id"),
    sa.column("verdict"),
    sa.column("evidence", sa.JSON),
    sa.column("decided_at"),
)
CANARIES = sa.table("canaries", sa.column("challenger_id"), sa.column("status"))
ALIASES = sa.table("aliases", sa.column("personality_id"), sa.column("name"), sa.column("version_id"))
ALERTS = sa.table("alerts", sa.column("key"))
MOVES = sa.table("alias_moves", sa.column("alias"), sa.column("moved_by"))
COMPARISONS = sa.table(
    "comparisons", *(sa.column(name) for name in ("first_id", "second_id", "user_id")), sa.column("by_admin")
)
PAIRS = sa.table("sitting_pairs", *(sa.column(name) for name in ("sitting_id", "first_id", "second_id")))
SITTINGS = sa.table("sittings", sa.column("id"), sa.column("user_id"))


def upgrade() -> None:
    _let_canaries_wait()
    op.execute(sa.delete(MOVES).where(MOVES.c.alias == "challenger"))
    op.execute(sa.delete(ALIASES).where(ALIASES.c.name == "challenger"))
    op.execute(sa.update(MOVES).where(MOVES.c.moved_by == "the canary").values(moved_by="people's choices"))
    op.drop_table("canaries")
    op.execute(sa.delete(ALERTS).where(ALERTS.c.key.like("canary:%")))
    op.drop_column("alerts", "lasts")
    op.add_column("comparisons", sa.Column("by_admin", sa.Boolean, nullable=False, server_default=sa.false()))
    _note_admins()


def _let_canaries_wait() -> None:
    """A version older than the champion keeps its verdict: only newer ones are compared."""
    newer = sa.alias(VERSIONS)
    champion = (
        sa.select(newer.c.number)
        .join(ALIASES, ALIASES.c.version_id == newer.c.id)
        .where(ALIASES.c.name == "champion", ALIASES.c.personality_id == VERSIONS.c.personality_id)
        .scalar_subquery()
    )
    running = sa.select(CANARIES.c.challenger_id).where(CANARIES.c.status == "running")
    op.execute(
        sa.update(VERSIONS)
        .where(VERSIONS.c.id.in_(running), VERSIONS.c.number > sa.func.coalesce(champion, 0))
        .values(verdict="not enough evidence", evidence={}, decided_at=None)
    )


def _note_admins() -> None:
    """Until now only admins had sittings."""
    in_sitting = (
        sa.select(PAIRS.c.sitting_id)
        .join(SITTINGS, SITTINGS.c.id == PAIRS.c.sitting_id)
        .where(
            PAIRS.c.first_id == COMPARISONS.c.first_id,
            PAIRS.c.second_id == COMPARISONS.c.second_id,
            SITTINGS.c.user_id == COMPARISONS.c.user_id,
        )
    )
    op.execute(sa.update(COMPARISONS).where(sa.exists(in_sitting)).values(by_admin=sa.true()))
