"""PostgreSQL stops and starts again: work is done once, and bots notice what moved in the meantime."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from storage.database.database import Database, Listener, open_database
from storage.database.engine import explain, is_away
from storage.database.tables import PersonalityRow
from storage.personalities.personalities import ensure_personality
from storage.releases.versions import move_alias, read_alias
from storage.settings.sections import DatabaseSettings, Settings
from tests.postgres import PostgresServer
from tests.storage.conftest import NUMBERS, TEMPLATE

PATIENCE_S = 20.0


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    name = f"failover_{next(NUMBERS)}"
    yield postgres.create(name, TEMPLATE)
    postgres.drop(name)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(open_with(url)) as database:
        yield database


def open_with(url: str, **changes: float) -> Database:
    return open_database(Settings(database=DatabaseSettings.model_validate({"url": url} | changes)))


def names(session: Session) -> list[str]:
    return list(session.scalars(select(PersonalityRow.name).order_by(PersonalityRow.id)))


async def test_work_is_done_once_though_the_server_restarts(database: Database, postgres: PostgresServer) -> None:
    tries = []

    def work(session: Session) -> None:
        ensure_personality(session, f"pirate {len(tries)}")
        tries.append(1)
        if len(tries) == 1:
            postgres.restart()
        names(session)

    await database.run(work)
    assert len(tries) == 2
    assert await database.read(names) == ["pirate 1"]


async def test_work_waits_until_the_server_is_back(database: Database, postgres: PostgresServer) -> None:
    postgres.stop()
    starting = threading.Timer(0.5, postgres.start)
    starting.start()
    try:
        await database.run(ensure_personality, "pirate")
    finally:
        starting.join()
    assert await database.read(names) == ["pirate"]


async def test_a_commit_whose_answer_was_lost_is_not_repeated(database: Database, postgres: PostgresServer) -> None:
    tries = []

    def work(session: Session) -> None:
        tries.append(1)
        # What is checked at the commit cuts the connection: the answer never comes.
        session.execute(
            text(
                "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
            )
        )
        session.execute(
            text(
                "CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON personalities DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION cut()"
            )
        )
        session.add(PersonalityRow(name="pirate"))

    with pytest.raises(OperationalError) as lost:
        await database.run(work)
    assert len(tries) == 1
    assert is_away(lost.value)


async def test_two_that_wait_for_each_other_both_get_through(database: Database, postgres: PostgresServer) -> None:
    with database.transaction() as session:
        ids = [ensure_personality(session, name) for name in ("pirate", "keeper")]
    both_hold_one = threading.Barrier(2)

    def change(session: Session, first: int, second: int) -> None:
        session.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
        session.execute(text(f"UPDATE personalities SET name = name || '+' WHERE id = {first}"))
        with suppress(threading.BrokenBarrierError):
            both_hold_one.wait(0.5)
        session.execute(text(f"UPDATE personalities SET name = name || '+' WHERE id = {second}"))

    await asyncio.gather(database.run(change, *ids), database.run(change, *reversed(ids)))
    assert await database.read(names) == ["pirate++", "keeper++"]


async def test_connections_to_a_server_that_only_reads_are_replaced(database: Database) -> None:
    def set_default(session: Session, how: str) -> None:
        session.execute(text("SET TRANSACTION READ WRITE"))
        name = session.scalar(select(func.current_database()))
        session.execute(text(f"ALTER DATABASE {name} {how}"))

    await database.run(set_default, "SET default_transaction_read_only = on")
    database.engine.dispose()
    await database.read(names)  # by a connection that may only read
    await database.run(set_default, "RESET default_transaction_read_only")
    await database.run(ensure_personality, "pirate")
    assert await database.read(names) == ["pirate"]


def test_the_writable_one_of_several_hosts_is_used(url: str) -> None:
    host = url.partition("host=")[2]
    several = url.replace(f"host={host}", f"host=/nowhere,{host}&target_session_attrs=read-write")
    with closing(open_with(several)) as database, database.snapshot() as session:
        assert session.scalar(select(func.current_setting("transaction_read_only"))) == "off"


def test_limits_hold_on_every_connection(url: str) -> None:
    with closing(open_with(url, statement_timeout_s=0.05, pool_size=1)) as database:
        with database.snapshot() as session:
            assert session.scalar(text("SHOW lock_timeout")) == "30s"
            assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "5min"
            assert session.scalar(text("SHOW application_name")) == "reactune"
        with pytest.raises(DBAPIError) as slow, database.snapshot() as session:
            session.execute(text("SELECT pg_sleep(5)"))
    assert explain(slow.value).endswith("raise database.statement_timeout_s, or ask the server what holds its locks")


def test_a_pooler_that_refuses_options_gets_none(url: str) -> None:
    with closing(open_with(url, statement_timeout_s=0)) as database, database.snapshot() as session:
        assert session.scalar(text("SHOW lock_timeout")) == "0"


def test_the_operators_own_options_win(url: str) -> None:
    own = f"{url}&options=-c%20lock_timeout%3D7s&application_name=bot%201"
    with closing(open_with(own)) as database, database.snapshot() as session:
        assert session.scalar(text("SHOW lock_timeout")) == "7s"
        assert session.scalar(text("SHOW application_name")) == "bot 1"


def test_a_pool_that_is_used_up_says_which_setting_to_raise(url: str) -> None:
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with closing(Database(engine)) as database, database.snapshot() as first:
        first.scalar(text("SELECT 1"))
        with pytest.raises(PoolTimeout) as full, database.snapshot() as second:
            second.scalar(text("SELECT 1"))
    assert explain(full.value).endswith("raise database.pool_size")


# Notifications


async def woken(times: list[float], count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(times) < count:  # noqa: ASYNC110 (a count, not an event)
            await asyncio.sleep(0.005)


def promote_nothing(session: Session) -> None:
    """Move the champion from the base to the base: the alias moves without a version."""
    personality_id = ensure_personality(session)
    move_alias(session, personality_id, read_alias(session, personality_id), None, by="grace", reason="")


@pytest.fixture
def times(database: Database) -> Iterator[list[float]]:
    """When the listener was woken; the first time is when it begins to listen."""
    found: list[float] = []
    listener = Listener(database, lambda: found.append(time.perf_counter()))
    listener.start()
    yield found
    listener.stop()


async def test_a_moved_alias_wakes_who_listens_also_after_a_restart(
    database: Database, postgres: PostgresServer, times: list[float]
) -> None:
    await woken(times, 1)
    await database.run(promote_nothing)
    await woken(times, 2)
    await asyncio.to_thread(postgres.restart)
    await woken(times, 3)  # it looks by itself: something may have moved while it was away
    await database.run(promote_nothing)
    await woken(times, 4)
    assert len(times) == 4


async def test_a_rolled_back_transaction_wakes_nobody(database: Database, times: list[float]) -> None:
    def fail(session: Session) -> None:
        promote_nothing(session)
        raise RuntimeError

    await woken(times, 1)
    with pytest.raises(RuntimeError):
        await database.run(fail)
    await database.run(promote_nothing)
    await woken(times, 2)
    assert len(times) == 2
