"""The engines and the encoder start together: one thread at a time imports the libraries that both need."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.models.hardware import WAITING
from tests.tiny_model import build_tiny_base

ALL_ENGINES = """
import asyncio, importlib.abc, sys, threading
from storage.models.hardware import MODEL_LIBRARIES

LIBRARIES = {"accelerate", "peft", "sentence_transformers", "torch", "transformers"}
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
    threads = asyncio.to_thread(openvino._load_renderer), asyncio.to_thread(load_tokenizer, base)
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

TOGETHER = """
import sys, threading, time
from pathlib import Path
from bot.engine.openvino.engine import OpenVinoEngine
from storage.models.base_model import resolve_base_model
from storage.models.bundled import BundledEncoder
from storage.settings.loading import load_settings

settings = load_settings()
base = resolve_base_model(settings.model.base, settings.data.directory)
engine = OpenVinoEngine(base, settings.data.directory, settings.model, settings.generation)
encoder = threading.Thread(target=BundledEncoder)
encoder.start()
time.sleep(float(sys.argv[1]))
engine._load_renderer()
encoder.join()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "REACTUNE_DATA__DIRECTORY": str(tmp_path / "data"),
        "REACTUNE_MODEL__BASE": str(build_tiny_base(tmp_path / "tiny")),
        "REACTUNE_MODEL__CONTEXT_TOKENS": "512",
        "REACTUNE_MODEL__DTYPE": "float32",
        "REACTUNE_REMOTE__SERVERS": '["http://127.0.0.1:9"]',
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


@pytest.mark.bench
def test_encoder_and_engine_start_together_twenty_times(environment: dict[str, str]) -> None:
    pauses = [0.05 + 0.1 * start for start in range(20)]
    with ThreadPoolExecutor(2) as pool:
        starts = list(pool.map(lambda pause: run(environment, TOGETHER, str(pause)), pauses))
    failures = [start.stderr for start in starts if start.returncode or start.stderr]
    assert not failures, f"{len(failures)} of {len(starts)} failed, the first with {failures[0]}"
