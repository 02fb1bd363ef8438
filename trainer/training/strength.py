"""Weakens a saved adapter. Imports torch, which takes seconds: import it late."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from storage.adapters.folder_store import WEIGHTS_FILE

UP_PROJECTION = ".lora_B."


def weaken(adapter: Path, share: float, starter: Path | None) -> None:
    """Leave this share, from 0 to 1, of what the adapter learned beyond its starter, or beyond the base."""
    learned = load_file(adapter / WEIGHTS_FILE)
    if starter is None:
        weaker = {name: weight * share if UP_PROJECTION in name else weight for name, weight in learned.items()}
    else:
        start = load_file(starter / WEIGHTS_FILE)
        weaker = {name: torch.lerp(start[name].to(weight), weight, share) for name, weight in learned.items()}
    save_file(weaker, adapter / WEIGHTS_FILE, metadata={"format": "pt"})
