"""What the operator reads and changes on the command line, with the lines of the audit trail."""

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
    """Return what `work` reads of the personality, while others write as they like."""
    return _call(config, personality, work, Database.snapshot)


def run_audited_command(
    config: Path | None, personality: str, work: Callable[[Session, int], T], audited_action: AuditedAction
) -> T:
    """Return what `work` changes, with a line of the audit trail in its transaction; a refusal has a line as well."""

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
    """Add a line to the audit trail; of a personality or database that is not there nothing is written."""
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
    """Return what `work` finds or does once the cards in their folder are known; before the first start as well."""
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
