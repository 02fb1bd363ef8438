"""What OpenVINO's engine adds: it is checked before use, its processes may die, and it makes way for transformers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bot.engine import GenerationFailed
from bot.engine.choice import start_engine
from bot.engine.openvino.engine import OpenVinoEngine
from bot.errors import EngineStopped
from storage.base_model import BaseModel, resolve_base_model
from storage.graphs import verification
from storage.graphs.graph import AdapterMisfit, _Decoder, build_graph
from storage.graphs.support import UnsupportedModel
from storage.settings import Settings, load_settings
from tests.bot.test_engine import ENDLESS, answer, finished, request, save_adapter, started
from tests.tiny_model import build_tiny_base

QWEN = {"architectures": ["Qwen3ForCausalLM"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvino")


@pytest.fixture(scope="module")
def base(folder: Path) -> BaseModel:
    return resolve_base_model(str(build_tiny_base(folder / "tiny")), folder)


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    return load_settings(
        environment={
            "REACTUNE_DATA__DIRECTORY": str(folder),
            "REACTUNE_MODEL__CONTEXT_TOKENS": "512",
            "REACTUNE_MODEL__DTYPE": "float32",
            "REACTUNE_MODEL__THREADS": "1",
        }
    )


@pytest.fixture
async def engine(settings: Settings, base: BaseModel) -> AsyncIterator[OpenVinoEngine]:
    engine = OpenVinoEngine(base, settings.data.directory, settings.model, settings.generation)
    await engine.start()
    yield engine
    await engine.close(0.0)


def children() -> set[int]:
    """Return the processes that any thread of this one has started."""
    return {int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


def written_by_verification(folder: Path) -> str:
    (file,) = folder.glob("engine/*/verified-float32.json")
    return file.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
async def test_a_version_that_dies_fails_its_answers_and_comes_back(
    engine: OpenVinoEngine, caplog: pytest.LogCaptureFixture
) -> None:
    before = children()
    whole = await answer(engine, request(temperature=0.0))
    (worker,) = children() - before
    running = engine.submit(request(temperature=0.0, tokens=ENDLESS))
    await started(running)
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(GenerationFailed, match="the model's process is gone"):
        await finished(running)
    assert "process failed" in caplog.text
    assert await answer(engine, request(temperature=0.0)) == whole


async def test_a_prepared_version_waits_in_memory(engine: OpenVinoEngine, base: BaseModel, tmp_path: Path) -> None:
    adapter = save_adapter(base.path, tmp_path, 3)
    engine.prepare(adapter)
    await answer(engine, request(tokens=1, adapter=adapter))
    assert (await finished(engine.submit(request(tokens=1, adapter=adapter)))).queued_s < 0.1


async def test_versions_beyond_the_limit_wait_for_room_and_all_are_answered(
    settings: Settings, base: BaseModel, tmp_path: Path
) -> None:
    small = settings.model.model_copy(update={"resident_adapters": 1})
    engine = OpenVinoEngine(base, settings.data.directory, small, settings.generation)
    await engine.start()
    adapter = save_adapter(base.path, tmp_path, 5)
    before = children()
    voices = [None, adapter, None, adapter]
    lanes = [replace(request(tokens=20, adapter=voice), lane=lane) for lane, voice in enumerate(voices)]
    answers = [asyncio.create_task(answer(engine, wanted)) for wanted in lanes]
    most = 0
    while not all(one.done() for one in answers):
        most = max(most, len(children() - before))
        await asyncio.sleep(0.02)
    assert all(one.result() for one in answers)
    assert most <= 2, "one at work, and one on its way out"
    await engine.close(0.0)


async def test_no_answer_comes_from_what_another_version_has_read(
    engine: OpenVinoEngine, base: BaseModel, tmp_path: Path
) -> None:
    adapter = save_adapter(base.path, tmp_path, 4)
    long = "Tell me a joke, please! " * 20  # several blocks of the cache
    alone = await answer(engine, request(long, temperature=0.0, adapter=adapter))
    of_base = await answer(engine, request(long, temperature=0.0))
    assert of_base != alone
    assert await answer(engine, request(long, temperature=0.0, adapter=adapter)) == alone
    assert await answer(engine, request(long, temperature=0.0)) == of_base


async def test_graphs_are_compared_with_transformers_once(engine: OpenVinoEngine, folder: Path) -> None:
    found = json.loads(written_by_verification(folder))
    assert set(found) == {"base", "adapter"}
    assert all(0 <= divergence < verification.MAX_DIVERGENCE for divergence in found.values())


async def test_graphs_of_another_release_leave_the_disk(settings: Settings, base: BaseModel, tmp_path: Path) -> None:
    old = tmp_path / "engine" / "0123456789abcdef-int8-2020.1" / "base"
    old.mkdir(parents=True)
    engine = OpenVinoEngine(base, tmp_path, settings.model, settings.generation)
    await engine.start()
    await engine.close(0.0)
    assert len(list((tmp_path / "engine").iterdir())) == 1
    assert not old.exists()


def test_a_graph_that_says_something_else_is_refused(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def straight(_self: object, heads: object) -> object:
        return heads

    # A tiny random model hardly minds where a word stands, so the bar is set to what rounding costs it.
    monkeypatch.setattr(verification, "MAX_DIVERGENCE", 10 * max(verification.verify(base.path, "float32").values()))
    monkeypatch.setattr(_Decoder, "_rotated", straight)
    with pytest.raises(UnsupportedModel, match="differ from transformers'"):
        verification.verify(base.path, "float32")


@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3", "Llama"])
def test_the_graph_of_each_kind_of_model_says_what_transformers_says(kind: str, tmp_path: Path) -> None:
    import torch
    import transformers

    tiny = build_tiny_base(tmp_path)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=400,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
        for parameter in model.parameters():  # biases and norms too, which begin as zeros and ones
            parameter.data.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(tiny)
    verification.verify(tiny, "bfloat16")  # it raises where they differ


def test_a_layer_without_its_changes_is_no_adapter(base: BaseModel, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    adapter = save_adapter(base.path, tmp_path, 6)
    file = tmp_path / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if ".layers.1." not in name}, file)
    with pytest.raises(AdapterMisfit, match="it lacks"):
        build_graph(base.path, adapter)


def test_another_architecture_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Gemma3ForCausalLM"]}')
    with pytest.raises(UnsupportedModel, match="its architecture is Gemma3ForCausalLM"):
        build_graph(tmp_path, None)


async def test_what_openvino_cannot_serve_is_answered_by_transformers(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = build_tiny_base(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "mlp_bias": True}))
    other = resolve_base_model(str(folder), tmp_path)
    engine = await start_engine(settings, other)
    assert "Answering with transformers: " in caplog.text
    await engine.close(0.0)
    insistent = settings.model_copy(update={"model": settings.model.model_copy(update={"engine": "openvino"})})
    with pytest.raises(EngineStopped, match=r"set model.engine = \"transformers\""):
        await start_engine(insistent, other)


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
    from storage.graphs.graph import GROUP_SIZE, INT8_MAX, _rounded

    matrix = np.random.default_rng(1).normal(size=(8, 2 * GROUP_SIZE)).astype(np.float32)
    integers = _rounded(matrix).input_value(0).get_node().input_value(0).get_node()
    scaled = integers.input_value(0).get_node().input_value(0).get_node().data.astype(np.float32)
    scales = integers.input_value(1).get_node().data.astype(np.float32)
    steps = np.abs(matrix.reshape(8, 2, -1)).max(axis=2, keepdims=True) / INT8_MAX
    assert np.all(np.abs(scaled * scales - matrix.reshape(8, 2, -1)) <= steps)
