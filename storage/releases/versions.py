"""Versions, and the aliases that point at them; no version is ever overwritten."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.database import notify
from storage.database.enums import CHAMPION, GateVerdict, TrainingSource
from storage.database.rows import any_row, changed_rows, from_row, read_all, read_first
from storage.database.tables import AliasMoveRow, AliasRow, RoundRow, VersionRow
from storage.errors import (
    AliasConflict,
    GateNotPassed,
    OverrideNeedsReason,
    VersionNotFound,
    VersionOfOtherBase,
    VersionWithdrawn,
)
from storage.personalities.personalities import lock_personality
from storage.releases.bases import base_in_use, of_base_in_use
from storage.sentences import Sentence
from storage.wording import BASE_NAME, version_name


@dataclass(frozen=True)
class Version:
    id: int
    personality_id: int
    number: int
    digest: str
    base_name: str
    base_revision: str
    parent_id: int | None
    round_id: int | None
    metrics: dict[str, Any]
    verdict: GateVerdict
    trained_on_deleted_data: bool
    created_at: datetime
    withdrawn_at: datetime | None = None
    """The time when its files were deleted."""
    withdrawn_because: str = ""
    contest: dict[str, Any] = field(default_factory=dict)
    """People's choices between it and the champion and, once they decided, the reason."""
    decided_at: datetime | None = None

    @property
    def name(self) -> str:
        return version_name(self.number)

    @property
    def is_sound(self) -> bool:
        """True if a round may start from it: its files exist, and none of its training data was deleted."""
        return self.withdrawn_at is None and not self.trained_on_deleted_data


@dataclass(frozen=True)
class Alias:
    """A name for a version; None means the base model without an adapter."""

    name: str
    version: Version | None
    generation: int

    @property
    def target(self) -> str:
        return name_of(self.version)


@dataclass(frozen=True)
class StartingPoint:
    """The start of the next round's training: the base, or a starter that was made from examples or imported."""

    starter: Version | None
    forgets: Version | None = None
    """The champion, if it learned from since-deleted data: the round makes a version without that data."""

    @property
    def note(self) -> str | None:
        """Return a sentence about the champion that should be replaced, if there is one."""
        if self.forgets is None:
            return None
        return Sentence(
            "{version} learned from data that was later deleted; this round learns without it",
            version=self.forgets.name,
        )


@dataclass(frozen=True)
class AliasMove:
    id: int
    personality_id: int
    alias: str
    generation: int
    from_version_id: int | None
    to_version_id: int | None
    moved_by: str
    reason: str
    overrides_gate: bool
    moved_at: datetime


def name_of(version: Version | None) -> str:
    return version.name if version else BASE_NAME


def id_of(version: Version | None) -> int | None:
    return version.id if version else None


@dataclass(frozen=True)
class NewVersion:
    """An adapter whose files are published, and its history."""

    digest: str
    base_name: str
    base_revision: str
    parent_id: int | None
    round_id: int | None
    metrics: dict[str, Any]
    verdict: GateVerdict = GateVerdict.PASS
    trained_on_deleted_data: bool = False


def register(session: Session, personality_id: int, new: NewVersion) -> Version:
    """Add a row for the version, and give it the personality's next number."""
    lock_personality(session, personality_id)
    newest = session.scalar(select(func.max(VersionRow.number)).where(VersionRow.personality_id == personality_id))
    row = VersionRow(personality_id=personality_id, number=(newest or 0) + 1, **vars(new))
    # Training started from the parent's weights, so the version inherits everything that the parent learned.
    if new.parent_id is not None and session.get_one(VersionRow, new.parent_id).trained_on_deleted_data:
        row.trained_on_deleted_data = True
    session.add(row)
    session.flush()
    notify(session)
    return from_row(Version, row)


def note_contest(session: Session, version: Version, contest: dict[str, Any]) -> None:
    """Store people's choices so far."""
    session.execute(update(VersionRow).where(VersionRow.id == version.id).values(contest=contest))


def settle_verdict(
    session: Session, version: Version, verdict: GateVerdict, contest: dict[str, Any], *, announced: bool
) -> bool:
    """Settle the verdict on a version that waits for people's choices; return False if it no longer waits.

    `announced` is true if admins are told of it in another way.
    """
    waits = VersionRow.verdict == GateVerdict.NOT_ENOUGH_EVIDENCE
    settled = session.execute(
        update(VersionRow)
        .where(VersionRow.id == version.id, waits)
        .values(verdict=verdict, contest=contest, decided_at=utc_now(), announced=announced)
    )
    notify(session)
    return changed_rows(settled) == 1


def find_version(session: Session, version_id: int | None) -> Version | None:
    """Return the version, or None for the base model; raises VersionNotFound for an unknown id."""
    if version_id is None:
        return None
    row = session.get(VersionRow, version_id)
    if row is None:
        raise VersionNotFound(f"with id {version_id}")
    return from_row(Version, row)


def version_named(session: Session, personality_id: int, name: str) -> Version | None:
    """Return the version named "v3", "3" or "base" (None); raises VersionNotFound."""
    wanted = name.strip().lower()
    if wanted == BASE_NAME:
        return None
    digits = wanted.removeprefix("v")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise VersionNotFound(name)
    numbered = select(VersionRow).where(VersionRow.personality_id == personality_id, VersionRow.number == int(digits))
    version = read_first(session, Version, numbered)
    if version is None:
        raise VersionNotFound(name)
    return version


def list_versions(session: Session, personality_id: int) -> list[Version]:
    """Return the versions, newest first."""
    rows = select(VersionRow).where(VersionRow.personality_id == personality_id).order_by(VersionRow.number.desc())
    return read_all(session, Version, rows)


def usable_versions(session: Session, personality_id: int) -> list[Version]:
    """Return the versions that can answer, newest first: they belong to the base in use and have their files."""
    rows = select(VersionRow).where(
        VersionRow.personality_id == personality_id, VersionRow.withdrawn_at.is_(None), of_base_in_use(session)
    )
    return read_all(session, Version, rows.order_by(VersionRow.number.desc()))


def version_of_round(session: Session, round_id: int) -> Version | None:
    """Return the version that the round made; None if it made none."""
    return read_first(session, Version, select(VersionRow).where(VersionRow.round_id == round_id))


def names_by_id(session: Session, personality_id: int) -> dict[int | None, str]:
    """Return {version id: name}; None is the base."""
    return {None: BASE_NAME} | {version.id: version.name for version in list_versions(session, personality_id)}


def learned_from_deleted_data(session: Session, digest: str) -> bool:
    """Return whether a version with this adapter learned from data that a member later deleted."""
    return any_row(session, select(VersionRow).where(VersionRow.digest == digest, VersionRow.trained_on_deleted_data))


def aliased_digests(session: Session) -> set[str]:
    """Return the digests of all versions that an alias points at: any of them may have to answer."""
    return set(session.scalars(select(VersionRow.digest).join(AliasRow, AliasRow.version_id == VersionRow.id)))


def was_withdrawn_for_deletion(session: Session, digest: str) -> bool:
    """Return whether this adapter learned from deleted data and its files were withdrawn."""
    which = (VersionRow.digest == digest, VersionRow.trained_on_deleted_data, VersionRow.withdrawn_at.is_not(None))
    return any_row(session, select(VersionRow).where(*which))


def all_digests(session: Session) -> set[str]:
    """Return the digests of every personality's adapters, except the withdrawn ones."""
    return set(session.scalars(select(VersionRow.digest).where(VersionRow.withdrawn_at.is_(None))))


def line_of_parents(session: Session, version_id: int | None) -> list[Version]:
    """Return the version, its parent, and so on; raises VersionNotFound."""
    chain: list[Version] = []
    while (version := find_version(session, version_id)) is not None:
        chain.append(version)
        version_id = version.parent_id
    return chain


def starting_point(session: Session, personality_id: int) -> StartingPoint:
    """Return the start of the personality's next round: the champion's nearest sound starter, or the base."""
    champion = read_alias(session, personality_id).version
    line = line_of_parents(session, id_of(champion))
    starter = next((version for version in line if version.is_sound and _is_starter(session, version)), None)
    return StartingPoint(starter, champion if champion and champion.trained_on_deleted_data else None)


def _is_starter(session: Session, version: Version) -> bool:
    """Return whether the version was made from a card's examples or imported, so that it learned from no votes here."""
    round_ = session.get(RoundRow, version.round_id) if version.round_id else None
    return round_ is None or round_.learns_from is TrainingSource.EXAMPLES


def require_files(version: Version | None) -> None:
    """Raise VersionWithdrawn if the version's files were withdrawn."""
    if version is not None and version.withdrawn_at is not None:
        raise VersionWithdrawn(version.name, f"{version.withdrawn_at:%Y-%m-%d}", version.withdrawn_because)


def require_usable(session: Session, version: Version | None) -> None:
    """Raise VersionWithdrawn, or VersionOfOtherBase if the version does not belong to the base in use."""
    require_files(version)
    used = base_in_use(session)
    if version is not None and used is not None and version.base_revision != used.revision:
        trained_on, answers = f"{version.base_name} ({version.base_revision})", f"{used.name} ({used.revision})"
        raise VersionOfOtherBase(version.name, trained_on, answers)


def nearest_with_files(session: Session, version_id: int | None) -> Version | None:
    """Return the version, or its nearest ancestor, that still has its files; None is the base."""
    line = line_of_parents(session, version_id)
    return next((version for version in line if version.withdrawn_at is None), None)


def read_alias(session: Session, personality_id: int, name: str = CHAMPION) -> Alias:
    """Return the alias; before its first move it points at the base model, at generation 0."""
    row = session.get_one(AliasRow, (personality_id, name))
    return Alias(name=name, version=find_version(session, row.version_id), generation=row.generation)


def move_alias(
    session: Session,
    personality_id: int,
    before: Alias,
    to: Version | None,
    *,
    by: str,
    reason: str,
    overrides_gate: bool = False,
) -> Alias:
    """Point the alias at a version by compare-and-swap, and record the move.

    Raises AliasConflict if the alias has moved since `before` was read, and the errors of `require_usable`.
    """
    if not _swap(session, personality_id, before, to):
        raise AliasConflict(before.name, before.generation, read_alias(session, personality_id, before.name).generation)
    # Read the version again now that the alias points at it: a withdrawal checks the aliases before it deletes files.
    require_usable(session, find_version(session, id_of(to)))
    notify(session)
    session.add(
        AliasMoveRow(
            personality_id=personality_id,
            alias=before.name,
            generation=before.generation + 1,
            from_version_id=id_of(before.version),
            to_version_id=id_of(to),
            moved_by=by,
            reason=reason,
            overrides_gate=overrides_gate,
            announced=before.name != CHAMPION,  # members hear only about the champion
        )
    )
    session.flush()
    return Alias(before.name, to, before.generation + 1)


def _swap(session: Session, personality_id: int, before: Alias, to: Version | None) -> bool:
    """Return whether the row still had the generation that was read."""
    result = session.execute(
        update(AliasRow)
        .where(
            AliasRow.personality_id == personality_id,
            AliasRow.name == before.name,
            AliasRow.generation == before.generation,
        )
        .values(version_id=id_of(to), generation=before.generation + 1)
    )
    session.expire_all()
    return changed_rows(result) == 1


def failed_checks(session: Session, version: Version) -> list[str]:
    """Return the gate's sentences about the checks that the version failed, and people's choices against it.

    When the round ended, nobody had compared the version. Once somebody has, the check that says so is out of date.
    """
    gate = session.scalar(select(RoundRow.gate).where(RoundRow.id == version.round_id)) or {}
    is_compared = any(version.contest.get(outcome) for outcome in ("wins", "losses", "ties"))
    settled = {GateVerdict.PASS, GateVerdict.NOT_ENOUGH_EVIDENCE} if is_compared else {GateVerdict.PASS}
    failed = [check["sentence"] for check in gate.get("checks", ()) if check["outcome"] not in settled]
    dropped = version.verdict is GateVerdict.FAIL and version.contest.get("reason")
    return [*failed, dropped] if dropped else failed


def ask_gate(session: Session, version: Version | None, *, override: bool, reason: str) -> bool:
    """Return whether releasing the version overrides the gate; the base model needs no gate.

    Raises GateNotPassed if it would need an override, OverrideNeedsReason if the override has no reason, and the errors
    of `require_usable`.
    """
    require_usable(session, version)
    if version is None or version.verdict is GateVerdict.PASS:
        return False
    if not override:
        raise GateNotPassed(version.name, version.verdict, failed_checks(session, version))
    if not reason.strip():
        raise OverrideNeedsReason(version.name)
    return True


def moves_of(session: Session, version: Version) -> list[AliasMove]:
    """Return the moves that made the version champion or ended its time as champion, newest first."""
    rows = select(AliasMoveRow).where(
        AliasMoveRow.alias == CHAMPION,
        or_(AliasMoveRow.from_version_id == version.id, AliasMoveRow.to_version_id == version.id),
    )
    return read_all(session, AliasMove, rows.order_by(AliasMoveRow.id.desc()))
