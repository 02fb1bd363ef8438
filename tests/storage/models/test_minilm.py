"""The sentence encoder computes what its authors' code does."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertModel

from storage.errors import EncoderError
from storage.models.bundled import ENCODER_FOLDER, ENCODER_PACKAGE, BundledEncoder
from storage.models.minilm import MAX_TOKENS, MiniLM

TEXTS = ["", "My cat is sick.", "Grüße! 😀 What a *fine* day?", "and so on " * 200]


@pytest.fixture
def folder() -> Path:
    return Path(str(distribution(ENCODER_PACKAGE).locate_file(ENCODER_FOLDER)))


def test_vectors_are_those_of_transformers(folder: Path) -> None:
    tokenizer, bert = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)
    read = tokenizer(TEXTS, return_tensors="pt", padding=True, truncation=True, max_length=MAX_TOKENS)
    with torch.inference_mode():
        mask = read["attention_mask"][..., None]
        mean = (bert(**read).last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    found = MiniLM(folder).encode(TEXTS)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-5)


def test_tokens_are_counted_beyond_those_that_are_read(folder: Path) -> None:
    assert [MiniLM(folder).count_tokens(text) for text in TEXTS[::3]] == [0, 600]


def test_a_damaged_copy_says_what_to_do(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    monkeypatch.setattr("storage.models.bundled.ENCODER_FOLDER", tmp_path)
    with pytest.raises(EncoderError, match="cannot be read: run `pip install --force-reinstall"):
        BundledEncoder()
