"""Reads and changes the database for commands, and records changes in the audit trail."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Callable
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
    return _call(config, personality, work, Database.snapshot)


def run_audited_command(
    config: Path | None, personality: str, work: Callable[[Session, int], T], audited_action: AuditedAction
) -> T:
    """Return `work(session, personality id)` and record the action in the same transaction; record refusals too."""

    def changing(session: Session, personality_id: int) -> T:
        result = work(session, personality_id)
        record_action(session, replace(audited_action, personality_id=personality_id))
        return result

    try:
        return _call(config, personality, changing, Database.transaction)
    except StorageError as error:
        record_command(config, personality, audited_action, AuditOutcome.REFUSED, str(error))
        raise


def record_command(
    config: Path | None,
    personality: str,
    audited_action: AuditedAction,
    outcome: AuditOutcome = AuditOutcome.DONE,
    note: str = "",
) -> None:
    """Add an entry to the audit trail, unless the personality or the database is missing."""
    with contextlib.suppress(StorageError):
        _call(
            config,
            personality,
            lambda session, id_: record_action(session, replace(audited_action, personality_id=id_), outcome, note),
            Database.transaction,
        )


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


def _call(
    config: Path | None,
    personality: str,
    work: Callable[[Session, int], T],
    begin: Callable[[Database], contextlib.AbstractContextManager[Session]],
) -> T:
    database = open_database(read_settings(config))
    with contextlib.closing(database), begin(database) as session:
        return work(session, personality_named(session, personality).id)
