"""Compares a base's graphs with transformers, once for each base and recipe, before they answer anybody.

Runs as a separate process: it needs torch, which the bot does not.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from storage.adapters.folder_store import AdapterRef
from storage.files import sync_file
from storage.models.base_model import BaseModel
from storage.models.hardware import has_gpu, import_error_in, serving_format, silence_transformers
from storage.models.openvino.graph import build_graph
from storage.models.openvino.pipeline import MODEL_FILE, graph_folder, load_plain_tokenizer, properties
from storage.models.openvino.support import UnsupportedModel, graph_positions, require_supported, unsupported_because
from storage.runtime.processes import DETACHED
from storage.settings.sections import ModelSettings

log = logging.getLogger(__name__)


MAX_DIVERGENCE = 0.05
"""In nats per token. Rounding costs 0.005 on the bundled model; a wrong layer, position or sign costs more than 1."""
TEXTS = (
    "The sea was calm that morning, and the keeper of the lighthouse wrote down what he saw: three boats, no wind.",
    "def mean(numbers):\n    return sum(numbers) / len(numbers)\n\nprint(mean([1, 2, 3]))",
    "Hello! How are you today? - Fine, thank you. I have just made soup, do you want some of it?",
)
LONG_TEXT = " ".join(TEXTS * 9)
"""Several hundred tokens: errors at large positions do not show in short texts."""


def verify_graph(base_path: Path, dtype: str, workshop: Path) -> dict[str, float]:
    """Return the mean divergence from transformers (KL, nats per token) of the base, and of the base with an adapter.

    `dtype` is the format for serving, bfloat16 or float32; `workshop` is a folder for temporary files. Raises
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


REFUSED = "refused"
"""Key of a verdict whose value is the reason."""
TOO_LARGE = "comparing it with transformers took more memory than there is; to try again, delete data/engine"
KILLED = -9
"""By the operating system, out of memory."""


def prefers_graphs(settings: ModelSettings) -> bool:
    """Return whether OpenVINO should answer if it can; "auto" leaves a GPU to transformers."""
    return settings.engine == "openvino" or (settings.engine == "auto" and not has_gpu())


class Verifier:
    """Compares the graphs with transformers in a separate process, which needs torch; the bot does not."""

    def __init__(self, base: BaseModel, data_directory: Path, settings: ModelSettings) -> None:
        self._base = base
        self._data_directory = data_directory
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._is_cancelled = False

    def require(self) -> Path:
        """Return the folder of graphs that may be used; raises UnsupportedModel with the reason if they may not.

        Takes up to half a minute if they were not compared yet; any thread may call `cancel` in the meantime.
        """
        reason = self.verdict
        try:
            if reason is None:
                reason = self._find_out()
        except (OSError, Timeout) as error:
            raise UnsupportedModel(f"its graphs cannot be stored in {self._data_directory} ({error})") from error
        if reason:
            raise UnsupportedModel(reason)
        return self._folder

    @property
    def verdict(self) -> str | None:
        """Why the graphs were refused, "" if they were accepted, None if they were not compared yet.

        Raises UnsupportedModel if there is nothing to compare.
        """
        if reason := unsupported_because(self._base, self._settings):
            raise UnsupportedModel(reason)
        if find_spec("openvino_genai") is None:
            missing = ModuleNotFoundError("it is not installed", name="openvino_genai")
            raise UnsupportedModel("OpenVINO GenAI is not installed (pip install openvino-genai)") from missing
        return _reason_in(self._file)

    def cancel(self) -> None:
        """End a comparison in progress, and any later one, with UnsupportedModel."""
        self._is_cancelled = True
        if self._process:
            self._process.kill()

    @property
    def _folder(self) -> Path:
        return graph_folder(self._base, self._data_directory)

    @property
    def _file(self) -> Path:
        return self._folder / f"verified-{serving_format(self._settings)}.json"

    def _find_out(self) -> str:
        """Compare, unless another process has just done so; return why the graphs are refused, or ""."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".verified.lock").acquire(cancel_check=lambda: self._is_cancelled):
            if _reason_in(self._file) is None:
                log.info(
                    "Comparing OpenVINO with transformers on %s, once for each base model: about half a minute for the "
                    "bundled one on two cores.",
                    self._base.name,
                )
                self._compare(self._file)
                _remove_others(self._folder)
        return _reason_in(self._file) or ""

    def _compare(self, verdict: Path) -> None:
        workshop = verdict.parent / ".comparing"  # the process may be killed at any moment: its files stay in here
        try:
            workshop.mkdir(exist_ok=True)
            code, errors = self._run_comparison(verdict, workshop)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        if self._is_cancelled:
            raise UnsupportedModel("the comparison with transformers was cancelled")
        if code == KILLED:
            write_verdict(verdict, {REFUSED: TOO_LARGE})  # the next start would run out of memory again
        elif code:
            last_words = errors.strip().rpartition("\n")[2]
            raise UnsupportedModel(
                f"its graph could not be compared with transformers: {last_words}"
            ) from import_error_in(last_words)

    def _run_comparison(self, verdict: Path, workshop: Path) -> tuple[int, str]:
        """Return the exit code of the process, and what it wrote to standard error."""
        arguments = str(self._base.path), serving_format(self._settings), str(verdict), str(workshop)
        with subprocess.Popen(
            [sys.executable, "-m", "storage.models.openvino.verifier", *arguments],
            stdin=subprocess.PIPE,  # the process ends when this one does
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **DETACHED,  # Ctrl-C must not look like a verdict
        ) as process:
            self._process = process
            if self._is_cancelled:
                process.kill()
            assert process.stderr is not None
            errors = process.stderr.read()
            return process.wait(), errors


def write_verdict(verdict: Path, found: Mapping[str, object]) -> None:
    """Write the whole file or nothing."""
    staging = verdict.with_suffix(".staging")
    staging.write_text(json.dumps(found), encoding="utf-8")
    sync_file(staging)
    staging.replace(verdict)


def _reason_in(verdict: Path) -> str | None:
    """Return why the graphs were refused, "" if they were accepted, None without a readable verdict."""
    try:
        found: dict[str, str] = json.loads(verdict.read_text(encoding="utf-8"))
        return found.get(REFUSED, "")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _remove_others(folder: Path) -> None:
    """Remove graphs of other bases, recipes and OpenVINO releases: they take gigabytes and are quick to rebuild."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
