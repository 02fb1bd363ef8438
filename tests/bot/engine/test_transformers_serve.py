"""The remote engine on `transformers serve`, a server of the kind "openai": it says what the local engine says."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bot.engine import Engine, Finish
from bot.engine.remote.engine import RemoteEngine
from bot.engine.transformers.engine import LocalEngine
from storage.database.database import open_database
from storage.models.base_model import BaseModel
from storage.settings.sections import Settings
from tests.bot.engine.conftest import settings_for
from tests.bot.engine.test_engine import finished, request

pytestmark = pytest.mark.slow

LONGEST_START_S = 120.0


@pytest.fixture(scope="module")
def address(base: BaseModel) -> Iterator[str]:
    port = _free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(base.path)]
    options = ["--port", str(port), "--device", "cpu", "--dtype", "float32", "--log-level", "error"]
    with subprocess.Popen([*command, *options]) as server:
        try:
            _wait_for(server, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.perf_counter() + LONGEST_START_S
    while time.perf_counter() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("transformers serve did not start")


@pytest.fixture
def settings(address: str, base: BaseModel, tmp_path: Path, migrated_file: Path) -> Settings:
    shutil.copyfile(migrated_file, tmp_path / "reactune.db")
    local = {"model__dtype": "float32", "model__threads": 1}
    return settings_for(tmp_path, f"{address}/v1/", kind="openai", model=base.path, **local)


@pytest.fixture
async def engines(base: BaseModel, settings: Settings) -> AsyncIterator[tuple[Engine, Engine]]:
    database = open_database(settings)
    both = RemoteEngine(base, settings, database), LocalEngine(base.path, settings.model, settings.generation)
    for engine in both:
        await engine.start()
    yield both
    for engine in both:
        await engine.close(0.0)
    database.close()


@pytest.mark.parametrize("tokens", [3, 40])
async def test_it_says_what_the_local_engine_says(engines: tuple[Engine, Engine], tokens: int) -> None:
    rendered = await engines[0].render([{"role": "user", "content": "How are you?"}])
    wanted = request(rendered.text, temperature=0.0, tokens=tokens)
    remote, local = [await finished(engine.submit(wanted)) for engine in engines]
    assert remote.text == local.text
    assert remote.finish is local.finish
    assert remote.prompt_tokens == local.prompt_tokens == rendered.tokens
    assert remote.finish is not Finish.LENGTH or remote.answer_tokens == tokens
