"""Converts a packaged model to a folder with a tokenizer and safetensors, in steps, completely or not at all."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from storage.errors import BaseModelError
from storage.files import sync_to_disk
from storage.models.libraries import broken_library, silence_transformers

TEMPLATE_FILE = "chat_template.jinja"

Report = Callable[[str], None]
Step = Callable[[Path], None]


def run_steps(
    steps: Mapping[str, Step],
    target: Path,
    staging: Path,
    report: Report,
    *,
    what: str = "base model",
    seconds: int = 20,
) -> None:
    """Fill `target` by steps that each write to the folder they receive; after a crash, finished steps are skipped.

    `target` appears complete or not at all. Raises BaseModelError.
    """
    model = staging / "model"
    try:
        model.mkdir(parents=True, exist_ok=True)
        for name, step in steps.items():
            finished = staging / f"{name}.finished"
            if finished.exists():
                continue
            report(f"Converting the {what} (about {seconds} s, once): {name}")
            step(model)
            sync_to_disk(model)
            finished.touch()
        model.replace(target)
        shutil.rmtree(staging)
    except Exception as error:
        # Not only OSError: tokenizers and safetensors report a full disk with their own errors.
        raise BaseModelError(
            broken_library(error)
            or f"the {what} cannot be written to {target.parent} ({getattr(error, 'strerror', None) or error}): "
            "free 600 MB there or change data.directory, then start again"
        ) from error


def conversion_steps(source: Path) -> dict[str, Step]:
    """Return the steps for `run_steps` that convert a GGUF file."""
    return {
        "tokenizer": lambda folder: _convert_tokenizer(source, folder),
        "weights": lambda folder: _convert_weights(source, folder),
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
