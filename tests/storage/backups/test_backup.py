"""Backups: whole, taken from a busy database, and restored into either kind of server."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from storage.adapters.stores import open_store
from storage.backups.archive import write_archive
from storage.backups.backup import BACKUP, make_backup, restore_backup
from storage.database.database import open_database
from storage.database.tables import HeartbeatRow, ReplyRow, VoteEventRow
from storage.errors import BackupRefused, DatabaseError, DataDirectoryInUse
from storage.personalities.personalities import ensure_personality
from storage.privacy.erasure import delete_member
from storage.runtime.processes import BOT, TRAINER, last_heartbeat, record_heartbeat, sole_process, worker_name
from storage.settings.sections import DatabaseSettings, DataSettings, Settings
from storage.votes.votes import Vote, votes_on
from tests.past import add_version
from tests.postgres import PostgresServer
from tests.seeding import BOB, CAROL, add_reply, vote
from tests.storage.adapters.test_folder_store import full_disk, publish
from tests.storage.conftest import NUMBERS, TEMPLATE

pytestmark = pytest.mark.both_databases

Within = Callable[[Settings, Callable[[Session], Any]], Any]


def quietly(_progress: str) -> None:
    """Say nothing."""


@pytest.fixture
def place(tmp_path: Path, migrated_file: Path, postgres: PostgresServer) -> Iterator[Callable[..., Settings]]:
    """Return a function that gives the settings of a new installation, on either kind of server."""
    names = []

    def make(kind: str = "sqlite") -> Settings:
        name = f"place_{next(NUMBERS)}"
        directory = tmp_path / name
        directory.mkdir()
        if kind == "sqlite":
            shutil.copyfile(migrated_file, directory / "reactune.db")
            return Settings(data=DataSettings(directory=directory))
        names.append(name)
        url = postgres.create(name, TEMPLATE)
        return Settings(data=DataSettings(directory=directory), database=DatabaseSettings(url=url))

    yield make
    for name in names:
        postgres.drop(name)


def within(settings: Settings, work: Callable[[Session], Any]) -> Any:
    with closing(open_database(settings)) as database, database.transaction() as session:
        return work(session)


def live_in(settings: Settings) -> str:
    """Let a version be trained, and an answer of it be voted on; return the version's digest."""
    digest = publish(open_store(settings))

    def work(session: Session) -> None:
        ensure_personality(session)
        vote(session, add_reply(session, version_id=add_version(session, digest=digest).id), BOB, Vote.UP)

    within(settings, work)
    return digest


def repack(file: Path, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> None:
    """Change the members of a backup's archive, each a name and its content."""
    with tarfile.open(file) as tar:
        parts = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(file, "w:gz") as tar:
        for name, data in change(parts):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def answers(session: Session) -> int:
    return session.query(ReplyRow).count()


def test_a_backup_is_written_to_a_memory_stick(
    place: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    file = tmp_path / "backup.tar.gz"
    made = make_backup(place(), file, quietly)
    assert made.bytes == file.stat().st_size
    with pytest.raises(FileExistsError):
        write_archive(file, {}, {})
    assert restore_backup(place(), file, quietly).backup.rows == made.rows
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(("before", "after"), [("sqlite", "postgresql"), ("postgresql", "sqlite")])
def test_a_backup_is_restored_into_another_kind_of_server(
    place: Callable[..., Settings], tmp_path: Path, before: str, after: str
) -> None:
    old, new, file = place(before), place(after), tmp_path / "backup.tar.gz"
    digest = live_in(old)
    backup = make_backup(old, file, quietly)
    assert (backup.rows["replies"], list(backup.adapters), backup.missing_adapters) == (1, [digest], [])
    restored = restore_backup(new, file, quietly)
    assert (restored.saved, restored.kept_deletions) == (None, 0)
    assert within(new, lambda session: votes_on(session, 1)) == {BOB: Vote.UP}
    assert open_store(new).path(digest).is_dir()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_settings_come_back_where_none_are_and_never_replace_any(
    place: Callable[..., Settings], tmp_path: Path
) -> None:
    old, file, own = place(), tmp_path / "backup.tar.gz", tmp_path / "reactune.toml"
    own.write_text("chat.cooldown_s = 7\n")
    make_backup(old, file, quietly, own)
    assert restore_backup(place(), file, quietly, own=own).settings is None
    missing = tmp_path / "missing.toml"
    assert restore_backup(place(), file, quietly, own=missing).settings == missing
    assert missing.read_text() == own.read_text()
    own.write_text("chat.cooldown_s = 9\n")
    new = place()
    aside = restore_backup(new, file, quietly, own=own).settings
    assert aside == new.data.directory / "restored-reactune.toml"
    assert (own.read_text(), aside.read_text()) == ("chat.cooldown_s = 9\n", "chat.cooldown_s = 7\n")


def test_settings_that_name_another_database_do_not_take_effect_by_themselves(
    place: Callable[..., Settings], tmp_path: Path
) -> None:
    old, new, file, own = place(), place(), tmp_path / "backup.tar.gz", tmp_path / "reactune.toml"
    own.write_text("database.url = 'postgresql://old/one'\n")
    make_backup(old, file, quietly, own)
    own.unlink()
    assert restore_backup(new, file, quietly, own=own).settings == new.data.directory / "restored-reactune.toml"
    assert not own.exists()


def test_only_its_owner_may_read_a_backup_and_it_names_no_secret(
    place: Callable[..., Settings], tmp_path: Path
) -> None:
    settings, file = place(), tmp_path / "backup.tar.gz"
    live_in(settings)
    make_backup(settings, file, quietly)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        listed = json.load(tar.extractfile("manifest.json"))
    assert str(tmp_path) not in json.dumps(listed)
    assert listed["versions"][0]["base_name"] == "tiny"


def test_the_moment_of_the_last_backup_is_kept(place: Callable[..., Settings], tmp_path: Path) -> None:
    settings = place()
    backup = make_backup(settings, tmp_path / "backup.tar.gz", quietly)
    worker = worker_name(settings.data.directory)
    assert within(settings, lambda session: last_heartbeat(session, BACKUP, worker)) >= backup.made_at
    assert backup.rows[HeartbeatRow.__tablename__] == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_of_a_busy_database_holds_every_vote_from_before_it_began(
    place: Callable[..., Settings], tmp_path: Path, kind: str
) -> None:
    settings, file, new = place(kind), tmp_path / "backup.tar.gz", place()
    acknowledged: list[int] = []
    stop, first = threading.Event(), threading.Event()

    def write_all_along() -> None:
        with closing(open_database(settings)) as database:
            while not stop.is_set():
                with database.transaction() as session:
                    reply_id = add_reply(session)
                    vote(session, reply_id, BOB, Vote.UP)
                acknowledged.append(reply_id)
                first.set()

    writer = threading.Thread(target=write_all_along)
    writer.start()
    assert first.wait(10)
    before = set(acknowledged)
    try:
        make_backup(settings, file, quietly)
    finally:
        stop.set()
        writer.join()
    restore_backup(new, file, quietly)
    kept = within(new, lambda session: set(session.scalars(select(VoteEventRow.reply_id))))
    assert before <= kept <= set(acknowledged)
    assert within(new, lambda session: session.execute(text("PRAGMA foreign_key_check")).all()) == []


def test_a_name_that_is_taken_is_refused(place: Callable[..., Settings], tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"
    file.write_text("dear diary")
    with pytest.raises(BackupRefused, match="exists already"):
        make_backup(place(), file, quietly)
    assert file.read_text() == "dear diary"
    with pytest.raises(BackupRefused, match="No such file or directory"):
        make_backup(place(), tmp_path / "nowhere" / "backup.tar.gz", quietly)


def test_an_adapter_that_is_gone_is_named(place: Callable[..., Settings], tmp_path: Path) -> None:
    settings, file, new = place(), tmp_path / "backup.tar.gz", place()
    digest = live_in(settings)
    shutil.rmtree(open_store(settings).path(digest))
    backup = make_backup(settings, file, quietly)
    assert (list(backup.adapters), backup.missing_adapters) == ([], [digest])
    assert restore_backup(new, file, quietly).backup.missing_adapters == [digest]


class TestRestoring:
    @pytest.fixture
    def settings(self, place: Callable[..., Settings]) -> Settings:
        return place()

    @pytest.fixture
    def file(self, settings: Settings, tmp_path: Path) -> Path:
        live_in(settings)
        make_backup(settings, tmp_path / "backup.tar.gz", quietly)
        return tmp_path / "backup.tar.gz"

    def test_rows_that_are_there_are_not_touched_unasked(self, settings: Settings, file: Path) -> None:
        within(settings, add_reply)
        with pytest.raises(BackupRefused, match="already has rows: add --replace"):
            restore_backup(settings, file, quietly)
        assert within(settings, answers) == 2

    def test_rows_that_make_way_are_saved(self, settings: Settings, file: Path, place: Callable[..., Settings]) -> None:
        within(settings, add_reply)
        restored = restore_backup(settings, file, quietly, replace=True)
        assert within(settings, answers) == 1
        assert restored.saved.parent == settings.data.directory
        other = place()
        restore_backup(other, restored.saved, quietly)
        assert within(other, answers) == 2

    def test_withdrawals_since_the_backup_are_kept(self, settings: Settings, file: Path) -> None:
        within(settings, lambda session: delete_member(session, BOB))
        within(settings, lambda session: vote(session, 1, CAROL, Vote.DOWN))
        assert restore_backup(settings, file, quietly, replace=True).kept_deletions == 1
        assert within(settings, lambda session: votes_on(session, 1)) == {}

    def test_a_restore_is_refused_while_a_bot_runs(self, settings: Settings, file: Path) -> None:
        with sole_process(BOT, settings.data.directory), pytest.raises(DataDirectoryInUse):
            restore_backup(settings, file, quietly, replace=True)

    @pytest.mark.parametrize("process", ["bot 1/2", TRAINER])
    def test_a_restore_is_refused_while_the_database_is_used_elsewhere(
        self, settings: Settings, file: Path, process: str
    ) -> None:
        within(settings, add_reply)
        within(settings, lambda session: record_heartbeat(session, process, "gpu1:/data#01ab"))
        with pytest.raises(DataDirectoryInUse, match=f"another {process} is using gpu1:/data: stop it first, or wait"):
            restore_backup(settings, file, quietly, replace=True)
        assert within(settings, answers) == 2

    def test_a_restore_need_not_wait_after_this_folders_processes_stopped(self, settings: Settings, file: Path) -> None:
        own = worker_name(settings.data.directory)
        within(settings, lambda session: [record_heartbeat(session, process, own) for process in (BOT, TRAINER)])
        restore_backup(settings, file, quietly, replace=True)

    def test_a_backup_that_is_cut_off_changes_nothing(
        self, settings: Settings, file: Path, place: Callable[..., Settings]
    ) -> None:
        new = place()
        whole = file.read_bytes()
        for size in (0, 10, len(whole) // 2, len(whole) * 3 // 4):
            file.write_bytes(whole[:size])
            with pytest.raises(BackupRefused):
                restore_backup(new, file, quietly)
        assert within(new, answers) == 0
        assert list(new.data.directory.glob("adapters/*")) == []

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda name, data: [(name, b"x" + data[1:])], "differs from what was written"),
            (lambda name, data: [(f"{name}.bak", data)], "which its list of files does not name"),
            (lambda _name, _data: [], "which its list of files names"),
        ],
    )
    def test_a_backup_that_was_altered_is_refused(
        self, file: Path, place: Callable[..., Settings], change: Any, sentence: str
    ) -> None:
        repack(file, lambda parts: [parts[0], *change(*parts[1]), *parts[2:]])
        new = place()
        with pytest.raises(BackupRefused, match=sentence):
            restore_backup(new, file, quietly)
        assert within(new, answers) == 0

    def test_a_file_that_is_not_a_backup_is_refused(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "photo.tar.gz").write_bytes(b"no archive")
        with pytest.raises(BackupRefused, match=r"photo\.tar\.gz is damaged or not a backup"):
            restore_backup(settings, tmp_path / "photo.tar.gz", quietly)
        with pytest.raises(BackupRefused, match="there is no file"):
            restore_backup(settings, tmp_path / "nowhere.tar.gz", quietly)

    @pytest.mark.parametrize(
        ("schema", "outcome"),
        [
            ("9999", "was written by a newer Reactune (schema 9999): upgrade this program"),
            ("20", "`reactune restore` and `reactune backup` for a backup"),
        ],
    )
    def test_a_backup_of_a_newer_or_much_older_program_is_refused(
        self, file: Path, place: Callable[..., Settings], schema: str, outcome: str
    ) -> None:
        def change(parts: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
            (name, manifest), *others = parts
            return [(name, json.dumps(json.loads(manifest) | {"schema": schema}).encode()), *others]

        repack(file, change)
        with pytest.raises(DatabaseError) as refused:
            restore_backup(place(), file, quietly)
        assert outcome in str(refused.value)

    def test_a_full_disk_does_not_call_the_backup_damaged(self, file: Path, place: Callable[..., Settings]) -> None:
        new = place()
        with full_disk(), pytest.raises(BackupRefused, match=r"cannot be unpacked in .*: make room there; no row was"):
            restore_backup(new, file, quietly)
        assert list(new.data.directory.glob(".*")) == []
        restore_backup(new, file, quietly)
        assert within(new, answers) == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_answer_after_a_restore_has_no_id_that_another_one_had(
    place: Callable[..., Settings], tmp_path: Path, kind: str
) -> None:
    """The buttons of answers that the backup lacks are still on Discord, and name their IDs."""
    settings, file = place(kind), tmp_path / "backup.tar.gz"
    live_in(settings)
    make_backup(settings, file, quietly)
    lost = within(settings, add_reply)
    restore_backup(settings, file, quietly, replace=True)
    assert within(settings, add_reply) > lost


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_onto_a_full_disk_is_refused_and_leaves_nothing(
    place: Callable[..., Settings], tmp_path: Path, kind: str
) -> None:
    settings = place(kind)
    live_in(settings)
    (tmp_path / "elsewhere").mkdir()
    with full_disk(), pytest.raises((BackupRefused, DatabaseError), match=r"cannot be written|check the disk"):
        make_backup(settings, tmp_path / "elsewhere" / "backup.tar.gz", quietly)
    assert list((tmp_path / "elsewhere").iterdir()) == []
