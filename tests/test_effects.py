"""A version is never the bare base in disguise: what a round measured is found again by the engines that load it."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from bot.engine import GenerationFailed
from bot.engine.openvino.engine import OpenVinoEngine
from bot.engine.transformers.resident_model import ResidentModel
from bot.errors import VersionRefused
from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef, seal
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.effect import EffectRecord, WrongEffect, read_effect, write_effect
from storage.models.openvino.comparison import compare_graphs
from storage.models.openvino.graph_cache import GraphCache, graph_folder, graph_name, verdict_file
from storage.models.openvino.pipeline import PipelineOptions, load_pipeline
from storage.models.openvino.recipes import W4A8, W8A16, GraphRecipe, write_verdict
from storage.settings.loading import load_settings
from storage.settings.sections import ModelSettings, TrainingSettings
from tests.bot.engine.test_engine import answer, request
from tests.tiny_model import build_tiny_base
from tests.verdicts import trust_graphs
from trainer.training.recipes import SFT, TrainingSplit
from trainer.training.rows import Demonstration
from trainer.training.strength import record_effect, save_weaker
from trainer.training.train import TrainingJob, train_adapter

TRAINING = TrainingSettings(
    patience=0,
    min_steps=0,
    dtype="float32",
    learning_rate=2e-2,
    epochs=8,
    lora_rank=4,
    batch_size=2,
)
ANSWER = "I was fine, thank you for the soup. What did you have?"
SHOWN = [
    Demonstration(f"<|im_start|>user\nHow are you, {name}?<|im_end|>\n<|im_start|>assistant\n", ANSWER)
    for name in ("Ana", "Bo", "Cy", "Di")
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A tiny base that has opinions: with its small weights, all tokens are about as likely, whatever it learns."""
    folder = tmp_path_factory.mktemp("base")
    file = build_tiny_base(folder / "tiny") / "model.safetensors"
    weights = load_file(file)
    save_file(
        {name: weight * (8 if "embed" in name else 1) for name, weight in weights.items()}, file, {"format": "pt"}
    )
    return resolve_base_model(str(file.parent), folder)


@pytest.fixture(scope="module")
def version(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> AdapterRef:
    """A version that a round has trained and sealed."""
    folder = tmp_path_factory.mktemp("trained")
    train_adapter(TrainingJob(SFT, TrainingSplit(SHOWN, ()), TRAINING, base, folder), lambda _progress: None)
    return AdapterRef(seal(folder), folder)


@pytest.fixture
def other(version: AdapterRef, tmp_path: Path) -> AdapterRef:
    """A copy whose record says the opposite of what it does."""
    folder = shutil.copytree(version.path, tmp_path / "other")
    effect = recorded(folder)
    opposite = tuple(2 * before - now for before, now in zip(effect.base, effect.version, strict=True))
    write_effect(folder, replace(effect, version=opposite))
    return AdapterRef(seal(folder), folder)


def recorded(folder: Path) -> EffectRecord:
    effect = read_effect(folder)
    assert effect is not None
    return effect


def mean_change(folder: Path) -> float:
    effect = recorded(folder)
    return sum(abs(now - before) for now, before in zip(effect.version, effect.base, strict=True)) / len(effect.base)


def load_graph(base: BaseModel, version: AdapterRef, data: Path, recipe: GraphRecipe, dtype: str) -> object:
    """Load the version's graph as its process does, and build it before if there is none."""
    return load_pipeline(
        PipelineOptions(
            base,
            graph_folder(base, data),
            version,
            batch_size=2,
            cached_tokens=512,
            threads=1,
            dtype=dtype,
            recipe=recipe,
            kept_graphs=4,
        )
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_transformers_finds_what_the_round_measured(
    base: BaseModel, version: AdapterRef, dtype: str, strength: float
) -> None:
    assert mean_change(version.path) > 0.3
    resident = ResidentModel(base.path, ModelSettings(dtype=dtype, threads=1))
    assert resident.model_with(replace(version, strength=strength))
    assert resident.adapters == 1


def test_transformers_refuses_a_version_that_is_not_the_one_that_was_measured(
    base: BaseModel, version: AdapterRef, other: AdapterRef
) -> None:
    resident = ResidentModel(base.path, ModelSettings(dtype="float32", threads=1))
    with pytest.raises(WrongEffect, match=r"answers otherwise .*\(-\d+% of the change\): roll back to another version"):
        resident.model_with(other)
    assert "answers otherwise" in resident.refused.describe()
    assert resident.adapters == 0
    assert resident.model_with(None)
    assert resident.model_with(version)


def test_a_graph_of_8_bits_shows_what_the_round_measured(base: BaseModel, version: AdapterRef, tmp_path: Path) -> None:
    assert load_graph(base, version, tmp_path, W8A16, "bfloat16")


def test_a_graph_of_4_bits_is_compared_with_the_bases_own_graph(
    base: BaseModel, version: AdapterRef, tmp_path: Path
) -> None:
    """The trainer's base is rounded otherwise, or not at all: what that costs is no fault of the version."""
    effect, rounding = recorded(version.path), [0.8, -0.8]
    folder = shutil.copytree(version.path, tmp_path / "version")
    before, now = (
        tuple(one + rounding[place % 2] for place, one in enumerate(numbers))
        for numbers in (effect.base, effect.version)
    )
    write_effect(folder, replace(effect, base=before, version=now))
    graphs = graph_folder(base, tmp_path)
    graphs.mkdir(parents=True)
    rounded = AdapterRef(seal(folder), folder)
    with pytest.raises(WrongEffect, match="answers otherwise than the trainer measured"):
        load_graph(base, rounded, tmp_path, W4A8, "float32")
    found = compare_graphs(base.path, "float32", tmp_path)
    assert found.effect
    assert found.effect.tokens == effect.tokens
    write_verdict(verdict_file(graphs, "float32"), found)
    assert load_graph(base, rounded, tmp_path, W4A8, "float32")


def test_a_graph_in_another_versions_place_is_built_again(base: BaseModel, version: AdapterRef, tmp_path: Path) -> None:
    cache = GraphCache(base, graph_folder(base, tmp_path), 8)
    weights = [(cache.prepare(one) / "openvino_model.bin").read_bytes() for one in (None, version)]
    target = cache.folder / graph_name(version)
    shutil.rmtree(target)
    shutil.copytree(cache.folder / graph_name(None), target)
    assert (cache.prepare(version) / "openvino_model.bin").read_bytes() == weights[1] != weights[0]


@pytest.mark.threat("T64")
async def test_openvino_refuses_a_graph_that_lacks_the_adapter_and_answers_with_others(
    base: BaseModel, version: AdapterRef, tmp_path: Path
) -> None:
    settings = load_settings(
        environment={
            "REACTUNE_DATA__DIRECTORY": str(tmp_path),
            "REACTUNE_MODEL__CONTEXT_TOKENS": "512",
            "REACTUNE_MODEL__DTYPE": "float32",
            "REACTUNE_MODEL__THREADS": "1",
        }
    )
    trust_graphs(base, tmp_path, settings.model)
    cache = GraphCache(base, graph_folder(base, tmp_path), 8)
    cache._build(None, cache.folder / graph_name(version))  # a fault of the builder
    engine = OpenVinoEngine(base, tmp_path, settings.model, settings.generation)
    await engine.start()
    of_base = asyncio.create_task(answer(engine, request()))
    with pytest.raises(
        GenerationFailed, match=r"answers as the bare base .* delete .*, so that its graph is"
    ) as failure:
        await answer(engine, request(adapter=version))
    assert isinstance(failure.value.__cause__, VersionRefused)
    assert "answers as the bare base" in engine.state().refused_versions
    assert "answers as the bare base" in getattr(engine.refusal_of(version), "reason", "")
    assert engine.refusal_of(replace(version, strength=0.5)) is engine.refusal_of(None) is None
    assert await of_base
    await engine.close(0.0)


def test_a_weaker_copy_is_measured_again(base: BaseModel, version: AdapterRef, tmp_path: Path) -> None:
    save_weaker(version.path, tmp_path, 0.25, None)
    assert read_effect(tmp_path) is None, "what the whole version does is not true of it"
    record_effect(tmp_path, base, TRAINING)
    assert recorded(tmp_path).base == recorded(version.path).base
    assert 0.1 < mean_change(tmp_path) / mean_change(version.path) < 0.5
    digest = seal(tmp_path)
    assert (tmp_path / WEIGHTS_FILE).exists()
    assert ResidentModel(base.path, ModelSettings(dtype="float32", threads=1)).model_with(AdapterRef(digest, tmp_path))
