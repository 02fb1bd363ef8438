"""A server's choices by its admins: places, times and people for answers, and scheduled messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.adapters.folder_store import AS_TRAINED
from storage.database.columns import utc_now
from storage.database.enums import Rule, Scope
from storage.database.rows import changed_rows, database_now, from_row
from storage.database.tables import ServerRow
from storage.errors import SetupConflict
from storage.personalities.bindings import BindingPlace, active_personality_at, bind, unbind
from storage.personalities.personalities import Personality
from storage.runtime.schedules import begin_schedule
from storage.settings.sections import Settings


class ServerChoices(BaseModel):
    """A server's choices. IDs are Discord's; one that no longer exists there has no effect."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # a later release may have chosen more

    rules: Mapping[int, Rule] = {}
    """Rules for answering in channels, threads and categories."""
    elsewhere: Rule = Rule.REPLY
    thread_channels: frozenset[int] = frozenset()
    """Channels and categories in which each conversation gets a thread of its own."""
    threads_everywhere: bool = False
    roles: frozenset[int] = frozenset()
    """Roles that may use the bot, besides admins; empty: everybody."""
    arena_schedule: str = ""
    """Schedule of arenas, a cron expression in UTC; empty: only admins start them."""
    arena_channel: int = 0
    announce_channel: int = 0
    """Channel for announcements of releases; 0: none."""
    weekly: bool = False
    """True if the channel also gets a weekly report of the members' teaching."""
    language: str = ""
    """Language of the bot's public messages, such as "de"; empty: the operator's or Discord's."""


@dataclass(frozen=True)
class ServerSetup:
    """A server with its choices, as stored."""

    guild_id: int
    choices: ServerChoices = field(default_factory=ServerChoices)
    generation: int = 0
    """Number of changes to its choices; 0 if the operator's settings hold."""
    chosen_by: str = ""
    chosen_at: datetime | None = None


def find_setup(session: Session, guild_id: int) -> ServerSetup | None:
    row = session.get(ServerRow, guild_id, populate_existing=True)
    return _plain(row) if row else None


def list_setups(session: Session) -> list[ServerSetup]:
    """Return the servers that were set up."""
    return [_plain(row) for row in session.scalars(select(ServerRow).order_by(ServerRow.guild_id))]


def choices_of(settings: Settings, channel_ids: Collection[int]) -> ServerChoices:
    """Return the operator's settings as choices of the server that has these channels and categories."""
    rules = {id_: Rule(rule) for id_, rule in settings.chat.channel_rules.items()}
    announces, arena = settings.release.announce_channel, settings.arena
    has_arenas = arena.channel in channel_ids
    return ServerChoices(
        rules={id_: rule for id_, rule in rules.items() if id_ in channel_ids},
        arena_schedule=arena.schedule if has_arenas else "",
        arena_channel=arena.channel if has_arenas else 0,
        announce_channel=announces if announces in channel_ids else 0,
        weekly=settings.release.weekly and announces in channel_ids,
    )


def apply_setup(
    session: Session,
    guild_id: int,
    choices: ServerChoices,
    personality: Personality | None,
    *,
    expected_generation: int,
    by: str,
) -> ServerSetup:
    """Store the choices, and let the personality answer in the whole server; None keeps the present one.

    Scheduled arenas and weeks count from now. Raises SetupConflict unless the server still has this generation,
    PersonalityConflict if the personality is archived.
    """
    _write(session, guild_id, choices, expected_generation, by)
    if personality is not None:
        _let_answer(session, guild_id, personality, by)
    if choices.arena_schedule:
        begin_schedule(session, schedule_of_arenas(guild_id), database_now(session))
    if choices.weekly:
        begin_schedule(session, schedule_of_weeks(guild_id), database_now(session))
    found = find_setup(session, guild_id)
    assert found is not None
    return found


def schedule_of_arenas(guild_id: int) -> str:
    """Return the name of the server's schedule of arenas."""
    return f"arenas in {guild_id}"


def schedule_of_weeks(guild_id: int) -> str:
    """Return the name of the server's schedule of weekly messages."""
    return f"weeks in {guild_id}"


def _write(session: Session, guild_id: int, choices: ServerChoices, expected_generation: int, by: str) -> None:
    values = {
        "choices": choices.model_dump(mode="json"),
        "generation": expected_generation + 1,
        "chosen_by": by,
        "chosen_at": utc_now(),
    }
    if not expected_generation:
        try:
            with session.begin_nested():
                session.add(ServerRow(guild_id=guild_id, **values))
        except IntegrityError as error:
            raise _conflict(session, guild_id) from error
        return
    unchanged = (ServerRow.guild_id == guild_id, ServerRow.generation == expected_generation)
    if changed_rows(session.execute(update(ServerRow).where(*unchanged).values(values))) != 1:
        raise _conflict(session, guild_id)


def _conflict(session: Session, guild_id: int) -> SetupConflict:
    other = find_setup(session, guild_id)
    return SetupConflict(other.chosen_by if other else "someone else")


def _let_answer(session: Session, guild_id: int, personality: Personality, by: str) -> None:
    """Bind the personality to the whole server; if it answers there already, its strength is kept."""
    place = BindingPlace(Scope.SERVER, guild_id)
    if active_personality_at(session, [place]).personality.id == personality.id:
        return
    if personality.is_default:
        unbind(session, place)
    else:
        bind(session, place, personality, guild_id=guild_id, strength=AS_TRAINED, by=by)


def _plain(row: ServerRow) -> ServerSetup:
    return from_row(ServerSetup, row, choices=ServerChoices.model_validate(row.choices))
