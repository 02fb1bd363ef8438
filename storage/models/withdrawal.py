"""Withdraws old versions and those that learned from deleted data: removes files, keeps rows and manifests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.adapters.folder_store import AdapterStore
from storage.adapters.shared_store import open_served_copies
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import CHAMPION, LAST_GOOD, GateVerdict, RoundStatus
from storage.database.rows import from_row
from storage.database.tables import AliasMoveRow, AliasRow, PersonalityRow, RoundRow, VersionRow
from storage.models.openvino.graph_cache import remove_graphs_of
from storage.releases.base_change import champions_elsewhere
from storage.releases.versions import Version, line_of_parents
from storage.sentences import Sentence
from storage.settings.sections import Settings

DELETED_DATA = Sentence("it learned from data that was later deleted")
REPLACED = Sentence("a newer version took its place before it was promoted")
WHEN_REPLACED = "when_replaced"


@dataclass(frozen=True)
class Withdrawal:
    """A version whose files are removed, and the reason."""

    personality: str
    version: Version
    because: str


def withdraw_adapters(database: Database, store: AdapterStore, settings: Settings) -> list[Withdrawal]:
    """Withdraw the versions of `choose_withdrawals`, rows first, then files and graphs, and return them."""
    with database.snapshot() as session:
        if not choose_withdrawals(session, settings):
            return []
    with database.transaction() as session:
        _lock_aliases(session)
        chosen = choose_withdrawals(session, settings)
        ids = [withdrawal.version.id for withdrawal in chosen]
        for withdrawal in chosen:
            values = {"withdrawn_at": utc_now(), "withdrawn_because": withdrawal.because}
            session.execute(update(VersionRow).where(VersionRow.id == withdrawal.version.id).values(**values))
    remove_withdrawn(database, store, settings.data.directory, ids)
    return chosen


def remove_withdrawn(
    database: Database, store: AdapterStore, data_directory: Path, ids: Collection[int] | None = None
) -> None:
    """Remove the files of these withdrawn versions, or of all: a previous run may have left some."""
    with database.snapshot() as session:
        alive = select(VersionRow.digest).where(VersionRow.withdrawn_at.is_(None))
        gone = select(VersionRow.digest).where(VersionRow.withdrawn_at.is_not(None), VersionRow.digest.not_in(alive))
        digests = set(session.scalars(gone if ids is None else gone.where(VersionRow.id.in_(ids))))
    for digest in digests & store.list_digests():  # one question to a shared store, instead of some about each
        store.remove(digest)
    for digest in digests:
        open_served_copies(data_directory).remove(digest)
    remove_graphs_of(digests, data_directory)


def choose_withdrawals(session: Session, settings: Settings) -> list[Withdrawal]:
    """Return the versions to withdraw according to the settings, oldest first, without changing anything.

    A version that nobody decided for is replaced by the next one, unless it was promoted or tried. With
    privacy.withdraw_adapters, versions that learned from deleted data are withdrawn once nothing uses them. With
    training.keep_versions, older versions are withdrawn unless they or their descendants are in use, or will be when
    their base is. Only versions of one base replace each other. Files that a remaining version shares are kept.
    """
    used, tried = _used(session), _tried(session)
    kept_for_later = {version.id for version in champions_elsewhere(session)}
    lines = {version.id for id_ in used | kept_for_later for version in line_of_parents(session, id_)}
    chosen = []
    by_personality = _with_files(session)
    for (personality, _base), versions in by_personality.items():
        for newer, version in enumerate(versions):
            because = _reason(version, versions[:newer], settings, used=used, tried=tried, lines=lines)
            if because:
                chosen.append(Withdrawal(personality, version, because))
    going = {withdrawal.version.id for withdrawal in chosen}
    kept = {version.digest for versions in by_personality.values() for version in versions if version.id not in going}
    chosen = [withdrawal for withdrawal in chosen if withdrawal.version.digest not in kept]
    return sorted(chosen, key=lambda withdrawal: withdrawal.version.id)


def _reason(
    version: Version,
    newer: Sequence[Version],
    settings: Settings,
    *,
    used: Collection[int],
    tried: Collection[int],
    lines: Collection[int],
) -> str | None:
    """Return the reason to withdraw the version, or None; `newer` are newer ones of its personality and base."""
    if version.trained_on_deleted_data and settings.privacy.withdraw_adapters == WHEN_REPLACED:
        return None if version.id in used else DELETED_DATA
    if version.round_id and version.id not in tried and _is_replaced(version, newer):
        return REPLACED
    keep = settings.training.keep_versions
    is_old = keep and len(newer) >= keep and version.id not in lines
    return Sentence("it is older than the newest {number}", number=keep) if is_old else None


def _is_replaced(version: Version, newer: Sequence[Version]) -> bool:
    """Return whether a newer version replaces this one, which nobody decided for; a vetoed one replaces none."""
    if version.verdict is GateVerdict.FAIL:
        return bool(newer)
    waits = version.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE
    return waits and any(other.verdict is not GateVerdict.FAIL for other in newer)


def _used(session: Session) -> set[int]:
    """Return the IDs of versions that an alias names or a running round continues."""
    queries = (
        select(AliasRow.version_id),
        select(RoundRow.parent_version_id).where(RoundRow.status == RoundStatus.RUNNING),
    )
    return {id_ for query in queries for id_ in session.scalars(query) if id_ is not None}


def _tried(session: Session) -> set[int]:
    """Return the IDs of versions that an alias names or has named."""
    moved = session.scalars(select(AliasMoveRow.to_version_id).distinct())
    return {id_ for id_ in moved if id_ is not None} | _used(session)


def _with_files(session: Session) -> dict[tuple[str, str], list[Version]]:
    """Return {(personality, base revision): versions that still have their files, newest first}."""
    rows = session.execute(
        select(PersonalityRow.name, VersionRow)
        .join(VersionRow, VersionRow.personality_id == PersonalityRow.id)
        .where(VersionRow.withdrawn_at.is_(None))
        .order_by(VersionRow.number.desc())
    )
    found: dict[tuple[str, str], list[Version]] = defaultdict(list)
    for name, row in rows:
        found[name, row.base_revision].append(from_row(Version, row))
    return found


def _lock_aliases(session: Session) -> None:
    """Lock the aliases until this transaction ends; a waiting promotion then reads the version's row again.

    The order is that of promotions, to avoid a deadlock.
    """
    for name in (CHAMPION, LAST_GOOD):
        rows = select(AliasRow).where(AliasRow.name == name).order_by(AliasRow.personality_id)
        session.execute(rows.with_for_update())
