"""What OpenVINO's engine adds: it is checked before use, its processes may die, and it makes way for transformers."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from filelock import FileLock

from bot.engine import EngineState, Finish, GenerationFailed, GenerationRequest
from bot.engine.openvino.engine import OpenVinoEngine
from bot.engine.selection import start_engine
from bot.errors import EngineStopped
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.free_memory import FreeMemory
from storage.models.openvino import comparison
from storage.models.openvino.graph import build_graph
from storage.models.openvino.graph_cache import GraphCache, GraphNotWritten, graph_folder, graph_name
from storage.models.openvino.recipes import GraphVerdict, write_verdict
from storage.models.openvino.support import UnloadableModel, UnsupportedModel
from storage.models.openvino.verifier import LOCK_FILE, Verifier
from storage.models.openvino.weights import LowRank, Weights
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from tests.bot.engine.conftest import Clock
from tests.bot.engine.test_engine import ENDLESS, answer, finished, request
from tests.tiny_model import build_tiny_base, save_adapter
from tests.verdicts import trust_graphs

of_one_engine = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvino")


@pytest.fixture(scope="module")
def settings(folder: Path, base: BaseModel) -> Settings:
    settings = load_settings(
        environment={
            "REACTUNE_DATA__DIRECTORY": str(folder),
            "REACTUNE_MODEL__CONTEXT_TOKENS": "512",
            "REACTUNE_MODEL__DTYPE": "float32",
            "REACTUNE_MODEL__THREADS": "1",
        }
    )
    trust_graphs(base, folder, settings.model)
    return settings


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(settings: Settings, base: BaseModel) -> AsyncIterator[OpenVinoEngine]:
    """An engine that tests share, because each version takes a second to load."""
    engine = OpenVinoEngine(base, settings.data.directory, settings.model, settings.generation)
    await engine.start()
    yield engine
    await engine.close(0.0)


def children() -> set[int]:
    """Return the processes that any thread of this one has started."""
    return {int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


def worker_of(engine: OpenVinoEngine) -> int:
    """Return the process that answers as the base."""
    process = engine._versions[None]._process
    assert process is not None
    return process.pid


@of_one_engine
@pytest.mark.skipif(sys.platform != "linux", reason="stops the process")
async def test_a_version_that_dies_fails_its_answers_and_comes_back(
    engine: OpenVinoEngine, caplog: pytest.LogCaptureFixture
) -> None:
    whole = await answer(engine, request(temperature=0.0))
    worker = worker_of(engine)
    os.kill(worker, signal.SIGSTOP)  # a tiny model is through before it could be killed
    running = engine.submit(request(temperature=0.0, tokens=ENDLESS))
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(GenerationFailed, match="the model's process ended"):
        await finished(running)
    assert "A version cannot answer: the model's process ended" in caplog.text
    assert await answer(engine, request(temperature=0.0)) == whole


@of_one_engine
@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
async def test_a_prepared_version_waits_in_memory_and_the_bot_logs_its_lines_as_they_are(
    engine: OpenVinoEngine, adapters: list[AdapterRef], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    adapter, loaded = adapters[0], engine.state().resident_versions
    engine.prepare(adapter)
    async with asyncio.timeout(60):
        while engine.state().resident_versions == loaded:  # noqa: ASYNC110  # the engine has no event for it
            await asyncio.sleep(0.01)
    before = children()
    await answer(engine, request(tokens=1, adapter=adapter))
    assert children() == before, "no process was started for the answer"
    building = f"Building the OpenVINO graph of {graph_name(adapter)} on tiny, once: seconds for a small model."
    assert building in caplog.messages


async def test_versions_beyond_the_limit_wait_for_room_and_come_back_as_they_were(
    settings: Settings, base: BaseModel, adapters: list[AdapterRef]
) -> None:
    small = settings.model.model_copy(update={"resident_adapters": 1})
    engine = OpenVinoEngine(base, settings.data.directory, small, settings.generation)
    await engine.start()
    choices = [adapters[0], None, adapters[0]]
    lanes = [replace(request(tokens=20, adapter=adapter), lane=lane) for lane, adapter in enumerate(choices)]
    loaded = set()

    async def watched(wanted: GenerationRequest) -> str:
        generation = engine.submit(wanted)
        async for _ in generation:
            loaded.add(engine.state().resident_versions)
        return generation.completion.text

    answers = [asyncio.create_task(watched(wanted)) for wanted in lanes]
    while not all(one.done() for one in answers):
        loaded.add(engine.state().resident_versions)
        await asyncio.sleep(0.001)  # not 0, which would keep a core busy that the versions' processes need
    first, second, third = (one.result() for one in answers)
    assert second
    assert first == third != second
    assert loaded == {0, 1}
    await engine.close(0.0)


WITHOUT_TORCH = """
import asyncio, sys
import bot.app
from bot.engine.selection import start_engine
from storage.models.base_model import resolve_base_model
from storage.settings.loading import load_settings
from tests.bot.engine.test_engine import answer, request

async def main():
    settings = load_settings()
    base = resolve_base_model(settings.model.base, settings.data.directory)
    engine = await start_engine(settings, base, None)
    prompt = await engine.render([{"role": "user", "content": "How are you?"}])
    assert await answer(engine, request(prompt.text))
    await engine.close(0.0)

asyncio.run(main())
print("torch" in sys.modules)
"""


@pytest.mark.slow
async def test_the_bots_process_answers_without_torch(settings: Settings, base: BaseModel, folder: Path) -> None:
    environment = os.environ | {
        "REACTUNE_DATA__DIRECTORY": str(folder),
        "REACTUNE_MODEL__BASE": str(base.path),
        "REACTUNE_MODEL__DTYPE": "float32",
    }
    command = [sys.executable, "-c", WITHOUT_TORCH]
    found = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
    assert (found.stdout.strip(), found.returncode) == ("False", 0), found.stderr


def test_the_process_of_a_version_loads_neither_a_database_nor_torch() -> None:
    loaded = "import sys, bot.engine.openvino.worker; print({'sqlalchemy', 'discord', 'torch'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.slow
def test_a_process_compares_graphs_with_transformers(settings: Settings, base: BaseModel, tmp_path: Path) -> None:
    Verifier(base, tmp_path, settings.model).require()
    (file,) = tmp_path.glob("engine/*/verified-float32.json")
    found = json.loads(file.read_text())
    (exact,) = found["measured"]
    assert 0 <= max(exact["base"], exact["adapter"]) <= comparison.MAX_FAULT
    assert min(exact["speed"].values()) > 0
    assert found["recipe"] == "W8A16"
    assert found["why"] == "a base of this size is fast, and rounding more would change what it says"
    assert found["refused"] == ""


def test_a_graph_that_says_something_else_is_refused(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More ways to be wrong, on trained weights: tests/storage/models/test_real_base.py."""
    right = Weights.change

    def wrong_sign(self: Weights, layer: str) -> LowRank | None:
        found = right(self, layer)
        return found and replace(found, up=-found.up)

    monkeypatch.setattr(Weights, "change", wrong_sign)
    with pytest.raises(UnsupportedModel, match="differ from transformers'"):
        comparison.compare_graphs(base.path, "float32", tmp_path)


@of_one_engine
@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
async def test_a_process_that_hangs_is_ended_and_the_next_request_answered(
    engine: OpenVinoEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)  # of this module's event loop
    await answer(engine, request(tokens=2))
    worker = worker_of(engine)
    os.kill(worker, signal.SIGSTOP)
    hanging = engine.submit(request(tokens=200))
    clock.advance(settings.generation.timeout_s + 1.0)
    completion = await finished(hanging)
    assert (completion.finish, completion.text) == (Finish.TIMEOUT, "")
    assert await answer(engine, request(tokens=2))
    assert worker not in children()


@of_one_engine
async def test_the_reason_why_a_process_died_is_reported(engine: OpenVinoEngine) -> None:
    """Its own error, not what Python says when a thread still reads."""
    impossible = request(tokens=2)
    impossible = replace(impossible, sampling=replace(impossible.sampling, top_p="none"))  # type: ignore[arg-type]
    with pytest.raises(GenerationFailed, match="TypeError"):
        await answer(engine, impossible)
    assert await answer(engine, request(tokens=2))


def test_the_first_start_says_what_takes_long(
    settings: Settings, base: BaseModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    verifier = a_verifier(settings, base, tmp_path, lambda file: write_verdict(file, GraphVerdict()))
    for _ in range(2):
        GraphCache(base, verifier.require().folder, 8).prepare(None)
    assert [record.message for record in caplog.records] == [
        "Comparing OpenVINO with transformers on tiny, once for each base model and number format: about half a "
        "minute for the bundled one on two cores.",
        "OpenVINO answers with 8-bit weights.",
        "Building the OpenVINO graph of base on tiny, once: seconds for a small model.",
    ]


async def test_a_comparison_that_cannot_import_a_library_names_it_and_not_the_model(
    settings: Settings, base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "peft.py").write_text("raise ImportError(\"cannot import name 'x' from 'accelerate'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    engine = OpenVinoEngine(base, tmp_path, settings.model, settings.generation)
    with pytest.raises(EngineStopped, match=r"^accelerate cannot be imported") as stopped:
        await engine.start()
    assert "base model" not in str(stopped.value)
    await engine.close(0.0)


def a_verifier(settings: Settings, base: BaseModel, folder: Path, compare: Callable[[Path], None]) -> Verifier:
    verifier = Verifier(base, folder, settings.model)
    verifier._compare = compare  # type: ignore[method-assign]
    return verifier


def test_a_base_that_transformers_cannot_load_either_is_told_apart(
    settings: Settings, base: BaseModel, tmp_path: Path
) -> None:
    verifier = Verifier(base, tmp_path, settings.model)
    last_words = "Traceback:\nstorage.errors.BaseModelError: it lacks 1 weights: copy the model again\n"
    verifier._run_comparison = lambda _verdict, _workshop: (1, last_words)  # type: ignore[method-assign]
    with pytest.raises(UnloadableModel, match=r"^it lacks 1 weights: copy the model again$"):
        verifier.require()


@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.skipif(sys.platform != "linux", reason="ends the process as an operator does")
def test_a_comparison_that_somebody_killed_is_repeated_at_the_next_start(
    settings: Settings, base: BaseModel, tmp_path: Path, *, is_cancelled: bool
) -> None:
    verifier = Verifier(base, tmp_path, settings.model)
    with ThreadPoolExecutor() as pool:
        graphs = pool.submit(verifier.require)
        while verifier._process is None and not graphs.done():
            time.sleep(0.01)
        assert verifier._process is not None
        if is_cancelled:
            verifier.cancel()
        os.kill(verifier._process.pid, signal.SIGKILL)
        with pytest.raises(UnsupportedModel, match="cancelled" if is_cancelled else r"signal 9 \(Killed\)"):
            graphs.result(timeout=60)
    assert Verifier(base, tmp_path, settings.model).verdict is None, "nothing was written"


def test_a_comparison_that_ran_out_of_memory_is_repeated_once_there_is_clearly_more(
    settings: Settings, base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def have(free: int) -> Verifier:
        def run_out(_verdict: Path, _workshop: Path) -> tuple[int, str]:
            compared.append(free)
            return -signal.SIGKILL, ""

        monkeypatch.setattr("storage.models.openvino.verifier.oom_kills", lambda: 5 + len(compared))
        monkeypatch.setattr("storage.models.openvino.verifier.free_memory", lambda: FreeMemory(free, 8 * free))
        verifier = Verifier(base, tmp_path, settings.model)
        verifier._run_comparison = run_out  # type: ignore[method-assign]
        return verifier

    for free in (10**9, 12 * 10**8, 13 * 10**8):
        with pytest.raises(UnsupportedModel, match="transformers took more memory than was free"):
            have(free).require()
    assert compared == [10**9, 13 * 10**8]


def test_any_verdict_is_kept_and_a_damaged_one_is_made_again(
    settings: Settings, base: BaseModel, tmp_path: Path
) -> None:
    compared: list[Path] = []

    def refuse(verdict: Path) -> None:
        compared.append(verdict)
        verdict.write_text('{"refused": "it is a cake"}')

    for _ in range(2):
        with pytest.raises(UnsupportedModel, match="it is a cake"):
            a_verifier(settings, base, tmp_path, refuse).require()
    assert len(compared) == 1
    compared[0].write_text("")  # a power cut
    with pytest.raises(UnsupportedModel, match="it is a cake"):
        a_verifier(settings, base, tmp_path, refuse).require()
    assert len(compared) == 2


def test_graphs_of_a_former_base_are_removed_when_the_bot_starts(
    settings: Settings, base: BaseModel, tmp_path: Path
) -> None:
    own, former, compared_now = (
        graph_folder(replace(base, revision=revision), tmp_path) for revision in (base.revision, "f", "c")
    )
    for folder in (former, compared_now):
        (folder / "base").mkdir(parents=True)
    trust_graphs(base, tmp_path, settings.model)  # `reactune base use` compared them
    verifier = Verifier(base, tmp_path, settings.model)
    with FileLock(compared_now / LOCK_FILE):
        verifier.require(keep_others=True)
        assert former.exists()
        verifier.require()
    assert (own.exists(), former.exists(), compared_now.exists()) == (True, False, True)


def test_waiting_for_the_comparison_of_another_process_can_be_cancelled(
    settings: Settings, base: BaseModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "filelock")
    folder = tmp_path / "engine" / graph_folder(base, tmp_path).name
    folder.mkdir(parents=True)
    waiting = Verifier(base, tmp_path, settings.model)
    with FileLock(folder / ".verified.lock"), ThreadPoolExecutor() as pool:
        verdict = pool.submit(waiting.require)
        while "waiting" not in caplog.text and not verdict.done():
            time.sleep(0.01)
        waiting.cancel()
        with pytest.raises(UnsupportedModel):
            verdict.result(timeout=60)


def test_graphs_in_use_and_half_made_ones_survive_what_others_tidy(base: BaseModel, tmp_path: Path) -> None:
    cache = GraphCache(base, tmp_path, 8)
    for name in ("old_1", ".left_1.staging", ".making_1.staging"):
        (tmp_path / name).mkdir()
    cache.prepare(None)
    with FileLock(tmp_path / ".making_1.lock"), FileLock(tmp_path / ".old_1.lock"):
        cache.prune(keep=1)
        assert {path.name for path in tmp_path.glob("*/")} == {"old_1", "base", ".making_1.staging"}
    cache.prune(keep=1)
    assert {path.name for path in tmp_path.glob("*/")} == {"base"}


def test_an_altered_graph_is_made_again(base: BaseModel, tmp_path: Path) -> None:
    cache = GraphCache(base, tmp_path, 8)
    weights = cache.prepare(None) / "openvino_model.bin"
    made = weights.read_bytes()
    for damaged in (made[: len(made) // 2], bytes(len(made)), b""):
        weights.write_bytes(damaged)
        assert cache.prepare(None) / "openvino_model.bin" == weights
        assert weights.read_bytes() == made


def test_a_graph_that_cannot_be_written_says_where(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(_model: object, file: Path, **_: object) -> None:
        file.write_text("half")
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr("openvino.save_model", fill_the_disk)
    with pytest.raises(GraphNotWritten, match=r"cannot be written to .* \([\d.]+ [GM]B free\): basic_ios"):
        GraphCache(base, tmp_path, 8).prepare(None)
    assert not [*tmp_path.glob("*/")], "nothing half made stays"


async def test_if_openvino_fails_on_a_base_that_it_supports_transformers_answers_and_admins_are_alerted(
    settings: Settings, base: BaseModel, caplog: pytest.LogCaptureFixture
) -> None:
    too_many = 2**31  # a pipeline refuses so many answers at once
    generation = settings.generation.model_copy(update={"batch_size": too_many})
    engine = await start_engine(settings.model_copy(update={"generation": generation}), base, None)
    assert "Answering with transformers: OpenVINO cannot serve" in caplog.text
    assert engine.state().fallback.startswith("OpenVINO cannot serve")
    await engine.close(0.0)


def test_an_adapter_may_change_some_layers_of_a_kind(base: BaseModel, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    adapter = save_adapter(base.path, tmp_path, 6)
    file, config_file = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    first = {name: tensor for name, tensor in load_file(file).items() if ".layers.0.self_attn.q_proj." in name}
    save_file(first, file)
    config = json.loads(config_file.read_text())
    config_file.write_text(json.dumps({**config, "target_modules": ["model.layers.0.self_attn.q_proj"]}))
    assert build_graph(base.path, adapter, 8)


def test_another_architecture_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Gemma2ForCausalLM"]}')
    with pytest.raises(UnsupportedModel, match="its architecture is Gemma2ForCausalLM"):
        build_graph(tmp_path, None, 8)


async def test_a_base_that_openvino_does_not_support_is_answered_by_transformers_without_an_alert(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = build_tiny_base(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "gelu"}))
    other = resolve_base_model(str(folder), tmp_path)
    engine = await start_engine(settings, other)
    assert "Answering with transformers: OpenVINO does not support tiny (its activation is gelu)." in caplog.text
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    state = engine.state()
    assert state == EngineState(1, name="transformers", unsupported="its activation is gelu")
    assert str(state.who_answers()) == ("transformers answers instead of OpenVINO, more slowly: its activation is gelu")
    await engine.close(0.0)
    insistent = settings.model_copy(update={"model": settings.model.model_copy(update={"engine": "openvino"})})
    with pytest.raises(EngineStopped, match=r"set model.engine = \"transformers\""):
        await start_engine(insistent, other)


@of_one_engine
async def test_a_thousand_requests_at_once_are_answered_or_refused_and_memory_stays(engine: OpenVinoEngine) -> None:
    from bot.errors import EngineBusy

    accepted, refused = [], 0
    for seed in range(1_000):
        try:
            accepted.append(engine.submit(request(seed=seed, tokens=2)))
        except EngineBusy:
            refused += 1
    assert refused == 1_000 - len(accepted) > 900
    assert all(one.finish for one in await asyncio.gather(*(finished(one) for one in accepted)))
    assert engine.waiting == 0


def test_rounding_keeps_every_weight_within_a_step() -> None:
    from storage.models.openvino.architectures import INT8_GROUP
    from storage.models.openvino.graph import INT8_MAX, round_to_int8

    matrix = np.random.default_rng(1).normal(size=(8, 2 * INT8_GROUP)).astype(np.float32)
    integers = round_to_int8([matrix[:5], matrix[5:]]).input_value(0).get_node().input_value(0).get_node()
    scaled = integers.input_value(0).get_node().input_value(0).get_node().data.astype(np.float32)
    scales = integers.input_value(1).get_node().data.astype(np.float32)
    steps = np.abs(matrix.reshape(8, 2, -1)).max(axis=2, keepdims=True) / INT8_MAX
    assert np.all(np.abs(scaled * scales - matrix.reshape(8, 2, -1)) <= steps)
