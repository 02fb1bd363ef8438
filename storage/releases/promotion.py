"""Promote and roll back: one use case each, for Discord and the command line. People's decision promotes too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import LAST_GOOD, GateVerdict
from storage.errors import AliasConflict, AlreadyChampion, NothingToRollBack
from storage.operations.audit import AuditedAction, audited
from storage.releases.bases import base_in_use
from storage.releases.contests import Contest, Decision
from storage.releases.versions import (
    Alias,
    Version,
    ask_gate,
    find_version,
    id_of,
    move_alias,
    moves_of,
    name_of,
    nearest_with_files,
    read_alias,
    settle_verdict,
    version_named,
)
from storage.sentences import Sentence, joined
from storage.settings.sections import ReleaseSettings
from storage.wording import gettext_noop

GATE = gettext_noop("the checks")
PASSED = Sentence("it passed the checks")
CHOICES = gettext_noop("people's choices")
"""Recorded as the mover of the champion if release.auto_promote follows people's choices."""


@dataclass(frozen=True)
class ReleaseRequest:
    """A request to use a version, with the reason."""

    personality_id: int
    version: str
    reason: str
    override: bool
    open_files: Callable[[Version | None], object]
    """Checks the version's files; raises AdapterError."""
    seen: int | None = None
    """The champion's generation on the page where somebody decided this; None if they decided just now."""


@dataclass(frozen=True)
class ChampionMove:
    before: Alias
    after: Alias


def promote_version(database: Database, action: AuditedAction, request: ReleaseRequest) -> ChampionMove:
    """Make a version the champion; raises VersionNotFound, AdapterError and the errors of `promote`."""
    champion, version = _check(database, request)
    after = database.call(
        audited(action, promote),
        request.personality_id,
        version,
        expected_generation=champion.generation if request.seen is None else request.seen,
        by=action.actor,
        reason=request.reason,
        override=request.override,
    )
    return ChampionMove(champion, after)


def roll_back_champion(
    database: Database, action: AuditedAction, personality_id: int, reason: str, seen: int | None = None
) -> ChampionMove:
    """Go back to the previous version; raises the errors of `roll_back`. `seen` is as in ReleaseRequest."""
    champion = database.fetch(read_alias, personality_id)
    after = database.call(
        audited(action, roll_back),
        personality_id,
        expected_generation=champion.generation if seen is None else seen,
        by=action.actor,
        reason=reason,
    )
    return ChampionMove(champion, after)


def _check(database: Database, request: ReleaseRequest) -> tuple[Alias, Version | None]:
    """Return the champion, and the version if it may answer and its files are sound.

    All of this is checked twice: first here, outside the transaction that changes something, because opening files can
    take a download, and no writer may wait for that; then in that transaction, because somebody else may have moved an
    alias or withdrawn the files in the meantime.
    """

    def read(session: Session) -> tuple[Alias, Version | None]:
        version = version_named(session, request.personality_id, request.version)
        ask_gate(session, version, override=request.override, reason=request.reason)
        return read_alias(session, request.personality_id), version

    champion, version = database.fetch(read)
    request.open_files(version)
    return champion, version


def promote(
    session: Session,
    personality_id: int,
    to: Version | None,
    *,
    expected_generation: int,
    by: str,
    reason: str,
    override: bool = False,
) -> Alias:
    """Make a version the champion, and the previous champion last-good.

    Raises AlreadyChampion, AliasConflict if the champion has moved since `expected_generation` was read, and the errors
    of `ask_gate`.
    """
    overrides = ask_gate(session, to, override=override, reason=reason)
    champion = read_alias(session, personality_id)
    if id_of(champion.version) == id_of(to):
        raise AlreadyChampion(name_of(to))
    _require_generation(champion, expected_generation)
    return make_champion(session, personality_id, champion, to, by=by, reason=reason, overrides_gate=overrides)


def roll_back(session: Session, personality_id: int, *, expected_generation: int, by: str, reason: str) -> Alias:
    """Undo the last promotion; the next roll back continues with the parent of that version, and so on to the base.

    A promotion makes the previous champion last-good. A roll back makes last-good the champion, and the parent of that
    version last-good. After promoting v1, v2 and base, where v2 continues v1, roll backs lead to v2, v1 and base.
    Versions whose files were withdrawn are skipped, and the reason says so.

    Raises NothingToRollBack if both champion and last-good are the base, AliasConflict if the champion has moved since
    `expected_generation` was read.
    """
    champion, last_good = read_alias(session, personality_id), read_alias(session, personality_id, LAST_GOOD)
    _require_generation(champion, expected_generation)
    target = last_good.version
    if id_of(target) == id_of(champion.version):
        if champion.version is None:
            raise NothingToRollBack
        target = nearest_with_files(session, champion.version.parent_id)
        reason = _with_skipped(reason, find_version(session, champion.version.parent_id), target)
    after = move_alias(session, personality_id, champion, target, by=by, reason=reason)
    before_target = nearest_with_files(session, target.parent_id) if target else None
    _move_last_good(session, personality_id, last_good, before_target, by=by)
    return after


def release_passed(session: Session, personality_id: int, version: Version, settings: ReleaseSettings) -> str | None:
    """Release a new version that passed the gate if release.auto_promote is on, and return a sentence about it.

    None means that the version waits for people's choices or for an admin. The base may have changed while a round
    trained.
    """
    used = base_in_use(session)
    if used is not None and used.revision != version.base_revision:
        return Sentence("{version} waits until {base} answers again", version=version.name, base=version.base_name)
    if not settings.auto_promote or version.verdict is not GateVerdict.PASS:
        return None
    champion = read_alias(session, personality_id)
    if id_of(champion.version) != version.parent_id:
        return Sentence(
            "{version} waits for an admin: {champion} answers now, which it did not start from",
            version=version.name,
            champion=champion.target,
        )
    try:
        make_champion(session, personality_id, champion, version, by=GATE, reason=PASSED)
    except AliasConflict:
        return Sentence(
            "{version} waits for an admin: another admin switched versions at the same moment", version=version.name
        )
    return Sentence("{version} answers from now on", version=version.name)


def make_champion(
    session: Session,
    personality_id: int,
    champion: Alias,
    to: Version | None,
    *,
    by: str,
    reason: str,
    overrides_gate: bool = False,
) -> Alias:
    """Make a version the champion, and the version that `champion` points at last-good."""
    after = move_alias(session, personality_id, champion, to, by=by, reason=reason, overrides_gate=overrides_gate)
    _move_last_good(session, personality_id, read_alias(session, personality_id, LAST_GOOD), champion.version, by=by)
    return after


def _move_last_good(session: Session, personality_id: int, before: Alias, to: Version | None, *, by: str) -> None:
    move_alias(session, personality_id, before, to, by=by, reason=Sentence("follows the version in use"))


def _require_generation(champion: Alias, expected: int) -> None:
    if champion.generation != expected:
        raise AliasConflict(champion.name, expected, champion.generation)


def _with_skipped(reason: str, wanted: Version | None, target: Version | None) -> str:
    if wanted is None or id_of(wanted) == id_of(target):
        return reason
    skipped = Sentence(
        "(skipped {version}, whose files were withdrawn: {reason})",
        version=wanted.name,
        reason=wanted.withdrawn_because,
    )
    return joined(" ", [reason, skipped])


def conclude(session: Session, contest: Contest, decision: Decision, settings: ReleaseSettings) -> bool:
    """Carry out people's decision: settle the verdict, and promote; return False if it was too late.

    With release.auto_promote a version becomes the champion unless it was champion before: then somebody took it back.
    Raises AliasConflict if somebody moves the champion at the same time.
    """
    version = contest.rival
    champion = read_alias(session, version.personality_id)
    if id_of(champion.version) != id_of(contest.champion):
        return False  # these choices are counted again against the new champion
    promotes = decision.verdict is GateVerdict.PASS and settings.auto_promote and not moves_of(session, version)
    if promotes:
        make_champion(session, version.personality_id, champion, version, by=CHOICES, reason=decision.reason)
    # A promotion is announced with the same reason.
    contest_numbers = contest.numbers | {"reason": decision.reason}
    return settle_verdict(session, version, decision.verdict, contest_numbers, announced=promotes)
