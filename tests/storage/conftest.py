from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database, open_database
from storage.models.base_model import BaseModel, resolve_base_model
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import DatabaseSettings, Settings
from tests.postgres import EmptiedDatabase, PostgresServer, running_postgres
from tests.tiny_model import build_tiny_base

TEMPLATE = "migrated"
NUMBERS = count()
Undone = Callable[[], AbstractContextManager[Session]]


def settings_for(url: str) -> Settings:
    return Settings(database=DatabaseSettings(url=url))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A tiny base of random weights."""
    folder = tmp_path_factory.mktemp("base")
    return resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")


@pytest.fixture(scope="session")
def trained(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the base as a round saves it, with random weights."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("trained") / "adapter"
    model = AutoModelForCausalLM.from_pretrained(base.path)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base.name
    adapted.peft_config["default"].revision = base.revision
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server with a migrated database to copy; it may forget everything in a power cut."""
    with running_postgres() as server:
        server.execute("ALTER SYSTEM SET fsync = off")
        server.execute("SELECT pg_reload_conf()")
        open_database(settings_for(server.create(TEMPLATE))).close()
        yield server


@pytest.fixture(scope="session")
def emptied_database(postgres: PostgresServer) -> Iterator[EmptiedDatabase]:
    """One migrated database for many tests: to create and drop one for each takes longer."""
    database = EmptiedDatabase(open_database(settings_for(postgres.create("emptied", TEMPLATE))))
    yield database
    database.close()


@pytest.fixture
def on_postgres(emptied_database: EmptiedDatabase) -> Iterator[Database]:
    """An open PostgreSQL database without rows; a test that uses it must not change the schema."""
    yield emptied_database.open()
    emptied_database.empty()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Returns addresses of databases without tables, on both kinds of server."""
    if request.param == "sqlite":
        yield lambda: f"sqlite:///{tmp_path / f'empty_{next(NUMBERS)}.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    created: list[str] = []

    def create() -> str:
        created.append(f"empty_{next(NUMBERS)}")
        return server.create(created[-1])

    yield create
    for name in created:
        server.drop(name)


@pytest.fixture
def empty_url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def on_sqlite(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    """An open SQLite database without rows."""
    shutil.copyfile(migrated_file, tmp_path / "reactune.db")
    with closing(open_database(settings_for(f"sqlite:///{tmp_path / 'reactune.db'}"))) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """An open database without rows, on both kinds of server."""
    found: Database = request.getfixturevalue({"sqlite": "on_sqlite", "postgresql": "on_postgres"}[request.param])
    return found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('shared') / 'reactune.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create(f"shared_{next(NUMBERS)}", TEMPLATE)
    with closing(open_database(settings_for(url))) as database:
        yield database


@pytest.fixture
def undone(shared_database: Database) -> Undone:
    """Returns sessions of a shared database whose work is rolled back, so that a property's examples cost no disk."""

    @contextmanager
    def begin() -> Iterator[Session]:
        with shared_database.transaction() as session:
            yield session
            session.rollback()

    return begin


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """One transaction, committed at the end of the test."""
    with database.transaction() as session:
        yield session


@pytest.fixture
def personality_id(database: Database) -> int:
    return database.call(ensure_personality)


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")
