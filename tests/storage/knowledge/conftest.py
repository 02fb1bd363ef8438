from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer
from tests.storage.conftest import NUMBERS, TEMPLATE


@pytest.fixture
def emptied_url(postgres: PostgresServer) -> Iterator[str]:
    """The address of a PostgreSQL database of its own: these tests add an extension and tables for vectors."""
    name = f"knowledge_{next(NUMBERS)}"
    yield postgres.create(name, TEMPLATE)
    postgres.drop(name)
