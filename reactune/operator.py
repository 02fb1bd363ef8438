"""Reads and changes the database for commands, and records changes in the audit trail."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sqlalchemy.orm import Session

from reactune.console import read_settings
from storage.database.database import Database, open_database
from storage.database.enums import AuditOutcome
from storage.errors import StorageError
from storage.operations.audit import AuditedAction, record_action
from storage.personalities.personalities import DEFAULT_PERSONALITY, open_personality, personality_named
from storage.settings.sections import Settings

T = TypeVar("T")


def look_up(config: Path | None, personality: str, work: Callable[[Session, int], T]) -> T:
    """Return `work(session, personality id)`, read from one state of the database without blocking writers."""
    with contextlib.closing(open_database(read_settings(config))) as database, database.snapshot() as session:
        return work(session, personality_named(session, personality).id)


@contextlib.contextmanager
def operating(
    config: Path | None, personality: str, action: AuditedAction
) -> Iterator[tuple[Database, AuditedAction, int]]:
    """Yield the database, the action with the personality's id, and that id; record a refusal."""
    with contextlib.closing(open_database(read_settings(config))) as database:
        with database.snapshot() as session:
            personality_id = personality_named(session, personality).id
        action = replace(action, personality_id=personality_id)
        try:
            yield database, action, personality_id
        except StorageError as error:
            database.call(record_action, action, AuditOutcome.REFUSED, str(error))
            raise


def record_command(config: Path | None, personality: str, action: AuditedAction) -> None:
    """Add an entry to the audit trail, unless the personality or the database is missing."""
    with contextlib.suppress(StorageError), operating(config, personality, action) as (database, named, _):
        database.call(record_action, named)


def operator_action(action: str, subject: str = "", reason: str = "") -> AuditedAction:
    return AuditedAction(actor=operator_name(), action=action, subject=subject, reason=reason)


def operator_name() -> str:
    return f"{getpass.getuser()} (command line)"[:64]


def with_cards(settings: Settings, work: Callable[[Session], T]) -> T:
    """Load the personality cards, then return `work(session)`; this works before the bot's first start too."""
    database = open_database(settings)
    with contextlib.closing(database), database.transaction() as session:
        open_personality(session, settings, DEFAULT_PERSONALITY)
        return work(session)
