"""When the clock starts an arena: late rather than never."""

from __future__ import annotations

from apscheduler.triggers.base import BaseTrigger
from sqlalchemy.orm import Session

from storage.errors import SettingsError
from storage.runtime.schedules import begin_schedule, parse_schedule, take_due
from storage.runtime.shards import Shards
from storage.settings.sections import ArenaSettings
from storage.votes.arenas import last_scheduled

LOOK_S = 10.0


def arena_trigger(settings: ArenaSettings) -> BaseTrigger | None:
    """Return the trigger of scheduled arenas, or None where only admins start them; raises SettingsError."""
    trigger = parse_schedule("arena.schedule", settings.schedule)
    if trigger is not None and not settings.channel:
        raise SettingsError(
            "arena.schedule is set, but arena.channel is not: write the id of the channel for scheduled arenas"
        )
    return trigger


def begin_looking(session: Session, shards: Shards) -> None:
    """Look at the schedule from now on; what fell due after the last arena that the clock started is due still."""
    begin_schedule(session, _name(shards), last_scheduled(session))


def take_due_arena(session: Session, shards: Shards, trigger: BaseTrigger) -> bool:
    """Return whether an arena fell due since the last look."""
    return take_due(session, _name(shards), trigger)


def _name(shards: Shards) -> str:
    """Each process looks for itself: which one serves the channel is known once Discord was asked for it."""
    return f"arenas of {shards.names[0]}"
