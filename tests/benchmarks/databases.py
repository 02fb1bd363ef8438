"""Empty databases, SQLite and PostgreSQL, for benches that measure both."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import text

from storage.database.database import Database, open_database
from storage.settings.sections import DatabaseSettings, Settings
from tests.postgres import running_postgres

SQLITE, POSTGRES = "SQLite", "PostgreSQL"


class Opened(NamedTuple):
    name: str
    """SQLITE or POSTGRES."""
    url: str
    database: Database
    servers: tuple[int, ...]
    """Processes that are the database, beside those that use it."""


def databases(name: str) -> Iterator[Opened]:
    """Yield a database of each kind, which lasts until the next is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / f'{name}.db'}"
        with closing(open_at(url)) as database:
            yield Opened(SQLITE, url, database, ())
    with running_postgres() as server:
        url = server.create(name)
        with closing(open_at(url)) as database:
            yield Opened(POSTGRES, url, database, (server.pid,))


def open_at(url: str) -> Database:
    return open_database(Settings(database=DatabaseSettings(url=url)))


def analyze(database: Database, table: str) -> None:
    """Do at once what PostgreSQL's autovacuum does within minutes; SQLite needs nothing."""
    if database.engine.dialect.name == "postgresql":
        with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text(f"VACUUM (ANALYZE) {table}"))
