"""What an admin or the operator does about versions; Discord and the command line call the same functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.operations.audit import AuditedAction, audited
from storage.releases.canaries import Canary, start_canary
from storage.releases.promotion import promote, roll_back
from storage.releases.versions import Alias, Version, ask_gate, read_alias, version_named
from storage.settings.sections import ReleaseSettings


@dataclass(frozen=True)
class ReleaseRequest:
    """A version that should answer, and why."""

    personality_id: int
    version: str
    reason: str
    override: bool
    open_files: Callable[[Version | None], object]
    """Checks the version's files; raises AdapterError."""


@dataclass(frozen=True)
class ChampionMove:
    before: Alias
    after: Alias


def promote_version(database: Database, action: AuditedAction, request: ReleaseRequest) -> ChampionMove:
    """Make a version the champion; raises what `promote` raises, VersionNotFound, AdapterError."""
    champion, version = _check(database, request)
    after = database.call(
        audited(action, promote),
        request.personality_id,
        version,
        expected_generation=champion.generation,
        by=action.actor,
        reason=request.reason,
        override=request.override,
    )
    return ChampionMove(champion, after)


def try_version(
    database: Database,
    action: AuditedAction,
    request: ReleaseRequest,
    settings: ReleaseSettings,
    share: float | None = None,
) -> tuple[Version, Canary]:
    """Start a canary; raises what `start_canary` raises, VersionNotFound, AdapterError."""
    _, version = _check(database, request)
    canary = database.call(
        audited(action, start_canary),
        request.personality_id,
        version,
        settings,
        by=action.actor,
        reason=request.reason,
        share=share,
        override=request.override,
    )
    assert version is not None, "no canary tries the base"
    return version, canary


def roll_back_champion(database: Database, action: AuditedAction, personality_id: int, reason: str) -> ChampionMove:
    """Go back to the version that answered before; raises what `roll_back` raises."""
    champion = database.fetch(read_alias, personality_id)
    after = database.call(
        audited(action, roll_back),
        personality_id,
        expected_generation=champion.generation,
        by=action.actor,
        reason=reason,
    )
    return ChampionMove(champion, after)


def _check(database: Database, request: ReleaseRequest) -> tuple[Alias, Version | None]:
    """Return the champion, and the version if it may answer and its files are sound.

    All of this is checked twice. First here, outside the transaction that changes something: opening files can take a
    download, and no writer may wait for that. Then in that transaction, because somebody else may have moved an alias
    or withdrawn the files in the meantime.
    """

    def read(session: Session) -> tuple[Alias, Version | None]:
        version = version_named(session, request.personality_id, request.version)
        ask_gate(session, version, override=request.override, reason=request.reason)
        return read_alias(session, request.personality_id), version

    champion, version = database.fetch(read)
    request.open_files(version)
    return champion, version
