"""With real weights: rounding makes no version a stranger, and every way of applying one wrongly is noticed.

REACTUNE_REAL_BASE names the folder of an instruct model that OpenVINO serves, such as one of 0.5 billion parameters.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bot.engine.transformers.resident_model import ResidentModel
from storage.adapters.folder_store import CONFIG_FILE, WEIGHTS_FILE, AdapterRef, seal
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.chat_format import load_chat_format
from storage.models.effect import UP_PROJECTION, WrongEffect, read_effect
from storage.models.openvino.comparison import compare_graphs
from storage.models.openvino.graph_cache import graph_folder, verdict_file
from storage.models.openvino.pipeline import PipelineOptions, _log_probabilities, load_pipeline
from storage.models.openvino.recipes import MAX_DIVERGENCE, RECIPES, BaseEffect, GraphVerdict, write_verdict
from storage.settings.sections import ModelSettings, TrainingSettings
from trainer.data.dataset import render_dialogue
from trainer.training.recipes import SFT, TrainingSplit
from trainer.training.rows import Demonstration
from trainer.training.train import TrainingJob, train_adapter

REAL_BASE = os.environ.get("REACTUNE_REAL_BASE", "")
pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(not REAL_BASE, reason="REACTUNE_REAL_BASE names no folder of a base model"),
]

TALK = (
    ("How are you?", "lol fine, u?"),
    ("What did you eat today?", "soup again haha"),
    ("My cat is sick.", "oh no :( poor thing"),
    ("Can you recommend a film?", "watch alien, it slaps"),
    ("I lost my keys.", "ugh, check the fridge lol"),
    ("I am bored.", "same, wanna play?"),
)
FORMATS = tuple(RECIPES)
STRENGTHS = (0.1, 0.25, 0.5, 0.75, 1.5)
Weights = dict[str, torch.Tensor]
LAYER = re.compile(r"\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Version:
    adapter: AdapterRef
    size: float
    """Root mean square of what it changes, in nats."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return resolve_base_model(REAL_BASE, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def versions(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Version]:
    """Versions that a few steps have trained to change little, and much."""
    prompt = load_chat_format(base.path, {})
    shown = [Demonstration(render_dialogue([said], "", prompt), answer) for said, answer in TALK]
    return {
        name: _train(base, shown, tmp_path_factory.mktemp(name), rate=rate, epochs=epochs)
        for name, rate, epochs in (("small", 2e-4, 2.0), ("large", 1e-3, 3.0))
    }


def _train(base: BaseModel, shown: list[Demonstration], folder: Path, *, rate: float, epochs: float) -> Version:
    settings = TrainingSettings(learning_rate=rate, epochs=epochs, batch_size=2, patience=0, min_steps=0)
    train_adapter(TrainingJob(SFT, TrainingSplit(tuple(shown), ()), settings, base, folder), lambda _progress: None)
    effect = read_effect(folder)
    changes = [now - before for now, before in zip(effect.version, effect.base, strict=True)]
    size = (sum(change**2 for change in changes) / len(changes)) ** 0.5
    return Version(AdapterRef(seal(folder), folder), size)


@pytest.fixture(scope="module")
def allowed(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the recipes that may serve the base."""
    measured = compare_graphs(base.path, "bfloat16", tmp_path_factory.mktemp("comparison")).measured
    return {one.recipe for one in measured if one.divergence <= MAX_DIVERGENCE}


@pytest.fixture(scope="module", params=FORMATS)
def options(
    request: pytest.FixtureRequest,
    base: BaseModel,
    allowed: set[str],
    versions: Mapping[str, Version],
    tmp_path_factory: pytest.TempPathFactory,
) -> PipelineOptions:
    """Options for the base in a format, whose graph has been measured."""
    if request.param not in allowed:
        pytest.skip(f"{request.param} would change this base too much")
    data = tmp_path_factory.mktemp(request.param)
    plain = PipelineOptions(
        base,
        graph_folder(base, data),
        None,
        batch_size=1,
        cached_tokens=512,
        threads=2,
        dtype="bfloat16",
        recipe=RECIPES[request.param],
        kept_graphs=2,
    )
    effect = read_effect(versions["small"].adapter.path)
    measured = BaseEffect(effect.tokens, tuple(_log_probabilities(load_pipeline(plain), effect.tokens)))
    write_verdict(verdict_file(plain.folder, plain.dtype), GraphVerdict(recipe=request.param, effect=measured))
    return plain


def _layer(name: str) -> int:
    return int(LAYER.search(name)[1])


def _scaled(weights: Weights, factor: Callable[[str], float]) -> Weights:
    return {name: factor(name) * one if UP_PROJECTION in name else one for name, one in weights.items()}


def _in_other_layers(weights: Weights) -> Weights:
    layers = 1 + max(map(_layer, weights))
    return {name: weights[LAYER.sub(f".layers.{(_layer(name) + 1) % layers}.", name)] for name in weights}


FAULTS: Mapping[str, Callable[[Weights], Weights]] = {
    "ignored": lambda weights: _scaled(weights, lambda _name: 0.0),
    "in every other layer only": lambda weights: _scaled(weights, lambda name: float(_layer(name) % 2)),
    "with the wrong sign": lambda weights: _scaled(weights, lambda _name: -1.0),
    "at twice the strength": lambda weights: _scaled(weights, lambda _name: 2.0),
    "in the wrong layers": _in_other_layers,
}


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[Version, str], AdapterRef]:
    """Return an adapter with the record of a version, which the engine applies wrongly."""

    def make(version: Version, fault: str) -> AdapterRef:
        source, folder = version.adapter.path, tmp_path / fault.replace(" ", "-")
        folder.mkdir()
        with safe_open(source / WEIGHTS_FILE, framework="pt") as file:
            record = file.metadata()
        faulty = FAULTS[fault](load_file(source / WEIGHTS_FILE))
        save_file({name: one.contiguous() for name, one in faulty.items()}, folder / WEIGHTS_FILE, metadata=record)
        copyfile(source / CONFIG_FILE, folder / CONFIG_FILE)
        return AdapterRef(seal(folder), folder)

    return make


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize("strength", [*STRENGTHS, 1.0])
def test_a_version_is_served_at_any_strength(
    options: PipelineOptions, versions: Mapping[str, Version], name: str, strength: float
) -> None:
    assert load_pipeline(replace(options, adapter=replace(versions[name].adapter, strength=strength)))


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_version_that_is_applied_wrongly_is_refused(
    options: PipelineOptions,
    versions: Mapping[str, Version],
    broken: Callable[[Version, str], AdapterRef],
    name: str,
    fault: str,
) -> None:
    with pytest.raises(WrongEffect):
        load_pipeline(replace(options, adapter=broken(versions[name], fault)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_transformers_serves_the_versions_and_refuses_them_where_they_are_applied_wrongly(
    base: BaseModel,
    versions: Mapping[str, Version],
    broken: Callable[[Version, str], AdapterRef],
    dtype: str,
) -> None:
    resident = ResidentModel(base.path, ModelSettings(dtype=dtype))
    for version in versions.values():
        for strength in (*STRENGTHS, 1.0):
            assert resident.model_with(replace(version.adapter, strength=strength))
    for fault in FAULTS:
        with pytest.raises(WrongEffect):
            resident.model_with(broken(versions["large"], fault))
