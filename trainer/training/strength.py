"""Saves weaker copies of adapters, and their measured effect. Import it late: torch takes seconds to import."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from storage.adapters.folder_store import CONFIG_FILE, WEIGHTS_FILE
from storage.models.base_model import BaseModel, load_adapter, load_on_device, load_tokenizer
from storage.models.effect import UP_PROJECTION, measure_effect, write_effect
from storage.models.hardware import cpu_threads, silence_transformers, training_format
from storage.settings.sections import TrainingSettings


def save_weaker(adapter: Path, folder: Path, share: float, starter: Path | None) -> None:
    """Save the adapter to the folder with this share, 0 to 1, of its change to its starter or the base."""
    learned = load_file(adapter / WEIGHTS_FILE)
    if starter is None:
        weaker = {name: weight * share if UP_PROJECTION in name else weight for name, weight in learned.items()}
    else:
        start = load_file(starter / WEIGHTS_FILE)
        weaker = {name: torch.lerp(start[name].to(weight), weight, share) for name, weight in learned.items()}
    shutil.copyfile(adapter / CONFIG_FILE, folder / CONFIG_FILE)
    save_file(weaker, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def record_effect(adapter: Path, base: BaseModel, settings: TrainingSettings) -> None:
    """Measure a saved adapter's effect and write it into its file."""
    with cpu_threads(settings.threads), silence_transformers():
        model = load_on_device(base.path, training_format(settings), settings.quantization, setting="training.dtype")
        write_effect(adapter, measure_effect(load_adapter(model, adapter, base), load_tokenizer(base)))
