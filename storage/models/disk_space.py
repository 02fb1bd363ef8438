"""Checks the disk space for a base model before it is downloaded."""

from __future__ import annotations

from pathlib import Path

from storage.errors import BaseModelError
from storage.models.base_offer import BaseOffer
from storage.models.free_memory import existing_part, free_disk
from storage.models.memory import graph_bytes
from storage.models.openvino.verifier import prefers_graphs
from storage.settings.sections import Settings
from storage.wording import format_bytes


def require_disk_space(offer: BaseOffer, settings: Settings) -> None:
    """Raise BaseModelError if the download and the graphs made from it do not fit on the disk."""
    for folder, needed in _needs(offer, settings).items():
        free = free_disk(folder)
        if needed > free:
            raise BaseModelError(
                f"{offer.name} needs {format_bytes(needed)} in {folder}, where {format_bytes(free)} are free: free "
                "some space, set HF_HOME to another disk (downloads), or change data.directory (graphs)"
            )


def _needs(offer: BaseOffer, settings: Settings) -> dict[Path, float]:
    """Return {folder: needed bytes}; folders on one disk are counted as one."""
    from huggingface_hub import constants

    shape = offer.shape if prefers_graphs(settings.model) else None
    graphs = graph_bytes(shape) if shape else 0
    needs: dict[int, tuple[Path, float]] = {}
    for folder, size in ((Path(constants.HF_HUB_CACHE), offer.download_bytes), (settings.data.directory, graphs)):
        existing = existing_part(folder)
        known, sum_ = needs.get(existing.stat().st_dev, (existing, 0))
        needs[existing.stat().st_dev] = known, sum_ + size
    return dict(needs.values())
