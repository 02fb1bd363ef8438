"""Compares a base's graphs with transformers, once for each base and recipe, before they answer anybody.

Runs as a separate process: it needs torch, which the bot does not.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from openvino._offline_transformations import paged_attention_transformation
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.errors import BaseModelError
from storage.models.adapter_checks import layer_of
from storage.models.base_model import load_whole
from storage.models.effect import TEXT
from storage.models.hardware import silence_transformers
from storage.models.layer_names import LayerNames
from storage.models.openvino.architectures import Decoder
from storage.models.openvino.graph import build_graph
from storage.models.openvino.pipeline import MODEL_FILE, BaseEffect, load_plain_tokenizer, properties
from storage.models.openvino.support import UnsupportedModel, require_supported
from storage.models.openvino.verifier import REFUSED, write_verdict

Logits = NDArray[np.float32]

MAX_DIVERGENCE = {"int8": 0.05, "int4": 0.7}
"""In nats per token. On a model of 135M, rounding costs 0.005 with 8 bits and up to 0.5 with 4, and less on larger
ones; a wrong layer, position or sign costs more than 1."""
PAGED, WINDOW_INPUT = "PagedAttentionExtension", 10
"""What OpenVINO GenAI makes of a layer's attention, and which of its inputs is the window."""
TEXTS = (
    "The sea was calm that morning, and the keeper of the lighthouse wrote down what he saw: three boats, no wind.",
    "def mean(numbers):\n    return sum(numbers) / len(numbers)\n\nprint(mean([1, 2, 3]))",
    "Hello! How are you today? - Fine, thank you. I have just made soup, do you want some of it?",
)
LONG_TEXT = " ".join(TEXTS * 4)
"""Several hundred tokens: errors at large positions do not show in short texts."""


@dataclass(frozen=True)
class GraphComparison:
    base: float
    """Mean divergence of the base's graph from transformers (KL, nats per token)."""
    adapter: float
    """The same of the base with an adapter."""
    effect: BaseEffect


def verify_graph(base_path: Path, dtype: str, weight_format: str, workshop: Path) -> GraphComparison:
    """Return how far graphs are from transformers, and what the base's graph says of the text that checks versions.

    `dtype` is the format for serving; `workshop` is a folder for temporary files. Raises UnsupportedModel if one is
    above the format's MAX_DIVERGENCE.
    """
    tokenizer = load_plain_tokenizer(base_path)
    decoder = require_supported(base_path)
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in (*TEXTS, LONG_TEXT)]
    texts = [ids[: decoder.positions] for ids in encoded]
    adapter = AdapterRef("verification", workshop / "adapter")
    checked = _as_the_trainer_reads(base_path, TEXT)[: decoder.positions]
    theirs = _transformers_logits(base_path, adapter.path, texts)  # one model in memory at a time
    found: dict[str, float] = {}
    effects: list[BaseEffect] = []
    for what, version in {"base": None, "adapter": adapter}.items():
        ov.save_model(build_graph(base_path, version, weight_format), workshop / MODEL_FILE, compress_to_fp16=False)
        *ours, of_checked = _logits(workshop / MODEL_FILE, [*texts, checked], dtype)
        found[what] = _divergence(theirs.pop(what), ours)
        effects.append(BaseEffect(tuple(checked), _log_probabilities(of_checked, checked)))
    _require_windows(workshop / MODEL_FILE, decoder)
    for what, divergence in found.items():
        if not divergence <= MAX_DIVERGENCE[weight_format]:  # NaN too
            raise UnsupportedModel(
                f"its logits in OpenVINO ({what}) differ from transformers' by {divergence:.3f} nats per token, "
                f"more than {MAX_DIVERGENCE[weight_format]}"
            )
    return GraphComparison(found["base"], found["adapter"], effects[0])


def _as_the_trainer_reads(base_path: Path, text: str) -> list[int]:
    """Return the tokens of a text, with the first one that the base expects."""
    with silence_transformers():
        from transformers import AutoTokenizer

        return list(AutoTokenizer.from_pretrained(base_path, local_files_only=True)(text)["input_ids"])


def _log_probabilities(logits: Logits, tokens: Sequence[int]) -> tuple[float, ...]:
    """Return the log-probability of each token except the first, in nats, given logits, (T, V)."""
    every = torch.from_numpy(logits[:-1]).log_softmax(-1)
    return tuple(every.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist())


def _transformers_logits(base_path: Path, adapter: Path, texts: Sequence[list[int]]) -> dict[str, list[Logits]]:
    """Write an adapter that changes every layer; return the logits of each text without and with it, (T, V)."""
    with silence_transformers():
        model = _load(base_path)
        _compute_in_float32(model)
        plain = _read_all(model, texts)
        return {"base": plain, "adapter": _read_all(_adapt(model, base_path, adapter), texts)}


def _load(base_path: Path) -> Any:
    try:
        return load_whole(base_path, "auto")
    except BaseModelError:
        raise
    except Exception as error:  # damaged files make transformers raise all kinds of errors
        said = " ".join(str(error).split())
        raise BaseModelError(f"transformers cannot load {base_path} ({said}): copy the model again") from error


def _compute_in_float32(model: Any) -> None:
    """Let each layer compute in float32, whatever it is stored as: float32 weights of a 3B base would take 12 GB."""

    def widen(module: Any, _inputs: object) -> None:
        module.stored = {name: parameter.data for name, parameter in module.named_parameters(recurse=False)}
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.float()

    def narrow(module: Any, _inputs: object, _output: object) -> None:
        for name, parameter in module.named_parameters(recurse=False):
            parameter.data = module.stored.pop(name)

    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.register_forward_pre_hook(widen)
            module.register_forward_hook(narrow)
        else:
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.float()


def _adapt(model: Any, base_path: Path, folder: Path) -> Any:
    """Write an adapter of every linear layer, named as in the base's files, and return the model with it."""
    names = LayerNames(base_path)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=names.trainable, init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = get_peft_model(model, config)
    weights = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    layers = {key: layer_of(key) for key in weights}
    stored = {key.replace(layer, names.stored[layer]): weights[key].contiguous() for key, layer in layers.items()}
    folder.mkdir(exist_ok=True)
    save_file(stored, folder / WEIGHTS_FILE)
    saved = copy(config)
    saved.target_modules = [names.stored[layer] for layer in names.trainable]
    saved.save_pretrained(folder)
    return adapted.eval()


def _read_all(model: Any, texts: Sequence[list[int]]) -> list[Logits]:
    with torch.inference_mode():
        return [model(torch.tensor([ids])).logits[0].numpy() for ids in texts]


def _logits(file: Path, texts: Sequence[list[int]], dtype: str) -> list[Logits]:
    """Return the logits that a graph gives for each text, (T, V)."""
    compiled = ov.Core().compile_model(file, "CPU", properties(dtype))
    return [_run(compiled, ids) for ids in texts]


def _run(compiled: Any, ids: list[int]) -> Logits:
    """Return the logits of a text, (T, V); its second half is read with the cached keys and values of the first."""
    request, half = compiled.create_infer_request(), len(ids) // 2
    return np.concatenate([_read(request, ids[:half], 0), _read(request, ids[half:], half)])


def _read(request: Any, ids: list[int], before: int) -> Logits:
    """Return the logits of these tokens, (T, V), which follow `before` others."""
    inputs = {
        "input_ids": np.array([ids], dtype=np.int64),
        "attention_mask": np.ones((1, before + len(ids)), dtype=np.int64),
        "position_ids": np.arange(before, before + len(ids), dtype=np.int64)[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }
    logits: Logits = request.infer(inputs)["logits"][0].copy()
    return logits


def _require_windows(file: Path, decoder: Decoder) -> None:
    """Raise UnsupportedModel if OpenVINO GenAI, which replaces the masks of a graph, does not find its windows."""
    paged = ov.Core().read_model(file)
    paged_attention_transformation(paged)
    found = [node.input_value(WINDOW_INPUT).get_node() for node in paged.get_ops() if node.get_type_name() == PAGED]
    windowed = [one for one in found if one.get_type_name() != "Constant" or one.data.any()]
    if len(windowed) != sum(layer.window > 0 for layer in decoder.layers):
        raise UnsupportedModel("this release of OpenVINO GenAI does not see that some of its layers have a window")


def _divergence(theirs: Sequence[Logits], ours: Sequence[Logits]) -> float:
    """Return the mean KL divergence of our logits from theirs, in nats per token."""
    found = []
    for reference, logits in zip(theirs, ours, strict=True):
        expected, given = (torch.from_numpy(one).log_softmax(-1) for one in (reference, logits))
        found.append((expected.exp() * (expected - given)).sum(-1))
    return float(torch.cat(found).mean())


def _exit_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # returns nothing once the parent has gone
        pass
    os._exit(1)


def main() -> None:
    base_path, dtype, weight_format = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    target, workshop = Path(sys.argv[4]), Path(sys.argv[5])
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    verdict: dict[str, Any]
    try:
        verdict = asdict(verify_graph(base_path, dtype, weight_format, workshop))
    except UnsupportedModel as error:
        verdict = {REFUSED: str(error)}
    write_verdict(target, verdict)


if __name__ == "__main__":
    main()
