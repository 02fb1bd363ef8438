"""Personalities, each with a card from an operator's file or a server's admins; a default one always exists."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from sqlalchemy import ColumnElement, func, or_, select, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import ALIASES
from storage.database.rows import changed_rows, from_row
from storage.database.tables import AliasRow, BindingRow, CardRevisionRow, PersonalityRow, ReplyRow
from storage.errors import CardError, PersonalityConflict, PersonalityNotFound
from storage.personalities.cards import (
    CARD_SUFFIX,
    MAX_EXAMPLES,
    Card,
    Example,
    read_card_file,
    require_meant_for,
    require_name,
    why_not_displayed,
)
from storage.settings.sections import Settings

DEFAULT_PERSONALITY = "default"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Personality:
    id: int
    name: str
    card: Card
    guild_id: int | None
    """The server whose admins may change it; None if it belongs to the operator, for all servers."""
    archived_at: datetime | None
    picture_digest: str | None
    """Digest of the personality's picture; None without one."""
    follows_taste: bool
    """True if members' taste acts on it; an admin can switch that off."""

    @property
    def is_default(self) -> bool:
        return self.name == DEFAULT_PERSONALITY

    @property
    def has_appearance(self) -> bool:
        """True if it has a name or a picture of its own above its messages."""
        return bool(self.card.display_name or self.picture_digest)

    @property
    def shown_name(self) -> str:
        """The name above its messages; empty if it is the bot's, because Discord would refuse all others."""
        names = (self.card.display_name, "" if self.is_default else self.name)
        return next((name for name in names if name and not why_not_displayed(name)), "")


def find_personality(session: Session, name: str) -> int | None:
    """Return the id of the personality, or None."""
    return session.scalar(select(PersonalityRow.id).where(PersonalityRow.name == name))


def ensure_personality(session: Session, name: str = DEFAULT_PERSONALITY) -> int:
    """Return the id of the personality; create it if it is missing, with the base model as champion."""
    found = find_personality(session, name)
    if found is not None:
        return found
    try:
        with session.begin_nested():
            return _create(session, PersonalityRow(name=name))
    except IntegrityError:
        # Bot and trainer start at the same time: the other one was faster.
        return session.scalars(select(PersonalityRow.id).where(PersonalityRow.name == name)).one()


def read_personality(session: Session, personality_id: int) -> Personality:
    """Return a personality that exists: personalities are archived, never deleted."""
    return _plain(session.get_one(PersonalityRow, personality_id))


def personality_named(session: Session, name: str, guild_id: int | None = None) -> Personality:
    """Return the personality; a server knows only the operator's and its own. Raises PersonalityNotFound."""
    row = session.scalar(select(PersonalityRow).where(PersonalityRow.name == name.strip().lower()))
    if row is None or (guild_id is not None and row.guild_id not in (None, guild_id)):
        raise PersonalityNotFound(name, [known.name for known in list_personalities(session, guild_id)])
    return _plain(row)


def list_personalities(
    session: Session, guild_id: int | None = None, *, archived: bool | None = False
) -> list[Personality]:
    """Return personalities by name, the default one first: all of them, or those that a server knows.

    `archived` selects active ones (False), archived ones (True) or both (None).
    """
    query = select(PersonalityRow).order_by(PersonalityRow.name != DEFAULT_PERSONALITY, PersonalityRow.name)
    if guild_id is not None:
        query = query.where(or_(PersonalityRow.guild_id.is_(None), PersonalityRow.guild_id == guild_id))
    if archived is not None:
        query = query.where(PersonalityRow.archived_at.is_not(None) == archived)
    return [_plain(row) for row in session.scalars(query)]


def open_personality(session: Session, settings: Settings, name: str) -> Personality:
    """Return the personality; the files of new ones are read first. Raises PersonalityNotFound.

    Other cards stay: this machine's files may be older than those of the bot's machine.
    """
    ensure_personality(session)
    load_cards(session, settings, only_new=True)
    return personality_named(session, name)


def create_personality(session: Session, name: str, card: Card, *, by: str, guild_id: int | None = None) -> Personality:
    """Add a personality, with the base model as champion; raises CardError on a bad name, PersonalityConflict."""
    require_name(name)
    row = PersonalityRow(name=name, guild_id=guild_id)
    try:
        with session.begin_nested():
            _create(session, row)
    except IntegrityError as error:
        raise PersonalityConflict("the name {name} is taken: choose another", name=name) from error
    _write(session, row, card, by)
    return _plain(row)


def change_card(session: Session, personality: Personality, card: Card, *, by: str) -> bool:
    """Replace the personality's card; return False if the new one is equal.

    Raises PersonalityConflict if somebody else changed the card since `personality` was read.
    """
    if card == personality.card:
        return False
    row = session.get_one(PersonalityRow, personality.id, with_for_update={"key_share": True}, populate_existing=True)
    if _card(row) != personality.card:
        raise PersonalityConflict(
            "someone else just changed the card of {name}: check the change, then try again", name=personality.name
        )
    _write(session, row, card, by)
    return True


def under_present_card(session: Session, personality_id: int) -> ColumnElement[bool]:
    """Select answers given since the card was last changed."""
    changed_at = func.max(CardRevisionRow.changed_at)
    return _since(session.scalar(select(changed_at).where(CardRevisionRow.personality_id == personality_id)))


def in_present_character(session: Session, personality_id: int) -> ColumnElement[bool]:
    """Select answers given since the card's system prompt was last changed.

    Rounds do not ask prompts again that are the same after another change, such as an example.
    """
    revisions = (
        select(CardRevisionRow.changed_at, CardRevisionRow.card["system_prompt"].as_string())
        .where(CardRevisionRow.personality_id == personality_id)
        .order_by(CardRevisionRow.id)
    )
    since, before = None, ""
    for changed_at, prompt in session.execute(revisions):
        if (prompt or "") != before:
            since, before = changed_at, prompt or ""
    return _since(since)


def _since(moment: datetime | None) -> ColumnElement[bool]:
    return ReplyRow.created_at >= moment if moment else true()


def add_example(session: Session, personality_id: int, asked: str, answered: str, *, by: str) -> Example:
    """Add a question and its answer to the card's examples, and return the new example.

    Raises CardError if it is not a valid example, or if the card has it already.
    """
    personality = read_personality(session, personality_id)
    card = personality.card
    if len(card.examples) >= MAX_EXAMPLES:
        raise CardError("the card has {limit} examples already: remove one first", limit=MAX_EXAMPLES)
    try:
        example = Example(dialogue=(asked, answered))
    except ValidationError as error:
        raise CardError("that cannot be an example: the answer, or its question, is empty or too long") from error
    if example in card.examples:
        raise CardError("the card has that example already")
    change_card(session, personality, card.model_copy(update={"examples": (*card.examples, example)}), by=by)
    return example


def remove_example(session: Session, personality_id: int, digest: str, *, by: str) -> bool:
    """Remove the example with this digest from the card; return False if it is not there."""
    personality = read_personality(session, personality_id)
    kept = tuple(example for example in personality.card.examples if example.digest != digest)
    return change_card(session, personality, personality.card.model_copy(update={"examples": kept}), by=by)


def archive_personality(session: Session, personality: Personality) -> None:
    """Archive a personality with its versions and votes; raises PersonalityConflict if it is the default or bound."""
    if personality.is_default:
        raise PersonalityConflict("the default personality cannot be archived: it answers where no other one is bound")
    session.get_one(PersonalityRow, personality.id, with_for_update={"key_share": True})
    bound = session.scalars(select(BindingRow.guild_id).where(BindingRow.personality_id == personality.id)).all()
    if bound:
        raise _bound(personality.name, len(bound), len(set(bound)))
    _set_archived(session, personality, utc_now())


def _bound(name: str, places: int, servers: int) -> PersonalityConflict:
    if places == 1:
        return PersonalityConflict("{name} is bound to a place: unbind it there first", name=name)
    if servers == 1:
        return PersonalityConflict(
            "{name} is bound to {places} places: unbind it there first", name=name, places=places
        )
    return PersonalityConflict(
        "{name} is bound to {places} places in {servers} servers: unbind it there first",
        name=name,
        places=places,
        servers=servers,
    )


def require_active(personality: Personality) -> None:
    """Raise PersonalityConflict if the personality is archived."""
    if personality.archived_at is not None:
        name = personality.name
        raise PersonalityConflict("{name} is archived: restore it first", name=name)


def restore_personality(session: Session, personality: Personality) -> None:
    """Restore an archived personality; raises PersonalityConflict if it is not archived."""
    if personality.archived_at is None:
        raise PersonalityConflict("{name} is not archived: there is nothing to restore", name=personality.name)
    _set_archived(session, personality, None)


def read_cards(session: Session, settings: Settings) -> tuple[dict[str, Card], list[str]]:
    """Read the card files: return each personality's card by name, and one message for each file that is wrong."""
    directory = settings.personalities.directory
    cards: dict[str, Card] = {}
    problems: list[str] = []
    for path in sorted(directory.glob(f"*{CARD_SUFFIX}")) if directory.is_dir() else ():
        name = path.name.removesuffix(CARD_SUFFIX)
        try:
            cards[name] = _read(session, path, name, settings.model.base)
        except (CardError, PersonalityConflict) as error:
            log.error("%s.", error)
            problems.append(str(error))
    return cards, problems


def load_cards(session: Session, settings: Settings, *, only_new: bool = False) -> None:
    """Apply new and changed card files, or only those of personalities that never had one; log those that are wrong.

    A card that was changed in Discord stays until its file changes; then the file replaces it, and the old card is kept
    as a revision. A personality keeps its card if its file is missing or broken.
    """
    lock_personalities(session)  # in the same order as everywhere else, to avoid deadlocks
    cards, _ = read_cards(session, settings)
    for name, card in cards.items():
        row = session.get_one(PersonalityRow, ensure_personality(session, name))
        if row.file_digest is None or (row.file_digest != card.digest and not only_new):
            _take(session, row, card)


def lock_personality(session: Session, personality_id: int) -> None:
    """Keep other transactions from adding a round, a manifest or a version to the personality until this one ends.

    Only PostgreSQL needs this: SQLite has one writer at a time.
    """
    session.execute(
        select(PersonalityRow.id).where(PersonalityRow.id == personality_id).with_for_update(key_share=True)
    )


def lock_personalities(session: Session) -> None:
    """Like `lock_personality`, for all: until this ends, no round is planned and nobody's data is deleted."""
    session.execute(select(PersonalityRow.id).order_by(PersonalityRow.id).with_for_update(key_share=True))


def _create(session: Session, row: PersonalityRow) -> int:
    session.add(row)
    session.flush()
    session.add_all(AliasRow(personality_id=row.id, name=alias, generation=0) for alias in ALIASES)
    session.flush()
    return row.id


def _read(session: Session, path: Path, name: str, base: str) -> Card:
    try:
        require_name(name)
    except CardError as error:
        raise CardError("{path}: {error}", path=path, error=error) from error
    card = read_card_file(path)
    require_meant_for(card, base, str(path))
    row = session.scalar(select(PersonalityRow).where(PersonalityRow.name == name))
    if row is not None and row.file_digest is None and row.card:
        raise PersonalityConflict(
            "{path} has the name of a personality that was created in Discord, so it is ignored: rename the file",
            path=path,
        )
    return card


def _take(session: Session, row: PersonalityRow, card: Card) -> None:
    taken = session.execute(
        update(PersonalityRow)
        .where(PersonalityRow.id == row.id, PersonalityRow.file_digest.is_not_distinct_from(row.file_digest))
        .values(file_digest=card.digest)
    )
    # Bot and trainer start at the same time: the faster one writes the card.
    if changed_rows(taken) == 1 and _card(row) != card:
        _write(session, row, card, f"{row.name}{CARD_SUFFIX}")
        log.info("Read the card of %s from %s%s.", row.name, row.name, CARD_SUFFIX)


def _write(session: Session, row: PersonalityRow, card: Card, by: str) -> None:
    row.card = card.as_dict()
    session.add(CardRevisionRow(personality_id=row.id, card=row.card, changed_by=by))
    session.flush()


def _set_archived(session: Session, personality: Personality, when: datetime | None) -> None:
    session.execute(update(PersonalityRow).where(PersonalityRow.id == personality.id).values(archived_at=when))


def _card(row: PersonalityRow) -> Card:
    return Card.model_validate(cast(Mapping[str, Any], row.card))


def _plain(row: PersonalityRow) -> Personality:
    return from_row(Personality, row, card=_card(row))
