"""Bindings: the personality that answers in a place, and its adapter's strength there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.adapters.folder_store import AS_TRAINED
from storage.database.columns import utc_now
from storage.database.enums import Scope
from storage.database.rows import from_row, read_all
from storage.database.tables import BindingRow, PersonalityRow
from storage.errors import PersonalityConflict
from storage.personalities.personalities import (
    DEFAULT_PERSONALITY,
    Personality,
    ensure_personality,
    read_personality,
    require_active,
)

MAX_STRENGTH = 1.5


@dataclass(frozen=True)
class BindingPlace:
    """A place on Discord. An ID alone is ambiguous: an old server's first channel has the same ID as the server."""

    scope: Scope
    id: int


@dataclass(frozen=True)
class Binding:
    scope: Scope
    place_id: int
    guild_id: int
    personality_id: int
    strength: float
    bound_by: str
    bound_at: datetime


@dataclass(frozen=True)
class ActivePersonality:
    """The personality that answers in a place."""

    personality: Personality
    strength: float = AS_TRAINED
    """Factor of the adapter's effect, 0 to MAX_STRENGTH; 1 is as trained, 0 the base model."""


def active_personality_at(session: Session, places: Sequence[BindingPlace]) -> ActivePersonality:
    """Return the personality that answers in these nested places, most specific first; the default if none is bound."""
    keys = [(place.scope, place.id) for place in places]
    bound = select(BindingRow).where(tuple_(BindingRow.scope, BindingRow.place_id).in_(keys))
    found = {BindingPlace(row.scope, row.place_id): row for row in session.scalars(bound)} if keys else {}
    for place in places:
        if place in found:
            row = found[place]
            return ActivePersonality(read_personality(session, row.personality_id), row.strength)
    return ActivePersonality(read_personality(session, ensure_personality(session, DEFAULT_PERSONALITY)))


def speaks_in(session: Session, personality: Personality, guild_id: int) -> bool:
    """Return whether the personality answers somewhere in the server."""
    bound = list_bindings(session, guild_id=guild_id)
    has_own_default = any(binding.scope is Scope.SERVER for binding in bound)
    is_bound = any(binding.personality_id == personality.id for binding in bound)
    return is_bound or (personality.is_default and not has_own_default)


def bind(
    session: Session, place: BindingPlace, personality: Personality, *, guild_id: int, strength: float, by: str
) -> Binding | None:
    """Let the personality answer in the place, and return the binding that this replaces, if any.

    Raises PersonalityConflict if the personality is archived, ValueError if the strength is out of range.
    """
    if not 0.0 <= strength <= MAX_STRENGTH:
        raise ValueError(f"a strength of {strength} is not between 0 and {MAX_STRENGTH}")
    row = session.get_one(PersonalityRow, personality.id, with_for_update={"key_share": True}, populate_existing=True)
    require_active(read_personality(session, row.id))
    before = find_binding(session, place)
    binding = BindingRow(
        scope=place.scope,
        place_id=place.id,
        guild_id=guild_id,
        personality_id=personality.id,
        strength=strength,
        bound_by=by,
        bound_at=utc_now(),
    )
    try:
        with session.begin_nested():
            session.merge(binding)
    except IntegrityError as error:
        raise PersonalityConflict(
            "someone else just bound a personality here: check the change, then try again"
        ) from error
    return before


def unbind(session: Session, place: BindingPlace) -> Binding | None:
    """Remove the place's binding and return it; None if there was none."""
    before = find_binding(session, place)
    session.execute(delete(BindingRow).where(BindingRow.scope == place.scope, BindingRow.place_id == place.id))
    return before


def find_binding(session: Session, place: BindingPlace) -> Binding | None:
    row = session.get(BindingRow, (place.scope, place.id))
    return from_row(Binding, row) if row else None


def list_bindings(session: Session, *, guild_id: int | None = None, personality_id: int | None = None) -> list[Binding]:
    """Return the bindings, oldest first, optionally only those of a server or of a personality."""
    query = select(BindingRow).order_by(BindingRow.bound_at, BindingRow.place_id)
    if guild_id is not None:
        query = query.where(BindingRow.guild_id == guild_id)
    if personality_id is not None:
        query = query.where(BindingRow.personality_id == personality_id)
    return read_all(session, Binding, query)
