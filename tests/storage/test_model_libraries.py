"""The engines start together: one thread at a time imports the libraries that they need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.models.hardware import WAITING
from tests.tiny_model import build_tiny_base

pytestmark = pytest.mark.slow  # each imports what an engine imports, anew

ALL_ENGINES = """
import asyncio, importlib.abc, sys, threading
from storage.models.hardware import MODEL_LIBRARIES

LIBRARIES = {"accelerate", "peft", "torch", "transformers"}
outside = set()

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in LIBRARIES and not MODEL_LIBRARIES._is_owned():
            outside.add(f"{threading.current_thread().name}: {name}")

sys.meta_path.insert(0, Watch())

from bot.engine.transformers.engine import LocalEngine
from bot.engine.openvino.engine import OpenVinoEngine
from bot.engine.remote.engine import RemoteEngine
from bot.knowledge.library import Library
from storage.models.base_model import load_tokenizer, resolve_base_model
from storage.database.database import open_database
from storage.settings.loading import load_settings
from tests.bot.engine.test_engine import answer, request

async def main():
    settings = load_settings()
    base = resolve_base_model(settings.model.base, settings.data.directory)
    database = open_database(settings)
    library = Library(database, settings.knowledge)
    openvino = OpenVinoEngine(base, settings.data.directory, settings.model, settings.generation)
    local = LocalEngine(base.path, settings.model, settings.generation)
    remote = RemoteEngine(base, settings, database)
    threads = asyncio.to_thread(openvino._load_renderer), asyncio.to_thread(load_tokenizer, base.path)
    vectors, openvino._renderer, *_ = await asyncio.gather(
        library.embed(["a cat"]), *threads, local.start(), remote.start()
    )
    assert vectors is not None, library.problem
    for engine in (openvino, local, remote):
        prompt = await engine.render([{"role": "user", "content": "How are you?"}])
    assert await answer(local, request(prompt.text))
    await local.close(0.0)
    await remote.close(0.0)
    library.close()
    database.close()

asyncio.run(main())
print(*sorted(outside), sep="\\n", end="")
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "REACTUNE_DATA__DIRECTORY": str(tmp_path / "data"),
        "REACTUNE_MODEL__BASE": str(build_tiny_base(tmp_path / "tiny")),
        "REACTUNE_MODEL__CONTEXT_TOKENS": "512",
        "REACTUNE_MODEL__DTYPE": "float32",
        "REACTUNE_REMOTE__URL": "http://127.0.0.1:9",
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in a new process, because imports cannot be undone."""
    return subprocess.run(
        [sys.executable, "-c", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_only_the_thread_that_holds_the_lock_imports(environment: dict[str, str]) -> None:
    """Whatever the moment at which one comes to import: a race would show in some of many starts alone."""
    found = run(environment, ALL_ENGINES)
    assert (found.returncode, found.stdout) == (0, ""), found.stderr


PROCESS = """
import importlib, sys
importlib.import_module(sys.argv[1])
assert "torch" not in sys.modules
import torch
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's OpenMP is asked how its threads wait")
@pytest.mark.parametrize("process", ["bot.runner", "trainer.rounds.worker"])
def test_openmp_is_set_to_sleep_before_it_is_loaded(process: str) -> None:
    undecided = {name: value for name, value in os.environ.items() if name not in WAITING}
    found = run(undecided | {"OMP_DISPLAY_ENV": "TRUE"}, PROCESS, process)
    assert found.returncode == 0, found.stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in found.stderr
