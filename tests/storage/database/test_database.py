"""The database: opened and migrated by one of many, refused with a sentence that says what to do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.database import Database, open_database
from storage.database.tables import Base, PersonalityRow
from storage.errors import DatabaseError, SettingsError
from storage.members import DIRECT, Memberships
from storage.personalities.personalities import ensure_personality, find_personality
from storage.training.rounds import shown_rounds
from tests.postgres import PostgresServer
from tests.storage.conftest import TEMPLATE, settings_for
from tests.storage.together import race

pytestmark = pytest.mark.both_databases

NOBODY = 65534
RACES = 3
"""A race shows itself only sometimes."""
OPENER = """
import sys
from storage.database.database import open_database
from storage.settings.sections import DatabaseSettings, Settings
for url in sys.argv[1:]:
    print("ready", flush=True)
    sys.stdin.readline()
    open_database(Settings(database=DatabaseSettings(url=url))).close()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A migrated SQLite file that nobody has open."""
    path = tmp_path / "reactune.db"
    open_database(settings_for(f"sqlite:///{path}")).close()
    return path


def refusal(url: str | Path) -> str:
    """Return the one sentence with which the database is refused."""
    with pytest.raises((DatabaseError, SettingsError)) as refused:
        open_database(settings_for(f"sqlite:///{url}" if isinstance(url, Path) else url))
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


# Opening


def test_the_folder_is_made(tmp_path: Path) -> None:
    open_database(settings_for(f"sqlite:///{tmp_path / 'a' / 'b' / 'reactune.db'}")).close()
    assert (tmp_path / "a" / "b" / "reactune.db").is_file()


def is_modelled(_object: object, name: str | None, *_more: object) -> bool:
    """What words are searched by has no model: SQLite's chunk_words and its parts, PostgreSQL's column and index."""
    return not (name or "").startswith("chunk_words") and name not in ("words", "ix_chunks_words")


def test_a_new_database_has_the_schema_of_the_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_modelled})
        assert compare_metadata(context, Base.metadata) == []


def test_a_file_made_after_a_postgresql_database_has_all_foreign_keys(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.create("before_a_file")
    open_database(settings_for(url)).close()
    postgres.drop("before_a_file")
    with closing(open_database(settings_for(f"sqlite:///{tmp_path / 'reactune.db'}"))) as database:
        keys = inspect(database.engine).get_foreign_keys("rounds")
    assert "parent_version_id" in {column for key in keys for column in key["constrained_columns"]}


def test_a_second_opening_changes_nothing(file: Path) -> None:
    before = file.read_bytes()
    open_database(settings_for(f"sqlite:///{file}")).close()
    assert file.read_bytes() == before


def test_processes_that_open_a_new_database_together_all_succeed(postgres: PostgresServer, tmp_path: Path) -> None:
    names = [f"race_{number}" for number in range(RACES)]
    urls = [url for name in names for url in (f"sqlite:///{tmp_path / name}.db", postgres.create(name))]
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, *urls],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for _ in urls:
        for opener in openers:
            opener.stdout.readline()
        for opener in openers:
            opener.stdin.write("\n")
            opener.stdin.flush()
    assert [opener.communicate()[1] for opener in openers] == ["", ""]
    for name in names:
        postgres.drop(name)


# Transactions


async def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    def work(session: Session) -> None:
        ensure_personality(session, "pirate")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        await database.run(work)
    assert database.fetch(find_personality, "pirate") is None


def test_a_snapshot_neither_waits_for_a_writer_nor_sees_its_work(database: Database) -> None:
    with database.transaction() as writer:
        ensure_personality(writer, "pirate")
        with database.snapshot() as reader:
            assert find_personality(reader, "pirate") is None
    assert database.fetch(find_personality, "pirate") is not None


def test_a_snapshot_reads_one_state(database: Database) -> None:
    with database.snapshot() as reader:
        assert find_personality(reader, "pirate") is None
        with database.transaction() as writer:
            ensure_personality(writer, "pirate")
        assert find_personality(reader, "pirate") is None


def test_two_processes_that_start_together_create_one_personality(database: Database) -> None:
    create = partial(ensure_personality, name="pirate")
    second = race(database, create, create)  # it looks, finds nothing, and waits before it creates its own
    with database.snapshot() as session:
        assert session.scalars(select(PersonalityRow.id)).all() == [second]


async def test_work_runs_off_the_event_loop(database: Database) -> None:
    here = threading.get_ident()
    assert await database.run(lambda _session: threading.get_ident()) != here
    assert await database.read(lambda session: session.scalar(text("SELECT 1"))) == 1


# Faults


def test_unreachable_postgres() -> None:
    sentence = refusal("postgresql+psycopg://reactune:hunter2@127.0.0.1:1/reactune")
    assert sentence.startswith("the database postgresql+psycopg://reactune:***@127.0.0.1:1/reactune cannot be used")
    assert sentence.endswith(": check its address, and that the server is running")


def test_missing_postgres_database(postgres: PostgresServer) -> None:
    assert 'database "nowhere" does not exist' in refusal(postgres.address_of("nowhere"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://reactune:hunter2@127.0.0.1:1/reactune",
        "postgresql+psycopg://127.0.0.1:1/reactune?user=reactune&password=hunter2",
        "postgresql+psycopg://reactune:hunter2@host:port/reactune",
        "postgres://reactune:hunter2@host/reactune",
        "postgresql+nodriver://reactune:hunter2@host/reactune",
    ],
)
def test_the_password_is_in_no_sentence_and_no_cause(url: str) -> None:
    with pytest.raises((DatabaseError, SettingsError)) as refused:
        open_database(settings_for(url))
    error: BaseException | None = refused.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("url", ["nonsense", "postgresql+psycopg://user@host:port/name"])
def test_an_address_that_is_none(url: str) -> None:
    assert refusal(url) == (
        "database.url is not a database address: "
        "write sqlite:///folder/file.db or postgresql+psycopg://user:password@host/name"
    )


@pytest.mark.parametrize("url", ["postgres://host/name", "mysql://host/name"])
def test_another_kind_of_database(url: str) -> None:
    assert refusal(url).startswith(
        f"database.url starts with {url.partition(':')[0]}, which Reactune does not support: "
    )


@pytest.mark.parametrize("url", ["postgresql+pg8000://host/name", "postgresql+nodriver://host/name"])
def test_missing_driver(url: str) -> None:
    sentence = refusal(url)
    assert sentence.startswith("database.url needs a driver that is not installed")
    assert "pip install 'reactune[postgres]'" in sentence


def test_an_asynchronous_driver() -> None:
    assert refusal("postgresql+psycopg_async://host/name").startswith(
        "database.url names an asynchronous driver, postgresql+psycopg_async: write sqlite:///"
    )


def test_an_unknown_option_in_the_address() -> None:
    assert refusal("postgresql+psycopg://127.0.0.1:1/name?speed=high").endswith(
        'rejected a statement (invalid connection option "speed"): correct the options after the ? in its address'
    )


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory(url: str) -> None:
    assert refusal(url) == "database.url names no file: write sqlite:///folder/file.db"


def test_a_file_locked_by_another_program(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        sentence = refusal(url := f"sqlite:///{file}?timeout=0.2")
    assert sentence == f"the database {url} is locked by another program: close that program"


def test_a_timeout_that_is_no_number(file: Path) -> None:
    assert refusal(f"sqlite:///{file}?timeout=long") == (
        "database.url has a timeout that is not a number: write ?timeout=60, in seconds"
    )


def test_a_new_file_locked_by_another_program(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "is locked by another program" in refusal(f"sqlite:///{tmp_path / 'new.db'}?timeout=0.2")


def test_a_lock_that_is_released_in_time_does_not_stop_the_start(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, other.rollback)
        release.start()
        database = open_database(settings_for(f"sqlite:///{file}?timeout=300"))
        release.join()
        with database.transaction() as session:
            assert session.scalar(text("SELECT count(*) FROM replies")) == 0
        database.close()


def test_a_newer_schema(empty_url: str) -> None:
    with closing(open_database(settings_for(empty_url))) as database, database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert refusal(empty_url) == (
        "the database was written by a newer Reactune (schema 9999): "
        "upgrade this program, or restore a backup made before the upgrade"
    )


@pytest.mark.parametrize(
    ("schema", "advice"),
    [
        (
            "20",
            ", and this program begins with 21: bring it there with the last program that can (`git checkout "
            "ec2e8892`, then `reactune db migrate`, or `reactune restore` and `reactune backup` for a backup), then "
            "use this one again",
        ),
        ("0012", ", which no program can upgrade: start with a new database"),
    ],
)
def test_a_schema_from_before_the_first(empty_url: str, schema: str, advice: str) -> None:
    with closing(open_database(settings_for(empty_url))) as database, database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :schema"), {"schema": schema})
    assert refusal(empty_url) == f"the database has schema {schema}{advice}"


def test_a_file_that_is_not_a_database_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "reactune.db"
    path.write_text("Dear diary, today I opened a file that is no database.\n" * 100)
    assert refusal(path) == (
        f"the database sqlite:///{path} is damaged (file is not a database): move its file away, then restore a backup"
    )


def test_a_damaged_file_whose_text_is_no_text_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "reactune.db"
    open_database(settings_for(f"sqlite:///{path}")).close()
    path.write_bytes(path.read_bytes().replace(b"FOREIGN KEY", b"\xa9OREIGN KEY", 1))
    assert refusal(path) == (
        f"the database sqlite:///{path} is damaged (invalid text): move its file away, then restore a backup"
    )


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"the database sqlite:///{tmp_path} cannot be opened: it must be a file that this user can read and write"
    )


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "reactune.db").startswith(
        f"the database's folder {tmp_path / 'file'} cannot be created"
    )


@contextmanager
def rights_of_nobody() -> Iterator[None]:
    """Act as a user who does not own the files if the tests run as root, which may write anything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user may read, with a migrated file; pytest's own folders are closed to other users."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        open_database(settings_for(f"sqlite:///{folder / 'reactune.db'}")).close()
        folder.chmod(0o555)
        (folder / "reactune.db").chmod(0o444)
        yield folder
        folder.chmod(0o755)


def test_a_read_only_folder(reachable: Path) -> None:
    path = reachable / "reactune.db"
    with rights_of_nobody():
        assert refusal(path) == (
            f"the database sqlite:///{path} is read-only: make its file and folder writable for this user"
        )


def test_a_read_only_file(reachable: Path) -> None:
    reachable.chmod(0o777)
    with rights_of_nobody():
        assert "is read-only: make its file and folder writable" in refusal(reachable / "reactune.db")


def test_a_read_only_address(file: Path) -> None:
    assert "is read-only: make its file" in refusal(f"sqlite:///file:{file}?mode=ro&uri=true")
    assert not Path("file:").exists()


def test_a_read_only_server(postgres: PostgresServer) -> None:
    url = postgres.create("read_only", TEMPLATE)
    postgres.execute("ALTER DATABASE read_only SET default_transaction_read_only = on")
    assert refusal(url).endswith("is read-only: use the primary server and a writer")


def test_a_new_file_in_a_read_only_folder(reachable: Path) -> None:
    with rights_of_nobody():
        assert "cannot be opened: it must be a file that this user can read and write" in refusal(reachable / "new.db")
        assert "Permission denied" in refusal(reachable / "folder" / "new.db")


# Errors and arguments


def test_errors_do_not_hold_what_members_wrote(database: Database) -> None:
    with pytest.raises(IntegrityError) as broken, database.transaction() as session:
        session.execute(insert(PersonalityRow), [{"name": "a private joke"}] * 2)
    assert "a private joke" not in str(broken.value).replace(str(broken.value.orig), "")


async def test_work_gets_the_arguments_it_is_called_with(database: Database) -> None:
    assert await database.run(ensure_personality, "pirate") == await database.read(find_personality, name="pirate")
    assert await database.read(lambda session: find_personality(session, "nobody")) is None


@pytest.mark.parametrize(
    "ask",
    [lambda session: Memberships(session, [(DIRECT, 5)]).since(DIRECT, 5, utc_now()), shown_rounds],
    ids=["since when a voter is known", "whose progress is shown"],
)
def test_questions_that_come_every_few_seconds_scan_no_table(file: Path, ask: Callable[[Session], object]) -> None:
    with closing(open_database(settings_for(f"sqlite:///{file}"))) as database, database.transaction() as session:
        asked: list[tuple[str, Any]] = []
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        ask(session)
        for statement, values in list(asked):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            scans = [step.detail for step in plan if step.detail.startswith(("SCAN replies", "SCAN rounds"))]
            assert not scans, statement
    assert asked
