"""Adapters in memory: one that serves batch after batch is merged, and the base's weights are never written to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch

from bot.engine import GenerationRequest, Sampling
from bot.engine.transformers.decoding import DecodingRow
from bot.engine.transformers.resident_model import MERGE_AFTER, AdaptedLayers, ResidentModel
from storage.adapters.folder_store import AdapterRef
from storage.models.adapter_checks import AdapterMisfit
from storage.models.answer_stream import ThoughtRoom
from storage.models.base_model import BaseModel
from storage.models.effect import EffectRecord, WrongEffect, write_effect
from storage.models.hardware import cpu_threads, usable_cores
from storage.settings.sections import ModelSettings
from tests.bot.engine.conftest import partial

GREEDY = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=12)
ROOM = ThoughtRoom(0, 512)


@pytest.fixture
def resident(base: BaseModel) -> ResidentModel:
    return load(base)


def load(base: BaseModel, dtype: str = "float32", resident_adapters: int = 4) -> ResidentModel:
    return ResidentModel(
        base.path, ModelSettings.model_validate({"dtype": dtype, "resident_adapters": resident_adapters, "threads": 1})
    )


def test_quantised_weights_are_never_merged(resident: ResidentModel, adapters: list[AdapterRef]) -> None:
    """bitsandbytes keeps two of them in each byte."""
    resident.model_with(adapters[0])
    layers = AdaptedLayers(resident.model_with(adapters[0]))
    assert layers.can_be_merged
    layers.original[0].weight = torch.nn.Parameter(torch.zeros(8, dtype=torch.uint8), requires_grad=False)
    assert not layers.can_be_merged


def test_a_core_is_left_to_others_unless_a_setting_says_how_many_to_take(base: BaseModel) -> None:
    with cpu_threads(usable_cores()):
        ResidentModel(base.path, ModelSettings(dtype="float32"))
        assert torch.get_num_threads() == max(1, usable_cores() - 1)
        ResidentModel(base.path, ModelSettings(dtype="float32", threads=usable_cores()))
        assert torch.get_num_threads() == usable_cores()


def answer(resident: ResidentModel, adapter: AdapterRef | None) -> list[int]:
    """Return the tokens of a greedy answer in its own batch."""
    row = DecodingRow(GenerationRequest("How are you?", 1, GREEDY, adapter), resident.chat, ROOM, lambda: None)
    resident.answer(adapter, [row], lambda _step: None)
    return row.answer_ids


def merge(resident: ResidentModel, adapter: AdapterRef) -> None:
    for _ in range(MERGE_AFTER + 1):
        model = resident.model_with(adapter)
    assert not adds_by_itself(model)


def adds_by_itself(model: torch.nn.Module) -> bool:
    """Say whether an adapter's own layers compute in the model."""
    return any("lora_" in name for name, _ in model.named_modules())


def weights(resident: ResidentModel) -> dict[str, torch.Tensor]:
    """Return copies of the weights of the base as it speaks for itself."""
    return {name: weight.clone() for name, weight in resident.model_with(None).state_dict().items()}


def same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


def test_an_adapter_is_merged_after_a_few_batches_in_a_row(resident: ResidentModel, adapters: list[AdapterRef]) -> None:
    models = [adds_by_itself(resident.model_with(adapters[0])) for _ in range(MERGE_AFTER + 2)]
    assert models == [True] * MERGE_AFTER + [False] * 2


def test_a_version_is_served_at_one_strength_after_another(resident: ResidentModel, adapters: list[AdapterRef]) -> None:
    for strength in (1.5, 0.15, 1.0, 0.1):  # PEFT takes a name for a part of another that holds it: 1 and 1.5
        assert resident.model_with(replace(adapters[0], strength=strength))


def test_a_version_that_answers_otherwise_than_was_measured_leaves_no_trace(
    resident: ResidentModel, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    wrong = replace(adapters[1], digest="wrong", path=tmp_path / "wrong")
    copytree(adapters[1].path, wrong.path)
    write_effect(wrong.path, EffectRecord(tuple(range(5, 25)), (-2.0,) * 19, (-9.0,) * 19))
    before = answer(resident, adapters[0])
    with pytest.raises(WrongEffect):
        resident.model_with(wrong)
    assert answer(resident, adapters[0]) == before


def test_adapters_that_take_turns_are_not_merged(resident: ResidentModel, adapters: list[AdapterRef]) -> None:
    for _ in range(MERGE_AFTER + 1):
        assert all(adds_by_itself(resident.model_with(adapter)) for adapter in adapters)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_merged_adapter_answers_as_before(
    resident: ResidentModel, adapters: list[AdapterRef], strength: float
) -> None:
    adapter = replace(adapters[0], strength=strength)
    answers = [answer(resident, adapter) for _ in range(MERGE_AFTER + 2)]
    assert not adds_by_itself(resident.model_with(adapter))
    assert answers == [answers[0]] * len(answers)
    assert answers[0] != answer(resident, None)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_base_is_bit_for_bit_as_before_a_merge(base: BaseModel, adapters: list[AdapterRef], dtype: str) -> None:
    resident = load(base, dtype)
    before = weights(resident)
    merge(resident, adapters[0])
    assert not same(before, resident.model_with(adapters[0]).state_dict())
    assert same(before, weights(resident))


def test_another_adapter_answers_as_if_none_had_been_merged(
    base: BaseModel, resident: ResidentModel, adapters: list[AdapterRef]
) -> None:
    merge(resident, adapters[0])
    assert answer(resident, adapters[1]) == answer(load(base), adapters[1])


def test_a_merged_adapter_leaves_for_another_and_comes_back(base: BaseModel, adapters: list[AdapterRef]) -> None:
    resident = load(base, resident_adapters=1)
    before, first = weights(resident), answer(resident, adapters[0])
    merge(resident, adapters[0])
    answer(resident, adapters[1])
    assert answer(resident, adapters[0]) == first
    assert same(before, weights(resident))


def test_a_broken_adapter_leaves_a_merged_one_as_it_was(
    resident: ResidentModel, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    before, first = weights(resident), answer(resident, adapters[0])
    merge(resident, adapters[0])
    for broken in (AdapterRef("missing", tmp_path), partial(adapters[1], tmp_path / "partial")):
        with pytest.raises((ValueError, AdapterMisfit)):
            resident.model_with(broken)
        assert answer(resident, adapters[0]) == first
        assert same(before, weights(resident))
