"""Versions and the aliases that move between them; nothing is ever overwritten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import CHALLENGER, CHAMPION, LAST_GOOD, CanaryStatus, GateVerdict
from storage.database.notify import notify
from storage.database.rows import changed_rows, from_row
from storage.database.tables import AliasMoveRow, AliasRow, CanaryRow, RoundRow, VersionRow
from storage.errors import (
    AliasConflict,
    AlreadyChampion,
    GateNotPassed,
    NothingToRollBack,
    OverrideNeedsReason,
    VersionNotFound,
    VersionWithdrawn,
)
from storage.personalities.personalities import lock_personality

BASE_NAME = "base"


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
    """Since when its files are gone."""
    withdrawn_because: str = ""

    @property
    def name(self) -> str:
        return f"v{self.number}"

    @property
    def is_sound(self) -> bool:
        """Whether the next round may go on from it: its files are there, and nothing it learned was deleted since."""
        return self.withdrawn_at is None and not self.trained_on_deleted_data


@dataclass(frozen=True)
class Alias:
    """Where a name points; no version means the base model without an adapter."""

    name: str
    version: Version | None
    generation: int

    @property
    def target(self) -> str:
        return name_of(self.version)


@dataclass(frozen=True)
class Continuation:
    """What the next round goes on from: the champion, or the nearest sound version before it; None is the base."""

    parent: Version | None
    unlearned: tuple[Version, ...] = ()
    """The champion and those before it that are passed over, the newest first."""

    @property
    def note(self) -> str | None:
        """Say why the champion is passed over and what that means, where it is."""
        if not self.unlearned:
            return None
        champion, parent = self.unlearned[0].name, name_of(self.parent)
        line = " and ".join(version.name for version in reversed(self.unlearned))
        return (
            f"{champion} learned from data that was deleted since, so this round goes on from {parent}, beside which "
            f"it is judged, and learns anew what {line} knew, without what was deleted"
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


def _id(version: Version | None) -> int | None:
    return version.id if version else None


def register(
    session: Session,
    personality_id: int,
    *,
    digest: str,
    base_name: str,
    base_revision: str,
    parent_id: int | None,
    round_id: int | None,
    metrics: dict[str, Any],
    verdict: GateVerdict = GateVerdict.PASS,
    trained_on_deleted_data: bool = False,
) -> Version:
    """Add the row of an adapter whose files are published already."""
    lock_personality(session, personality_id)
    newest = session.scalar(select(func.max(VersionRow.number)).where(VersionRow.personality_id == personality_id))
    row = VersionRow(
        personality_id=personality_id,
        number=(newest or 0) + 1,
        digest=digest,
        base_name=base_name,
        base_revision=base_revision,
        parent_id=parent_id,
        round_id=round_id,
        metrics=metrics,
        verdict=verdict,
        # It goes on from its parent's weights, so it inherits what the parent learned.
        trained_on_deleted_data=trained_on_deleted_data
        or (parent_id is not None and session.get_one(VersionRow, parent_id).trained_on_deleted_data),
    )
    session.add(row)
    session.flush()
    notify(session)
    return from_row(Version, row)


def find_version(session: Session, version_id: int | None) -> Version | None:
    """Return the version, or None for the base model; raises VersionNotFound on an id that does not exist."""
    if version_id is None:
        return None
    row = session.get(VersionRow, version_id)
    if row is None:
        raise VersionNotFound(f"with id {version_id}")
    return from_row(Version, row)


def version_named(session: Session, personality_id: int, name: str) -> Version | None:
    """Return the version called "v3", "3" or "base" (None); raises VersionNotFound."""
    wanted = name.strip().lower()
    if wanted == BASE_NAME:
        return None
    digits = wanted.removeprefix("v")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise VersionNotFound(name)
    row = session.scalar(
        select(VersionRow).where(VersionRow.personality_id == personality_id, VersionRow.number == int(digits))
    )
    if row is None:
        raise VersionNotFound(name)
    return from_row(Version, row)


def list_versions(session: Session, personality_id: int) -> list[Version]:
    """Return the versions, newest first."""
    rows = session.scalars(
        select(VersionRow).where(VersionRow.personality_id == personality_id).order_by(VersionRow.number.desc())
    )
    return [from_row(Version, row) for row in rows]


def learned_from_deleted_data(session: Session, digest: str) -> bool:
    """Return whether a version of the same adapter learned from data that a member has deleted since."""
    found = select(VersionRow.id).where(VersionRow.digest == digest, VersionRow.trained_on_deleted_data)
    return session.scalar(found.limit(1)) is not None


def aliased_digests(session: Session) -> set[str]:
    """Return the digests of the versions that an alias of any personality names: those that may have to answer."""
    query = select(VersionRow.digest).join(AliasRow, AliasRow.version_id == VersionRow.id)
    return set(session.scalars(query))


def was_withdrawn_for_deletion(session: Session, digest: str) -> bool:
    """Return whether the files of the same adapter were withdrawn, and it learned from data that was deleted."""
    which = (VersionRow.digest == digest, VersionRow.trained_on_deleted_data, VersionRow.withdrawn_at.is_not(None))
    return session.scalar(select(VersionRow.id).where(*which).limit(1)) is not None


def all_digests(session: Session) -> set[str]:
    """Return the digests of every personality's adapters, but for those that were withdrawn."""
    return set(session.scalars(select(VersionRow.digest).where(VersionRow.withdrawn_at.is_(None))))


def line_of_parents(session: Session, version_id: int | None) -> list[Version]:
    """Return the version, its parent and so on; raises VersionNotFound."""
    chain: list[Version] = []
    while (version := find_version(session, version_id)) is not None:
        chain.append(version)
        version_id = version.parent_id
    return chain


def continuation_of(session: Session, personality_id: int) -> Continuation:
    """Return what the personality's next round goes on from."""
    champion = read_alias(session, personality_id).version
    line = line_of_parents(session, _id(champion))
    unlearned = tuple(takewhile(lambda version: not version.is_sound, line))
    return Continuation(line[len(unlearned)] if len(unlearned) < len(line) else None, unlearned)


def require_files(version: Version | None) -> None:
    """Raise VersionWithdrawn where the version's files were withdrawn."""
    if version is not None and version.withdrawn_at is not None:
        raise VersionWithdrawn(version.name, f"{version.withdrawn_at:%Y-%m-%d}", version.withdrawn_because)


def _with_files(session: Session, version_id: int | None) -> Version | None:
    """Return the version, or the nearest one before it that has its files; None is the base."""
    line = line_of_parents(session, version_id)
    return next((version for version in line if version.withdrawn_at is None), None)


def read_alias(session: Session, personality_id: int, name: str = CHAMPION) -> Alias:
    """Return the alias; one that was never moved points at the base model, at generation 0."""
    row = session.get_one(AliasRow, (personality_id, name))
    return Alias(name=name, version=find_version(session, row.version_id), generation=row.generation)


def move_alias(
    session: Session,
    personality_id: int,
    name: str,
    to: Version | None,
    *,
    expected_generation: int,
    by: str,
    reason: str,
    overrides_gate: bool = False,
) -> Alias:
    """Point the alias at a version by compare-and-swap, with a line in the audit trail.

    Raises AliasConflict where somebody else moved it since `expected_generation` was read, VersionWithdrawn.
    """
    before = read_alias(session, personality_id, name)
    if before.generation != expected_generation or not _swap(session, personality_id, before, to):
        raise AliasConflict(name, expected_generation, read_alias(session, personality_id, name).generation)
    # Read again, now that the alias is ours: a withdrawal looks at it before it takes files away.
    require_files(find_version(session, _id(to)))
    notify(session)
    session.add(
        AliasMoveRow(
            personality_id=personality_id,
            alias=name,
            generation=expected_generation + 1,
            from_version_id=_id(before.version),
            to_version_id=_id(to),
            moved_by=by,
            reason=reason,
            overrides_gate=overrides_gate,
            announced=name != CHAMPION,  # the others follow from what members are told
        )
    )
    session.flush()
    return Alias(name=name, version=to, generation=expected_generation + 1)


def _swap(session: Session, personality_id: int, before: Alias, to: Version | None) -> bool:
    """Return whether the row was still at the generation that was read."""
    result = session.execute(
        update(AliasRow)
        .where(
            AliasRow.personality_id == personality_id,
            AliasRow.name == before.name,
            AliasRow.generation == before.generation,
        )
        .values(version_id=_id(to), generation=before.generation + 1)
    )
    session.expire_all()
    return changed_rows(result) == 1


def failed_checks(session: Session, version: Version) -> list[str]:
    """Return the sentences of the gate's checks that the version did not pass."""
    gate = session.scalar(select(RoundRow.gate).where(RoundRow.id == version.round_id)) or {}
    return [check["sentence"] for check in gate.get("checks", ()) if check["outcome"] != GateVerdict.PASS]


def ask_gate(session: Session, version: Version | None, *, override: bool, reason: str) -> bool:
    """Return whether the version may answer only because an admin overrides the gate; the base model always may.

    Raises GateNotPassed without an override, OverrideNeedsReason with one that gives no reason, VersionWithdrawn.
    """
    require_files(version)
    if version is None or version.verdict is GateVerdict.PASS:
        return False
    if not override:
        raise GateNotPassed(version.name, version.verdict, failed_checks(session, version))
    if not reason.strip():
        raise OverrideNeedsReason(version.name)
    return True


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
    """Make a version the champion and remember the one before as last-good; a canary that runs is stopped.

    Raises AlreadyChampion where it answers already, AliasConflict where the champion moved meanwhile, and what
    `ask_gate` raises.
    """
    overrides = ask_gate(session, to, override=override, reason=reason)
    after = make_champion(
        session,
        personality_id,
        to,
        expected_generation=expected_generation,
        by=by,
        reason=reason,
        overrides_gate=overrides,
    )
    _stop_canary(session, personality_id, by=by, reason=f"{by} promoted {name_of(to)}")
    return after


def make_champion(
    session: Session,
    personality_id: int,
    to: Version | None,
    *,
    expected_generation: int,
    by: str,
    reason: str,
    overrides_gate: bool,
) -> Alias:
    """Do what `promote` does, without asking the gate and without a word to a canary."""
    before = read_alias(session, personality_id)
    if _id(before.version) == _id(to):
        raise AlreadyChampion(name_of(to))
    after = move_alias(
        session,
        personality_id,
        CHAMPION,
        to,
        expected_generation=expected_generation,
        by=by,
        reason=reason,
        overrides_gate=overrides_gate,
    )
    _remember(session, personality_id, before.version, by=by)
    return after


def roll_back(session: Session, personality_id: int, *, expected_generation: int, by: str, reason: str) -> Alias:
    """Undo the last promotion; a second roll back goes on to the parent of what answers then, and so on to the base.

    Whatever is promoted makes the champion before it last-good. Rolling back goes there, the base promoted or not, and
    makes the parent of the version it arrives at last-good. After promoting v1, v2 and base, where v2 continues v1,
    roll backs go to v2, v1 and base. A version whose files were withdrawn is passed over, and the reason says so.

    Raises NothingToRollBack where champion and last-good are both the base, AliasConflict where the champion moved
    meanwhile.
    """
    champion = read_alias(session, personality_id).version
    target = read_alias(session, personality_id, LAST_GOOD).version
    if _id(target) == _id(champion):
        if champion is None:
            raise NothingToRollBack
        target = _with_files(session, champion.parent_id)
        reason += _passed_over(find_version(session, champion.parent_id), target)
    after = move_alias(
        session,
        personality_id,
        CHAMPION,
        target,
        expected_generation=expected_generation,
        by=by,
        reason=reason,
    )
    _remember(session, personality_id, _with_files(session, target.parent_id) if target else None, by=by)
    _stop_canary(session, personality_id, by=by, reason=f"{by} rolled back to {name_of(target)}")
    return after


def _passed_over(wanted: Version | None, target: Version | None) -> str:
    if wanted is None or _id(wanted) == _id(target):
        return ""
    return f" ({wanted.name}, which came before, has no files any more: {wanted.withdrawn_because})"


def _remember(session: Session, personality_id: int, version: Version | None, *, by: str) -> None:
    last_good = read_alias(session, personality_id, LAST_GOOD)
    move_alias(
        session,
        personality_id,
        LAST_GOOD,
        version,
        expected_generation=last_good.generation,
        by=by,
        reason="follows the champion",
    )


def _stop_canary(session: Session, personality_id: int, *, by: str, reason: str) -> None:
    """End the canary that runs, if one does: its champion has gone."""
    # Always after the champion has moved: whoever locks these rows in another order would wait forever.
    running = select(CanaryRow.id).where(
        CanaryRow.personality_id == personality_id, CanaryRow.status == CanaryStatus.RUNNING
    )
    for canary_id in session.scalars(running).all():
        end_canary(session, canary_id, CanaryStatus.STOPPED, by=by, reason=reason)


def end_canary(
    session: Session,
    canary_id: int,
    status: CanaryStatus,
    *,
    by: str,
    reason: str,
    numbers: dict[str, Any] | None = None,
) -> bool:
    """End a canary, so that its challenger gives no further answer; return False where it had ended already."""
    canary = session.get_one(CanaryRow, canary_id)
    ended = session.execute(
        update(CanaryRow)
        .where(CanaryRow.id == canary_id, CanaryRow.status == CanaryStatus.RUNNING)
        .values(
            status=status,
            reason=reason,
            numbers=canary.numbers if numbers is None else numbers,
            ended_at=utc_now(),
            announced=status is CanaryStatus.PROMOTED,  # the promotion is, with the same reason
        )
    )
    if changed_rows(ended) != 1:
        return False
    challenger = read_alias(session, canary.personality_id, CHALLENGER)
    move_alias(
        session,
        canary.personality_id,
        CHALLENGER,
        None,
        expected_generation=challenger.generation,
        by=by,
        reason=reason,
    )
    return True


def moves_of(session: Session, version: Version) -> list[AliasMove]:
    """Return when the version became champion or challenger and when it stopped being so, newest first."""
    rows = session.scalars(
        select(AliasMoveRow)
        .where(
            AliasMoveRow.alias.in_((CHAMPION, CHALLENGER)),
            or_(AliasMoveRow.from_version_id == version.id, AliasMoveRow.to_version_id == version.id),
        )
        .order_by(AliasMoveRow.id.desc())
    )
    return [from_row(AliasMove, row) for row in rows]
