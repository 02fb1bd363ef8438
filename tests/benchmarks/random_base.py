"""Base models of the real architectures and sizes, with random weights: no hub is needed to measure what they cost.

Weights are written layer by layer in bfloat16, so that a model of 8 billion parameters takes two gigabytes of memory.
Their scales keep numbers as they are in trained models: activations and logits are of the order of 1.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.errors import SettingsError
from storage.settings.sections import TrainingSettings
from tests.tiny_model import CHAT_TEMPLATE, SENTENCES, SPECIAL_TOKENS, trained_tokenizer
from trainer.evaluation.measures import retention_text

QWEN3, QWEN2, SMOLLM3 = "qwen3", "qwen2", "smollm3"
SEED = 0
SPARE_BYTES = 2**30
"""Room left on the disk beside a base: for adapters, and what is being written."""


def _shape(kind: str, layers: int, width: int, inner: int, heads: int, groups: int, words: int, **others: Any) -> Any:
    return MappingProxyType(
        {
            "model_type": kind,
            "num_hidden_layers": layers,
            "hidden_size": width,
            "intermediate_size": inner,
            "num_attention_heads": heads,
            "num_key_value_heads": groups,
            "vocab_size": words,
            "tie_word_embeddings": True,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "pad_token_id": 0,  # as in SPECIAL_TOKENS
            "bos_token_id": 1,
            "eos_token_id": 2,
            **others,
        }
    )


SHAPES: Mapping[str, Mapping[str, Any]] = {
    "tiny": _shape(QWEN3, 2, 64, 128, 4, 2, 512, head_dim=16),
    "small": _shape(QWEN3, 8, 512, 1_536, 8, 4, 32_000, head_dim=64),
    "0.6b": _shape(QWEN3, 28, 1_024, 3_072, 16, 8, 151_936, head_dim=128),  # Qwen3-0.6B
    "1.7b": _shape(QWEN3, 28, 2_048, 6_144, 16, 8, 151_936, head_dim=128),  # Qwen3-1.7B
    "3b": _shape(QWEN2, 36, 2_048, 11_008, 16, 2, 151_936),  # Qwen2.5-3B
    "smollm3": _shape(SMOLLM3, 36, 2_048, 11_008, 16, 4, 128_256),  # SmolLM3-3B
    "4b": _shape(QWEN3, 36, 2_560, 9_728, 32, 8, 151_936, head_dim=128),  # Qwen3-4B
    "8b": _shape(QWEN3, 36, 4_096, 12_288, 32, 8, 151_936, head_dim=128, tie_word_embeddings=False),  # Qwen3-8B
}


def write_random_base(size: str, folder: Path) -> int:
    """Write a complete chat model of that size into the new folder and return its number of parameters.

    The same files come out every time. Raises SettingsError if the size is unknown or the disk has no room for it.
    """
    if size not in SHAPES:
        raise SettingsError(f"{size!r} is no size: use {', '.join(SHAPES)}, or the folder of a model")
    model = outline(SHAPES[size])
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    parameters = sum(map(math.prod, shapes.values()))
    folder.mkdir(parents=True)
    _require_room(size, 2 * parameters, folder)
    _write_tokenizer(folder, model.config.vocab_size)
    _write_weights(shapes, model.config.num_hidden_layers, folder)
    model.config.save_pretrained(folder)
    return parameters


def outline(shape: Mapping[str, Any]) -> Any:
    """Return the model without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**shape)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    config.architectures = [type(model).__name__]
    config.dtype = "bfloat16"
    return model


def _require_room(size: str, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise SettingsError(
            f"a base of size {size} needs {(needed + SPARE_BYTES) / 1e9:.0f} GB in {folder.parent}, which has "
            f"{free / 1e9:.0f} GB free: make room, or set TMPDIR to a folder on a larger disk"
        )


def _write_weights(shapes: Mapping[str, tuple[int, ...]], layers: int, folder: Path) -> None:
    """Write a file for each layer, and one for each matrix outside the layers."""
    import torch
    from safetensors.torch import save_file

    parts = [list(names) for _, names in groupby(shapes, key=_part_of)]
    places: dict[str, str] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for number, names in enumerate(parts, 1):
            file = f"model-{number:05}-of-{len(parts):05}.safetensors"
            weights = {name: _random(name, shapes[name], layers) for name in names}
            save_file(weights, folder / file, metadata={"format": "pt"})
            places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": 2 * sum(map(math.prod, shapes.values()))}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _part_of(name: str) -> str:
    head, layer, rest = name.partition("layers.")
    return f"{head}{layer}{rest.split('.')[0]}" if layer else name


def _random(name: str, shape: tuple[int, ...], layers: int) -> Any:
    """Return a weight that keeps what it multiplies at its scale; what is added to the stream shares it (GPT-2)."""
    import torch

    weight = torch.empty(shape, dtype=torch.bfloat16)
    if len(shape) == 1:
        return weight.fill_(0.0 if name.endswith("bias") else 1.0)
    scale = 1.0 if not name.endswith(("o_proj.weight", "down_proj.weight")) else 1 / math.sqrt(2 * layers)
    return weight.normal_(std=scale / math.sqrt(shape[1]))


def _write_tokenizer(folder: Path, words: int) -> None:
    """Write a ChatML tokenizer that knows a little English, and a made-up word for each row of the vocabulary."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    named = {"eos": "<|im_end|>", "bos": "<|im_start|>", "pad": "<|endoftext|>"}
    text = [*SENTENCES, retention_text()]
    learned = trained_tokenizer(text, SPECIAL_TOKENS, **named, tokens=min(words, 2_000))
    whole = json.loads(learned.backend_tokenizer.to_str())
    known = whole["model"]["vocab"]
    known |= {f"Ġword{number}": number for number in range(len(known), words)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(whole)), **{f"{name}_token": one for name, one in named.items()}
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)


def write_random_adapter(base: Path, folder: Path, seed: int) -> AdapterRef:
    """Write an adapter as a round of the default settings makes one, which changes every layer by a tenth."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file
    from transformers import AutoConfig

    settings = TrainingSettings()
    model = outline(AutoConfig.from_pretrained(base, local_files_only=True).to_dict())
    layers = {name: module for name, module in model.named_modules() if type(module) is torch.nn.Linear}
    layers.pop("lm_head", None)
    chance = torch.Generator().manual_seed(seed)
    weights = {}
    for name, layer in layers.items():
        outputs, inputs = layer.weight.shape
        down = torch.randn(settings.lora_rank, inputs, generator=chance) / math.sqrt(inputs)
        up = torch.randn(outputs, settings.lora_rank, generator=chance) * 0.01
        weights |= {f"base_model.model.{name}.lora_{part}.weight": matrix for part, matrix in (("A", down), ("B", up))}
    folder.mkdir(parents=True)
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        target_modules=sorted({name.rpartition(".")[2] for name in layers}),
        task_type="CAUSAL_LM",
        inference_mode=True,
    ).save_pretrained(folder)
    return AdapterRef(hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest(), folder)
