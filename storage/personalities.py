"""Personalities by name; every installation has the default one."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.schema import ALIASES, AliasRow, PersonalityRow

DEFAULT_PERSONALITY = "default"


def find_personality(session: Session, name: str) -> int | None:
    """Return the id of the personality, or None."""
    return session.scalar(select(PersonalityRow.id).where(PersonalityRow.name == name))


def ensure_personality(session: Session, name: str = DEFAULT_PERSONALITY) -> int:
    """Return the id of the personality; a missing one is created, answered by the base model."""
    found = find_personality(session, name)
    if found is not None:
        return found
    try:
        with session.begin_nested():
            return _create(session, name)
    except IntegrityError:
        # Bot and trainer start together: the other one was quicker.
        return session.scalars(select(PersonalityRow.id).where(PersonalityRow.name == name)).one()


def hold_personality(session: Session, personality_id: int) -> None:
    """Let no other transaction add a round, a manifest or a version to the personality until this one ends.

    PostgreSQL alone needs it: SQLite has one writer at a time.
    """
    session.execute(
        select(PersonalityRow.id).where(PersonalityRow.id == personality_id).with_for_update(key_share=True)
    )


def hold_personalities(session: Session) -> None:
    """Like `hold_personality` for all of them: no round is planned, and nobody's data is deleted, until this ends."""
    session.execute(select(PersonalityRow.id).order_by(PersonalityRow.id).with_for_update(key_share=True))


def _create(session: Session, name: str) -> int:
    row = PersonalityRow(name=name)
    session.add(row)
    session.flush()
    session.add_all(AliasRow(personality_id=row.id, name=alias, generation=0) for alias in ALIASES)
    session.flush()
    return row.id
