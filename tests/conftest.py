from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.util
import os
import shutil
import sys
import tempfile
from importlib.machinery import PathFinder
from importlib.metadata import DistributionFinder
from pathlib import Path
from typing import Any

# Before anything imports torch: several test processes share the cores, and tiny models gain nothing from two threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import psutil
import pytest
from sqlalchemy import event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.util import LRUCache

from storage.database.database import open_database
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.bundled import ENCODER_PACKAGE
from storage.models.openvino.graph_cache import GRAPHS
from storage.settings.sections import DatabaseSettings, Settings

LONGEST = frozenset(
    {
        "test_choose.py",
        "test_decision.py",
        "test_demo_page.py",
        "test_end_to_end.py",
        "test_openvino.py",
        "test_prepare.py",
    }
)

COMPILED: LRUCache[Any, Any] = LRUCache(5_000)
IN_MEMORY, ROOM_BYTES = Path("/dev/shm"), 8 << 30
FOLDER = "reactune-tests"
SEEN: set[str] = set()
"""The modules that were imported when some test began."""

multiprocessing.set_forkserver_preload(["tests.preloaded"])

# A busy machine is not a defect: no profile has a deadline.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=200)
hypothesis.settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory where there is room: most of them would wait for a disk."""
    if "TMPDIR" in os.environ or not IN_MEMORY.is_dir() or shutil.disk_usage(IN_MEMORY).free < ROOM_BYTES:
        return
    for left_by_killed in IN_MEMORY.glob(f"{FOLDER}-*"):
        if not psutil.pid_exists(int(left_by_killed.name.rpartition("-")[2])):
            shutil.rmtree(left_by_killed, ignore_errors=True)
    folder = IN_MEMORY / f"{FOLDER}-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o1777)  # PostgreSQL that root starts is another user
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    # After multiprocessing has removed its own folder in it, which has priority -100.
    multiprocessing.util.Finalize(None, shutil.rmtree, [folder, True], exitpriority=-200)


def pytest_sessionstart() -> None:
    """Collect no garbage while modules are imported: there is little, and looking for it takes a fifth of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Collect less often than by default: almost everything that a test makes is freed without it."""
    gc.set_threshold(5_000, 10, 1_000)
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before those are left out that `-m` does not name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make test-slow` what SQLite shows as well as PostgreSQL, and mark what it repeats with more examples.

    The longest files come first, so that no process works alone at the end.
    """
    for item in items:
        given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        on_postgres = "postgresql" in [given.get(name) for name in ("database", "new_url", "settings")]
        if on_postgres and item.get_closest_marker("both_databases") is None:
            item.add_marker("slow")
        if isinstance(item, pytest.Function) and getattr(item.obj, "is_hypothesis_test", False):
            item.add_marker("examples")
    items.sort(key=lambda item: item.path.name not in LONGEST)


@event.listens_for(Engine, "engine_connect")
def _share_compiled_statements(connection: Connection) -> None:
    """Compile each statement once for all databases of a process, instead of once for each: a third of all work."""
    connection.engine._compiled_cache = COMPILED


def _is_equal(dialect: Dialect, other: object) -> bool:
    return type(dialect) is type(other)


for _dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):  # a dialect is part of the cache's keys
    _dialect.__eq__, _dialect.__hash__ = _is_equal, lambda dialect: hash(type(dialect))  # type: ignore[method-assign, assignment]


@pytest.fixture(autouse=True)
def _imported_is_no_garbage() -> None:
    """Take what is imported out of the collector's sight: it is called after each training, for 0.3 s each time."""
    if len(sys.modules) > len(SEEN):
        SEEN.update(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def _rounds_begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork each round's process from one that has imported TRL: it would import it for five seconds itself."""
    monkeypatch.setattr("trainer.rounds.worker.CONTEXT", multiprocessing.get_context("forkserver"))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with every table and no row, to copy: migrating takes ten times as long."""
    path = tmp_path_factory.mktemp("migrated") / "reactune.db"
    open_database(Settings(database=DatabaseSettings(url=f"sqlite:///{path}"))).close()
    return path


@pytest.fixture(scope="session")
def bundled_base(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> BaseModel:
    """The bundled model, converted once for all tests of all worker processes that need it."""
    own = tmp_path_factory.getbasetemp()
    return resolve_base_model("bundled", (own if worker_id == "master" else own.parent) / "bundled")


@pytest.fixture
def bundled_data(tmp_path: Path, bundled_base: BaseModel) -> Path:
    """A separate data folder with the bundled model already converted, and its graphs, which one of them builds."""
    data, shared = tmp_path / "data", bundled_base.path.parent
    data.mkdir()
    (data / "base").symlink_to(shared)
    (shared.parent / GRAPHS).mkdir(exist_ok=True)
    (data / GRAPHS).symlink_to(shared.parent / GRAPHS)
    return data


class _WithoutEncoder(DistributionFinder):
    """Finds all that is installed, but for the encoder."""

    find_spec = PathFinder.find_spec

    def find_distributions(self, context: DistributionFinder.Context = DistributionFinder.Context()) -> Any:  # noqa: B008
        return [] if context.name == ENCODER_PACKAGE else PathFinder.find_distributions(context)


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the sentence encoder is not installed."""
    finders = [_WithoutEncoder() if finder is PathFinder else finder for finder in sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
