"""Marks the versions that learned from rows that go, and ends the rounds that are learning from them."""

from __future__ import annotations

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, func, or_, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import RoundStatus
from storage.database.tables import PersonalityRow, RoundPairRow, RoundRow, VersionRow
from storage.personalities.personalities import DEFAULT_PERSONALITY

ERASURE_LOCK = 7_226_539  # any number that nothing else on the server locks
DELETED_MEANWHILE = (
    "a member deleted data that this round was learning from, so nothing is published: ask for a new one"
)

ReplyIds = Select[int] | CompoundSelect[int]


def lock_erasures(session: Session, *, shared: bool = False) -> None:
    """Let nobody erase anything until this transaction ends, nor read for an answer unless it is held `shared`.

    PostgreSQL alone needs it: SQLite has one writer at a time.
    """
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        session.execute(select(lock(ERASURE_LOCK)))


def mark_versions_trained_on(session: Session, reply_ids: ReplyIds, correction_ids: Select[int]) -> tuple[str, ...]:
    """Mark the versions whose line learned from the rows, end the rounds that do now, and return the versions' names.

    The caller holds every personality, or a round that is being planned would overlook the end.
    """
    reached = select(RoundPairRow.round_id).where(
        or_(
            RoundPairRow.chosen_reply_id.in_(reply_ids),
            RoundPairRow.rejected_reply_id.in_(reply_ids),
            RoundPairRow.correction_id.in_(correction_ids),
        )
    )
    learned = select(VersionRow.id).where(VersionRow.round_id.in_(reached)).cte("learned", recursive=True)
    # A version goes on from its parent's weights, so it inherits what the parent learned.
    learned = learned.union(select(VersionRow.id).join(learned, VersionRow.parent_id == learned.c.id))
    concerned = or_(VersionRow.id.in_(select(learned.c.id)), _is_copy_of(select(learned.c.id)))
    names = names_of(session, concerned)
    session.execute(update(VersionRow).where(concerned).values(trained_on_deleted_data=True))
    session.execute(
        update(RoundRow)
        .where(RoundRow.id.in_(reached), RoundRow.status == RoundStatus.RUNNING)
        .values(status=RoundStatus.INTERRUPTED, reason=DELETED_MEANWHILE, finished_at=utc_now())
    )
    return names


def names_of(session: Session, concerned: ColumnElement[bool]) -> tuple[str, ...]:
    """Return the versions' names: "v3", or "keeper v3" of another personality than the default one."""
    rows = session.execute(
        select(PersonalityRow.name, VersionRow.number)
        .join(PersonalityRow, PersonalityRow.id == VersionRow.personality_id)
        .where(concerned)
        .order_by(PersonalityRow.id, VersionRow.number)
    )
    return tuple(f"v{number}" if name == DEFAULT_PERSONALITY else f"{name} v{number}" for name, number in rows)


def _is_copy_of(version_ids: Select[int]) -> ColumnElement[bool]:
    """Select imports of the same adapters, which no round made."""
    digests = select(VersionRow.digest).where(VersionRow.id.in_(version_ids))
    return and_(VersionRow.round_id.is_(None), VersionRow.digest.in_(digests))
