"""An adapter changes the language model only, and everyone who loads it finds the layers under the names on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as torch_load_file
from safetensors.torch import save_file as torch_save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from bot.engine.transformers.resident_model import ResidentModel
from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.errors import AdapterError, BaseModelError
from storage.models.adapter_checks import require_base, servable_config
from storage.models.base_model import BaseModel, load_adapter, load_model, load_whole, resolve_base_model
from storage.models.layer_names import stored_matrices
from storage.settings.sections import ModelSettings, TrainingSettings
from tests.families import build_family
from trainer.training.train import load_policy, new_adapter, save_adapter

VISION = ("qwen3_5", "mistral3", "gemma3", "gemma4")
TEXT = ("qwen3", "qwen3_moe", "lfm2", "phi3")
IDS = torch.arange(5, 25).reshape(1, 20)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits.float()


def train_at_random(base: BaseModel, output: Path) -> torch.Tensor:
    """Write a new adapter with random changes, as a round writes it, and return the logits of the model in training."""
    model = get_peft_model(load_model(base, "float32"), new_adapter(base, TrainingSettings(lora_rank=4)))
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    save_adapter(model, base, output)
    return logits(model.eval())


@pytest.fixture(scope="module", params=[*VISION, *TEXT])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[BaseModel, Path, Any]:
    folder = tmp_path_factory.mktemp(request.param)
    base = resolve_base_model(str(build_family(request.param, folder / request.param)), folder / "data")
    return base, folder / "adapter", train_at_random(base, folder / "adapter")


@pytest.mark.filterwarnings("error:Found missing adapter keys")
def test_plain_peft_applies_it_to_what_transformers_makes_of_the_files(made: tuple[BaseModel, Path, Any]) -> None:
    base, adapter, trained = made
    sees = base.architecture.endswith("ForConditionalGeneration")
    build = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    plain = build.from_pretrained(base.path, dtype=torch.float32).eval()
    before = logits(plain)
    model = PeftModel.from_pretrained(plain, adapter).eval()
    adapted = {name for name, _ in model.named_parameters() if "lora_" in name}
    assert len(adapted) == len(load_file(adapter / WEIGHTS_FILE))
    assert (before - trained).abs().max() > 0.01
    torch.testing.assert_close(logits(model), trained, atol=1e-4, rtol=0)


def test_we_load_it_ourselves(made: tuple[BaseModel, Path, Any]) -> None:
    base, adapter, trained = made
    model = load_adapter(load_model(base, "float32"), adapter, base)
    assert not any("vision" in name or "visual" in name for name, _ in model.named_modules())
    torch.testing.assert_close(logits(model), trained, atol=1e-4, rtol=0)
    resident = ResidentModel(base.path, ModelSettings(dtype="float32"))
    torch.testing.assert_close(logits(resident.model_with(AdapterRef("d" * 64, adapter))), trained, atol=1e-4, rtol=0)


def test_it_names_layers_as_the_files_do_and_our_import_takes_it(made: tuple[BaseModel, Path, Any]) -> None:
    base, adapter, _ = made
    stored = {f"base_model.model.{name}" for name in stored_matrices(base.path)}
    assert {key.partition(".lora_")[0] for key in load_file(adapter / WEIGHTS_FILE)} <= stored
    assert servable_config(adapter, base)["revision"] == base.revision


def test_a_version_continues_from_it(made: tuple[BaseModel, Path, Any], tmp_path: Path) -> None:
    base, adapter, _ = made
    save_adapter(load_adapter(load_model(base, "float32"), adapter, base, is_trainable=True), base, tmp_path)
    again, before = (load_file(folder / WEIGHTS_FILE) for folder in (tmp_path, adapter))
    assert {key: weight.tobytes() for key, weight in again.items()} == {k: w.tobytes() for k, w in before.items()}


def test_an_adapter_of_another_base_of_the_same_shape_is_refused(made: tuple[BaseModel, Path, Any]) -> None:
    base, adapter, _ = made
    other = replace(base, revision="0" * 16)
    for check in (servable_config, require_base):
        with pytest.raises(AdapterError, match=f"not on {base.name} \\({'0' * 16}"):
            check(adapter, other)


@pytest.fixture
def gemma3(tmp_path: Path) -> BaseModel:
    return resolve_base_model(str(build_family("gemma3", tmp_path / "gemma3")), tmp_path / "data")


def test_an_adapter_that_changes_the_vision_tower_is_refused(gemma3: BaseModel, tmp_path: Path) -> None:
    train_at_random(gemma3, tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / WEIGHTS_FILE)
    tower = "vision_tower.encoder.layers.0.mlp.fc1"
    key = f"base_model.model.{tower}.lora_A.weight"
    save_file(weights | {key: next(iter(weights.values()))}, tmp_path / "adapter" / WEIGHTS_FILE)
    with pytest.raises(AdapterError, match=f"changes {tower}, a part of gemma3 that sees or hears, or an expert"):
        servable_config(tmp_path / "adapter", gemma3)


def test_language_weights_that_are_missing_are_not_made_up(gemma3: BaseModel) -> None:
    weights = torch_load_file(gemma3.path / "model.safetensors")
    weights.pop("language_model.model.norm.weight")
    torch_save_file(weights, gemma3.path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match=r"lacks 1 weights, such as model\.norm\.weight"):
        load_model(gemma3, "float32")


def test_only_the_whole_model_may_say_that_the_output_layer_is_the_embedding(gemma3: BaseModel) -> None:
    config = json.loads((gemma3.path / "config.json").read_text())
    config["text_config"]["tie_word_embeddings"] = False
    (gemma3.path / "config.json").write_text(json.dumps(config))
    model = load_model(gemma3, "float32")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_layers_that_only_predict_further_tokens_are_no_targets(tmp_path: Path) -> None:
    folder = build_family("llama3", tmp_path / "llama3")
    weights = torch_load_file(folder / "model.safetensors")
    extra = {f"model.layers.2.self_attn.{one}_proj.weight": torch.zeros(64, 64) for one in "qo"}
    torch_save_file(weights | extra, folder / "model.safetensors", metadata={"format": "pt"})
    base = resolve_base_model(str(folder), tmp_path / "data")
    train_at_random(base, tmp_path / "adapter")
    targets = servable_config(tmp_path / "adapter", base)["target_modules"]
    assert "k_proj" in targets
    assert "layers.1.self_attn.q_proj" in targets


def test_a_vision_language_model_without_a_text_model_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "qwen3_vl"
    config = transformers.Qwen3VLConfig(architectures=["Qwen3VLForConditionalGeneration"])
    config.save_pretrained(folder)
    with pytest.raises(BaseModelError, match=r"has no text model for Qwen3VLForConditionalGeneration in .*: set model"):
        load_whole(folder, "float32")


def test_a_mixture_of_experts_says_what_it_does_not_train(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = resolve_base_model(str(build_family("qwen3_moe", tmp_path / "moe")), tmp_path / "data")
    with caplog.at_level("INFO"):
        load_policy(base, None, TrainingSettings(dtype="float32"), longest=8)
    assert "moe is a mixture of experts: rounds train k_proj, o_proj, q_proj, v_proj only" in caplog.text
