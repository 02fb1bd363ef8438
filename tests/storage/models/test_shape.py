"""What a config.json tells about a model, and the table of well-known bases."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from storage.models.known_bases import known_bases
from storage.models.shape import ModelShape, kv_bytes_per_token, shape_of, vocabulary_of

HAS_MORE_EMBEDDINGS = "Gemma4ForConditionalGeneration"
"""Each layer has some of its own."""
MIXES = {"Lfm2ForCausalLM", "Qwen3_5ForConditionalGeneration"}
"""Most of their layers are not attention, and are counted as if they were."""
TINY = {
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
}


@pytest.mark.parametrize("base", known_bases(), ids=lambda base: base.name)
def test_the_table_agrees_with_the_number_of_parameters(base):
    counted = ModelShape.of(base.shape.config).parameters
    if base.architecture == HAS_MORE_EMBEDDINGS:
        assert counted < base.shape.parameters
    else:
        assert counted == pytest.approx(base.shape.parameters, rel=0.15 if base.architecture in MIXES else 0.005)


@pytest.mark.parametrize(
    ("config", "layers", "numbers"),
    [
        ({}, 6, 2 * 16),
        ({"head_dim": 32}, 6, 2 * 32),
        ({"layer_types": ["full_attention", "linear_attention"] * 3}, 3, 2 * 16),
        ({"full_attention_interval": 3}, 2, 2 * 16),  # Qwen 3.5
        ({"full_attn_idxs": [1, 4]}, 2, 2 * 16),  # LFM2
        ({"num_kv_shared_layers": 4}, 2, 2 * 16),  # Gemma 4
    ],
)
def test_only_layers_with_a_cache_of_their_own_count(config, layers, numbers):
    assert kv_bytes_per_token(TINY | config, "bfloat16") == 2 * layers * numbers * 2


def test_what_sees_is_not_counted_as_it_is_not_loaded(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"text_config": TINY}))
    layers = {"language_model.model.norm.weight": np.zeros(7), "vision_tower.norm.weight": np.zeros(9)}
    save_file(layers, tmp_path / "model.safetensors")
    assert shape_of(tmp_path).parameters == 7


def test_a_model_that_also_sees_is_described_by_its_language_model():
    assert kv_bytes_per_token({"text_config": TINY, "hidden_size": 1}, "float32") == kv_bytes_per_token(TINY, "float32")


def test_what_gemma_3_leaves_out_is_what_transformers_assumes():
    """Keys that Gemma 3 leaves out, as transformers saves only what differs from its defaults."""
    text = {"hidden_size": 2_560, "intermediate_size": 10_240, "num_hidden_layers": 34, "sliding_window": 1_024}
    architecture = "Gemma3ForConditionalGeneration"
    shape = ModelShape.of({"architectures": [architecture], "text_config": text | {"model_type": "gemma3_text"}})
    (known,) = (base.shape for base in known_bases() if base.name == "google/gemma-3-4b-it")
    assert shape.kv_bytes_per_token("bfloat16") == known.kv_bytes_per_token("bfloat16")


def test_the_stored_embedding_tells_the_vocabulary(tmp_path):
    sizes = {key: size for key, size in TINY.items() if key != "vocab_size"}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": sizes}))
    save_file({"language_model.model.embed_tokens.weight": np.zeros((7, 64))}, tmp_path / "model.safetensors")
    assert vocabulary_of(tmp_path) == 7


def test_a_cache_in_8_bits_has_a_scale_and_an_offset_for_each_head():
    assert kv_bytes_per_token(TINY, "int8") == 2 * 6 * 2 * (16 + 8)
