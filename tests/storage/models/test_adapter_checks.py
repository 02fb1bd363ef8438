"""Adapters that could do harm or do not fit the base are refused, with a sentence that says why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from storage.adapters.folder_store import CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE
from storage.errors import AdapterError
from storage.models.adapter_checks import servable_config
from storage.models.base_model import BaseModel
from storage.models.effect import METADATA_KEY, EffectRecord, write_effect
from tests.tiny_model import change_json


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(trained, tmp_path / "adapter")


def refusal(folder: Path, base: BaseModel) -> str:
    with pytest.raises(AdapterError) as refused:
        servable_config(folder, base)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_plain_peft_output_for_the_base_of_that_name_can_be_served(adapter: Path, base: BaseModel) -> None:
    change_json(adapter / CONFIG_FILE, revision=None, base_model_name_or_path=f"/somewhere/{base.name}")
    config = servable_config(adapter, base)
    assert (config["base_model_name_or_path"], config["revision"]) == (base.name, base.revision)


def test_an_adapter_for_another_base_is_refused(adapter: Path, base: BaseModel) -> None:
    change_json(adapter / CONFIG_FILE, revision="f" * 16)
    assert f"was trained on tiny ({'f' * 16}), not on tiny ({base.revision})" in refusal(adapter, base)
    change_json(adapter / CONFIG_FILE, revision=None, base_model_name_or_path="other/model")
    assert "was trained on other/model (no revision)" in refusal(adapter, base)


def test_an_adapter_of_another_architecture_is_refused(adapter: Path, base: BaseModel) -> None:
    weights = load_file(adapter / WEIGHTS_FILE)
    key = next(key for key in weights if "lora_A" in key)
    save_file(weights | {key: np.zeros((4, 7), np.float32)}, adapter / WEIGHTS_FILE)
    assert f"{key} in {WEIGHTS_FILE} does not fit tiny (LlamaForCausalLM)" in refusal(adapter, base)
    save_file({"base_model.model.other.lora_A.weight": np.zeros((4, 32), np.float32)}, adapter / WEIGHTS_FILE)
    assert "the adapter is for another model" in refusal(adapter, base)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "is a IA3 adapter: only LoRA"),
        ({"use_dora": True}, "sets use_dora"),
        ({"layer_replication": [[0, 9]]}, "sets layer_replication"),
        ({"modules_to_save": ["lm_head"]}, "sets modules_to_save"),
        ({"bias": "all"}, "sets bias"),
        ({"init_lora_weights": "pissa"}, "sets init_lora_weights"),
        ({"init_lora_weights": "olora"}, "sets init_lora_weights"),
        ({"exclude_modules": "(.|.)+!"}, "sets exclude_modules"),
        ({"rank_pattern": {"(.|.)+!": 4}}, "sets rank_pattern"),
        ({"megatron_core": "evil"}, "sets megatron_core"),
        ({"auto_mapping": {"parent_library": "evil"}}, "sets auto_mapping"),
        ({"target_modules": "(.|.|.|.)+!"}, "targets other layers"),
        ({"target_modules": ["q_proj"]}, "targets other layers"),
        ({"r": 5000}, "has r = 5000"),
        ({"r": 0}, "has r = 0"),
        ({"r": 8}, "does not fit"),
        ({"lora_alpha": "x"}, "has lora_alpha = 'x'"),
        ({"lora_alpha": 0}, "has lora_alpha = 0"),
    ],
)
@pytest.mark.threat("T65")
def test_an_adapter_that_is_not_plain_lora_is_refused(
    adapter: Path, base: BaseModel, changes: dict[str, object], said: str
) -> None:
    change_json(adapter / CONFIG_FILE, **changes)
    assert said in refusal(adapter, base)


def test_all_linear_layers_are_written_out_by_name(adapter: Path, base: BaseModel) -> None:
    change_json(adapter / CONFIG_FILE, target_modules="all-linear")
    assert "model.layers.0.self_attn.q_proj" in servable_config(adapter, base)["target_modules"]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(adapter: Path, base: BaseModel, number: float) -> None:
    weights = load_file(adapter / WEIGHTS_FILE)
    key = next(iter(weights))
    save_file(weights | {key: np.full_like(weights[key], number)}, adapter / WEIGHTS_FILE)
    assert "is not finite (NaN or infinity)" in refusal(adapter, base)


def test_a_layer_without_its_second_matrix_is_refused(adapter: Path, base: BaseModel) -> None:
    weights = load_file(adapter / WEIGHTS_FILE)
    del weights[next(key for key in weights if "lora_B" in key)]
    save_file(weights, adapter / WEIGHTS_FILE)
    assert "incomplete" in refusal(adapter, base)


def test_an_adapter_for_a_base_that_is_quantised_already_cannot_be_checked(
    adapter: Path, base: BaseModel, tmp_path: Path
) -> None:
    folder = shutil.copytree(base.path, tmp_path / "quantised")
    (folder / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "awq"}}))
    said = refusal(adapter, replace(base, path=folder))
    assert "are quantised already (awq), so the adapter cannot be checked" in said


def test_altered_files_are_refused(adapter: Path, base: BaseModel) -> None:
    (adapter / CHECKSUMS_FILE).write_text(f"{'0' * 64}  {WEIGHTS_FILE}\n")
    assert f"{WEIGHTS_FILE} does not match its checksum in {CHECKSUMS_FILE}" in refusal(adapter, base)


@pytest.mark.parametrize("missing", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(adapter: Path, base: BaseModel, missing: str) -> None:
    (adapter / missing).unlink()
    assert f"has no {missing}" in refusal(adapter, base)


@pytest.mark.parametrize("content", ["{", "[]", " " * 1_000_001])
def test_a_broken_configuration_is_refused(adapter: Path, base: BaseModel, content: str) -> None:
    (adapter / CONFIG_FILE).write_text(content)
    assert CONFIG_FILE in refusal(adapter, base)


def test_a_record_of_other_tokens_than_the_bases_is_refused(adapter: Path, base: BaseModel) -> None:
    write_effect(adapter, EffectRecord((1, 2, 100_000), (-1.0, -2.0), (-1.0, -3.0)))
    assert "was measured with tokens that tiny does not have" in refusal(adapter, base)
    write_effect(adapter, EffectRecord((1, 2, 3), (-1.0, -2.0), (-1.0, -3.0)))
    assert servable_config(adapter, base)
    save_file(load_file(adapter / WEIGHTS_FILE), adapter / WEIGHTS_FILE, metadata={METADATA_KEY: "[]"})
    assert "the record of what the adapter changes" in refusal(adapter, base)


def test_a_base_whose_configuration_leaves_out_the_vocabulary_takes_its_own_adapters(
    adapter: Path, base: BaseModel, tmp_path: Path
) -> None:
    folder = shutil.copytree(base.path, tmp_path / "base")
    sizes = json.loads((folder / "config.json").read_text())
    del sizes["vocab_size"]
    (folder / "config.json").write_text(json.dumps(sizes))
    short = replace(base, path=folder)
    write_effect(adapter, EffectRecord((1, 2, 3), (-1.0, -2.0), (-1.0, -3.0)))
    assert servable_config(adapter, short)
    write_effect(adapter, EffectRecord((1, 2, 100_000), (-1.0, -2.0), (-1.0, -3.0)))
    assert "was measured with tokens that tiny does not have" in refusal(adapter, short)


def test_a_truncated_file_of_weights_is_refused(adapter: Path, base: BaseModel) -> None:
    (adapter / WEIGHTS_FILE).write_bytes((adapter / WEIGHTS_FILE).read_bytes()[:100])
    assert "truncated" in refusal(adapter, base)
    save_file({}, adapter / WEIGHTS_FILE)
    assert "is empty" in refusal(adapter, base)
