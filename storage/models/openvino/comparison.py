"""Compares a base's graphs with transformers, once for each base and recipe, before they answer anybody.

Runs as a separate process: it needs torch, which the bot does not.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from storage.adapters.folder_store import AdapterRef
from storage.models.hardware import silence_transformers
from storage.models.openvino.graph import build_graph
from storage.models.openvino.pipeline import MODEL_FILE, load_plain_tokenizer, properties
from storage.models.openvino.support import UnsupportedModel, graph_positions, require_supported
from storage.models.openvino.verifier import REFUSED, write_verdict

MAX_DIVERGENCE = 0.05
"""In nats per token. Rounding costs 0.005 on the bundled model; a wrong layer, position or sign costs more than 1."""
TEXTS = (
    "The sea was calm that morning, and the keeper of the lighthouse wrote down what he saw: three boats, no wind.",
    "def mean(numbers):\n    return sum(numbers) / len(numbers)\n\nprint(mean([1, 2, 3]))",
    "Hello! How are you today? - Fine, thank you. I have just made soup, do you want some of it?",
)
LONG_TEXT = " ".join(TEXTS * 4)
"""Several hundred tokens: errors at large positions do not show in short texts."""


def verify_graph(base_path: Path, dtype: str, workshop: Path) -> dict[str, float]:
    """Return the mean divergence from transformers (KL, nats per token) of the base, and of the base with an adapter.

    `dtype` is the format for serving; `workshop` is a folder for temporary files. Raises
    UnsupportedModel if one is above MAX_DIVERGENCE.
    """
    tokenizer = load_plain_tokenizer(base_path)
    most = graph_positions(require_supported(base_path))
    texts = [tokenizer.encode(text, add_special_tokens=False).ids[:most] for text in (*TEXTS, LONG_TEXT)]
    with silence_transformers():
        model = AutoModelForCausalLM.from_pretrained(base_path, dtype=torch.float32, local_files_only=True).eval()
        found = {"base": _divergence(model, _logits(base_path, None, workshop, texts, dtype), texts)}
        adapted = _adapt(model, workshop / "adapter")
        adapter = AdapterRef("verification", workshop / "adapter")
        found["adapter"] = _divergence(adapted, _logits(base_path, adapter, workshop, texts, dtype), texts)
    for what, divergence in found.items():
        if not divergence <= MAX_DIVERGENCE:  # NaN too
            raise UnsupportedModel(
                f"its logits in OpenVINO ({what}) differ from transformers' by {divergence:.3f} nats per token, "
                f"more than {MAX_DIVERGENCE}"
            )
    return found


def _adapt(model: Any, folder: Path) -> Any:
    """Write an adapter that changes every layer, and return the model with it."""
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = get_peft_model(model, config)
    adapted.save_pretrained(folder)
    return adapted.eval()


def _logits(
    base_path: Path, adapter: AdapterRef | None, folder: Path, texts: Sequence[list[int]], dtype: str
) -> list[NDArray[np.float32]]:
    """Return OpenVINO's logits of each text, (T, V)."""
    file = folder / MODEL_FILE
    ov.save_model(build_graph(base_path, adapter), file, compress_to_fp16=False)
    compiled = ov.Core().compile_model(file, "CPU", properties(dtype))
    return [_run(compiled, ids) for ids in texts]


def _run(compiled: Any, ids: list[int]) -> NDArray[np.float32]:
    """Return the logits of a text, (T, V); its second half is read with the cached keys and values of the first."""
    request, half = compiled.create_infer_request(), len(ids) // 2
    return np.concatenate([_read(request, ids[:half], 0), _read(request, ids[half:], half)])


def _read(request: Any, ids: list[int], before: int) -> NDArray[np.float32]:
    """Return the logits of these tokens, (T, V), which follow `before` others."""
    inputs = {
        "input_ids": np.array([ids], dtype=np.int64),
        "attention_mask": np.ones((1, before + len(ids)), dtype=np.int64),
        "position_ids": np.arange(before, before + len(ids), dtype=np.int64)[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }
    logits: NDArray[np.float32] = request.infer(inputs)["logits"][0].copy()
    return logits


def _divergence(model: Any, ours: Sequence[NDArray[np.float32]], texts: Sequence[list[int]]) -> float:
    """Return the mean KL divergence of our logits from the model's, in nats per token."""
    found = []
    with torch.inference_mode():
        for ids, logits in zip(texts, ours, strict=True):
            theirs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            found.append((theirs.exp() * (theirs - torch.from_numpy(logits).log_softmax(-1))).sum(-1))
    return float(torch.cat(found).mean())


def _exit_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # returns nothing once the parent has gone
        pass
    os._exit(1)


def main() -> None:
    base_path, dtype, target, workshop = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    verdict: dict[str, Any]
    try:
        verdict = verify_graph(base_path, dtype, workshop)
    except UnsupportedModel as error:
        verdict = {REFUSED: str(error)}
    write_verdict(target, verdict)


if __name__ == "__main__":
    main()
