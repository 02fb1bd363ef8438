from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.hardware import silence_transformers
from tests.tiny_model import build_tiny_base
from tests.trainer.evaluation.test_evaluate import teach


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A tiny model that answers in a whole sentence; the untaught one babbles."""
    folder = tmp_path_factory.mktemp("base")
    tiny = build_tiny_base(folder / "tiny")
    with silence_transformers():
        model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(tiny)
        teach(model, tokenizer, "I am fine, thank you.<|im_end|>", steps=150, learning_rate=1e-2)
        model.save_pretrained(tiny)
    return resolve_base_model(str(tiny), folder / "data")
