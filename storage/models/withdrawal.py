"""Adapter files that go: of versions that learned from deleted data, and of old ones; rows and manifests stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.adapters.folder_store import AdapterStore
from storage.adapters.served_copies import open_served_copies
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import CHALLENGER, CHAMPION, LAST_GOOD, CanaryStatus, RoundStatus
from storage.database.rows import from_row
from storage.database.tables import AliasRow, CanaryRow, PersonalityRow, RoundRow, VersionRow
from storage.models.openvino.options import remove_graphs_of
from storage.releases.versions import Version, line_of_parents
from storage.settings.sections import Settings

DELETED_DATA = "it learned from data that was deleted since"
WHEN_REPLACED = "when_replaced"


@dataclass(frozen=True)
class Withdrawal:
    """A version whose files go, and why."""

    personality: str
    version: Version
    because: str


def withdraw_adapters(database: Database, store: AdapterStore, settings: Settings) -> list[Withdrawal]:
    """Withdraw what `choose_withdrawals` says, row first, then files and graphs, and return it."""
    with database.snapshot() as session:
        if not choose_withdrawals(session, settings):
            return []
    with database.transaction() as session:
        _hold_aliases(session)
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
    """Remove the files of these withdrawn versions, or of all: an earlier life may have left some."""
    with database.snapshot() as session:
        alive = select(VersionRow.digest).where(VersionRow.withdrawn_at.is_(None))
        gone = select(VersionRow.digest).where(VersionRow.withdrawn_at.is_not(None), VersionRow.digest.not_in(alive))
        digests = set(session.scalars(gone if ids is None else gone.where(VersionRow.id.in_(ids))))
    for digest in digests:
        store.remove(digest)
        open_served_copies(data_directory).remove(digest)
    remove_graphs_of(digests, data_directory)


def choose_withdrawals(session: Session, settings: Settings) -> list[Withdrawal]:
    """Return the versions whose files the settings let go now, oldest first; nothing is written.

    Those that privacy.withdraw_adapters names are marked ones that nothing uses any more. Those beyond
    training.keep_versions are neither used nor in the line of parents of one that is. Files that another version shares
    stay with it.
    """
    used = _used(session)
    lines = {version.id for id_ in used for version in line_of_parents(session, id_)}
    chosen = []
    by_personality = _with_files(session)
    for personality, versions in by_personality.items():
        for rank, version in enumerate(versions):
            because = _reason(version, rank, settings, used=used, lines=lines)
            if because:
                chosen.append(Withdrawal(personality, version, because))
    going = {withdrawal.version.id for withdrawal in chosen}
    kept = {version.digest for versions in by_personality.values() for version in versions if version.id not in going}
    chosen = [withdrawal for withdrawal in chosen if withdrawal.version.digest not in kept]
    return sorted(chosen, key=lambda withdrawal: withdrawal.version.id)


def _reason(
    version: Version, rank: int, settings: Settings, *, used: Collection[int], lines: Collection[int]
) -> str | None:
    """Return why the files go, or None; `rank` counts newer versions of the personality."""
    if version.trained_on_deleted_data and settings.privacy.withdraw_adapters == WHEN_REPLACED:
        return None if version.id in used else DELETED_DATA
    keep = settings.training.keep_versions
    return f"it is older than the newest {keep}" if keep and rank >= keep and version.id not in lines else None


def _used(session: Session) -> set[int]:
    """Return the ids of versions that an alias names, a canary compares or a running round goes on from."""
    canaries = CanaryRow.status == CanaryStatus.RUNNING
    queries = (
        select(AliasRow.version_id),
        select(CanaryRow.champion_id).where(canaries),
        select(CanaryRow.challenger_id).where(canaries),
        select(RoundRow.parent_version_id).where(RoundRow.status == RoundStatus.RUNNING),
    )
    return {id_ for query in queries for id_ in session.scalars(query) if id_ is not None}


def _with_files(session: Session) -> dict[str, list[Version]]:
    """Return the versions that have their files by personality, the newest first."""
    rows = session.execute(
        select(PersonalityRow.name, VersionRow)
        .join(VersionRow, VersionRow.personality_id == PersonalityRow.id)
        .where(VersionRow.withdrawn_at.is_(None))
        .order_by(VersionRow.number.desc())
    )
    found: dict[str, list[Version]] = defaultdict(list)
    for name, row in rows:
        found[name].append(from_row(Version, row))
    return found


def _hold_aliases(session: Session) -> None:
    """Let nobody move an alias until this transaction ends; whoever waits looks at the version's row again after.

    In the order in which promotions take them, or each would wait for the other.
    """
    for name in (CHAMPION, LAST_GOOD, CHALLENGER):
        rows = select(AliasRow).where(AliasRow.name == name).order_by(AliasRow.personality_id)
        session.execute(rows.with_for_update())
