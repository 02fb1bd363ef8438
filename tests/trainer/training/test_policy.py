"""An adapter changes the language model only, and everyone who loads it finds the layers under the names on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from bot.engine.transformers.resident_model import ResidentModel
from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.models.adapter_checks import servable_config
from storage.models.base_model import BaseModel, load_adapter, load_model, resolve_base_model
from storage.settings.sections import ModelSettings, TrainingSettings
from tests.families import BY_NAME, build_family
from trainer.training.policy import new_adapter, save_adapter

VISION = ("qwen3_5", "mistral3", "gemma3", "gemma4")
TEXT = ("qwen3", "qwen3_moe", "lfm2", "phi3")
IDS = torch.arange(5, 25).reshape(1, 20)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits.float()


def train_at_random(base: BaseModel, output: Path) -> torch.Tensor:
    """Write a new adapter with random changes, as a round writes it, and return the logits of the model in training."""
    model = get_peft_model(load_model(base, "float32"), new_adapter(base, TrainingSettings(lora_rank=4, lora_alpha=8)))
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


def test_our_import_takes_it(made: tuple[BaseModel, Path, Any]) -> None:
    base, adapter, _ = made
    assert servable_config(adapter, base)["revision"] == base.revision
