"""Backups: every row, every adapter and the settings in one file, made while the bot runs; any database restores it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import tempfile
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.adapters.folder_store import AdapterStore
from storage.adapters.stores import open_store
from storage.backups.archive import open_new, unpack_archive, write_archive
from storage.backups.copy import Say, copy_rows, has_rows, tables
from storage.backups.deletions import deletions_since, note_restore
from storage.database.columns import utc_now
from storage.database.database import Database, open_address, open_database
from storage.database.engine import copy_file
from storage.database.migrate import newest_schema, refuse_unknown
from storage.database.tables import HeartbeatRow, VersionRow
from storage.errors import AdapterError, BackupRefused
from storage.runtime.processes import BOT, TRAINER, record_heartbeat, require_unused, sole_process, worker_name
from storage.settings.sections import DatabaseSettings, Settings

DATABASE = "database.sqlite"
ADAPTERS = "adapters"
SETTINGS = "reactune.toml"
ASIDE = "restored-reactune.toml"
"""File in the data folder for a backup's settings that may not take effect by themselves."""
NAMES_A_PLACE = {"data", "database"}
"""Sections that say where rows and files are: restored, they could lead away from what was just restored."""
BACKUP = "backup"
"""The process name under which the heartbeats table holds the time of the last backup."""
SAVED_PREFIX = "before-restore-"


@dataclass(frozen=True)
class Backup:
    file: Path
    made_at: datetime
    schema: str
    rows: Mapping[str, int]
    adapters: Collection[str]
    missing_adapters: Collection[str]
    """Adapters of versions that were missing or damaged in the store when the backup was made."""
    bytes: int


@dataclass(frozen=True)
class RestoredBackup:
    backup: Backup
    saved: Path | None
    """A backup of the replaced rows; None if there were none."""
    kept_deletions: int
    """Number of members who deleted data or withdrew consent after the backup; both were repeated after restoring."""
    deleted_rows: int
    """Number of the backup's rows that were deleted after it was made, and so deleted again."""
    settings: Path | None = None
    """The file with the backup's settings; None if it holds none, or those that are here."""


def make_backup(settings: Settings, file: Path, say: Say, own: Path | None = None) -> Backup:
    """Write the database, the adapters and the settings file `own` to a new file; raises BackupRefused.

    Others may use them meanwhile.
    """
    with closing(open_database(settings)) as database:
        backup = _write(database, open_store(settings), file, say, own)
        database.call(record_heartbeat, BACKUP, worker_name(settings.data.directory))
    return backup


def last_backup(session: Session) -> datetime | None:
    """Return the time of the last backup of this database, made on any machine."""
    return session.scalar(select(func.max(HeartbeatRow.beat_at)).where(HeartbeatRow.process == BACKUP))


def _write(database: Database, store: AdapterStore, file: Path, say: Say, own: Path | None = None) -> Backup:
    if file.exists():
        raise BackupRefused(f"{file} exists already: choose another name for the backup")
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".backup-") as folder:
            if own is not None and own.is_file():
                shutil.copyfile(own, Path(folder) / SETTINGS)
            return _write_in(database, store, file, Path(folder), say)
    except OSError as error:
        raise BackupRefused(
            f"the backup cannot be written to {file} ({error.strerror or error}): "
            "choose a folder with room that this user may write"
        ) from error


def _write_in(database: Database, store: AdapterStore, file: Path, folder: Path, say: Say) -> Backup:
    made_at = utc_now()  # before the snapshot, so that it includes everything acknowledged until then
    snapshot = folder / DATABASE
    _take_snapshot(database, snapshot, say)
    _require_sound(snapshot)
    rows, versions = _read_snapshot(snapshot)
    parts = {DATABASE: snapshot}
    if (settings := folder / SETTINGS).exists():
        parts[SETTINGS] = settings
    missing: list[str] = []
    for digest in sorted({row["digest"] for row in versions}):
        try:
            adapter = store.path(digest)
        except AdapterError:
            missing.append(digest)
        else:
            parts |= {f"{ADAPTERS}/{digest}/{part.name}": part for part in adapter.iterdir() if part.is_file()}
    about = {
        "program": _program_version(),
        "made_at": made_at.isoformat(),
        "schema": newest_schema(),
        "from": database.engine.dialect.name,
        "rows": rows,
        "versions": versions,
        "missing_adapters": missing,
    }
    say(f"packing {len(parts)} files and reading them back")
    write_archive(file, parts, about)
    return _describe(file, about)


def _take_snapshot(database: Database, target: Path, say: Say) -> None:
    say("reading the database")
    if database.engine.dialect.name == "sqlite":
        with database.engine.connect() as connection:
            copy_file(connection, target)
        return
    with closing(open_address(f"sqlite:///{target}", DatabaseSettings())) as copy:
        copy_rows(database, copy, say)


def _require_sound(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check(1)") if row[0] != "ok"]
        problems += [
            f"a row of {row[0]} references a missing row" for row in connection.execute("PRAGMA foreign_key_check")
        ]
    if problems:
        raise BackupRefused(f"the database is damaged ({problems[0]}): nothing was written")


def _read_snapshot(file: Path) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Return the number of rows of each table, and the versions that were not withdrawn."""
    with closing(sqlite3.connect(file)) as connection:
        rows = {t.name: connection.execute(f"SELECT count(*) FROM {t.name}").fetchone()[0] for t in tables()}
        names = ("digest", "base_name", "base_revision")
        query = f"SELECT {', '.join(names)} FROM {VersionRow.__tablename__} WHERE withdrawn_at IS NULL ORDER BY id"
        return rows, [dict(zip(names, row, strict=True)) for row in connection.execute(query)]


def _program_version() -> str:
    try:
        return version("reactune")
    except PackageNotFoundError:  # run from a checkout
        return ""


def _describe(file: Path, about: Mapping[str, Any]) -> Backup:
    missing = set(about["missing_adapters"])
    return Backup(
        file=file,
        made_at=datetime.fromisoformat(about["made_at"]),
        schema=about["schema"],
        rows=about["rows"],
        adapters=sorted({v["digest"] for v in about["versions"]} - missing),
        missing_adapters=sorted(missing),
        bytes=file.stat().st_size,
    )


def restore_backup(
    settings: Settings, file: Path, say: Say, *, replace: bool = False, own: Path | None = None
) -> RestoredBackup:
    """Restore a backup's rows and adapters into the configured database and store, and its settings file as `own`.

    The backup is checked first. Then the adapters are published, each completely or not at all, and then all rows are
    written in one transaction. If `replace` is true, existing rows are saved to a backup in the data folder first.
    Raises BackupRefused, DataDirectoryInUse while a bot or trainer uses the database, CopyRefused and AdapterError.
    """
    directory = settings.data.directory
    try:
        with (
            sole_process(BOT, directory),
            sole_process(TRAINER, directory),
            _unpacked(file, directory, say) as (folder, backup),
            closing(_open_snapshot(folder / DATABASE)) as source,
            closing(open_database(settings)) as target,
        ):
            done = _restore(settings, source, target, folder=folder, backup=backup, say=say, replace=replace)
            return dataclasses.replace(done, settings=_restore_settings(folder / SETTINGS, own, directory))
    except OSError as error:
        raise BackupRefused(
            f"{file} cannot be unpacked in {directory} ({error.strerror or error}): make room there; no row was changed"
        ) from error


def _restore(
    settings: Settings, source: Database, target: Database, *, folder: Path, backup: Backup, say: Say, replace: bool
) -> RestoredBackup:
    with target.snapshot() as session:
        require_unused(session, settings.data.directory)
        is_taken = has_rows(session.connection())
    if is_taken and not replace:
        raise BackupRefused(
            "the database already has rows: add --replace, which saves them to another backup first, or set "
            "database.url to an empty database"
        )
    store = open_store(settings)
    saved = settings.data.directory / f"{SAVED_PREFIX}{utc_now():%Y%m%dT%H%M%S%f}.tar.gz" if is_taken else None
    if saved:
        _write(target, store, saved, say)
    with target.snapshot() as now, source.snapshot() as then:
        deletions = deletions_since(now, then, backup.made_at)

    def repeat(session: Session) -> None:
        deletions.repeat(session)
        note_restore(session, backup.made_at)

    with store.registering():
        for digest in backup.adapters:
            say(f"adapter {digest[:12]}")
            _publish(store, folder / ADAPTERS / digest)
        copy_rows(source, target, say, replace=replace, then=repeat)
    return RestoredBackup(backup, saved, deletions.members, deletions.rows)


def _restore_settings(restored: Path, own: Path | None, directory: Path) -> Path | None:
    """Write the backup's settings file in place of a missing one, or else into the data folder; return its path."""
    if own is None or not restored.exists():
        return None
    text = restored.read_bytes()
    if own.exists() and own.read_bytes() == text:
        return None
    target = directory / ASIDE
    if not own.exists() and os.access(own.resolve().parent, os.W_OK) and NAMES_A_PLACE.isdisjoint(_sections(text)):
        target = own
    try:
        target.unlink(missing_ok=True)
        with open_new(target) as stream:
            stream.write(text)
    except OSError as error:
        raise BackupRefused(
            f"all rows are restored, but not the settings: {target} cannot be written ({error.strerror})"
        ) from error
    return target


def _sections(text: bytes) -> Collection[str]:
    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except ValueError:
        return NAMES_A_PLACE  # whatever it was meant to say, nobody should start with it unread


@contextmanager
def _unpacked(file: Path, directory: Path, say: Say) -> Iterator[tuple[Path, Backup]]:
    """Yield a folder with the backup's parts, checked against the manifest."""
    say("checking the backup")
    if not file.is_file():
        raise BackupRefused(f"there is no file {file}: check its name")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".restore-") as name:
        try:
            manifest = unpack_archive(file, Path(name))
            backup = _describe(file, manifest)
        except (KeyError, TypeError, ValueError) as error:
            raise BackupRefused(f"{file} is not a Reactune backup ({error}): use another one") from error
        refuse_unknown(backup.schema, str(file))
        yield Path(name), backup


def _open_snapshot(file: Path) -> Database:
    database = open_address(f"sqlite:///{file}", DatabaseSettings(), "the backup", keep_copy=False)
    _require_sound(file)
    return database


def _publish(store: AdapterStore, adapter: Path) -> None:
    with store.stage() as staging:
        for part in adapter.iterdir():
            shutil.copyfile(part, staging / part.name)
        if (digest := store.publish(staging)) != adapter.name:
            raise BackupRefused(
                f"the backup's adapter {adapter.name[:12]} has the digest {digest[:12]}: use another backup"
            )
