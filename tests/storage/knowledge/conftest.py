from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from storage.database.database import Database, open_database
from tests.postgres import PostgresServer
from tests.storage.conftest import NUMBERS, TEMPLATE, settings_for


@pytest.fixture
def on_postgres(postgres: PostgresServer) -> Iterator[Database]:
    """An open PostgreSQL database of its own: these tests add an extension and tables for vectors."""
    name = f"knowledge_{next(NUMBERS)}"
    with closing(open_database(settings_for(postgres.create(name, TEMPLATE)))) as database:
        yield database
    postgres.drop(name)
