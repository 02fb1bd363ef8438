"""How much memory of a GPU an engine and a round take."""

from __future__ import annotations

from storage.models.free_memory import FreeMemory
from storage.models.hardware import serving_format
from storage.models.memory import NumberFormat, loaded_bytes, serving_bytes
from storage.models.seeing import full_load
from storage.models.shape import ModelShape
from storage.settings.sections import Settings
from trainer.training.memory_plan import USUAL, RoundMemory, longest_pair


def answering_room(shape: ModelShape, settings: Settings, *, is_loaded: bool) -> float:
    """Return the bytes that an engine on a GPU may still take: for a full batch, and its weights unless loaded."""
    format_ = NumberFormat(serving_format(settings.model), settings.model.quantization)
    load = full_load(settings)
    whole = serving_bytes(shape, format_, load, on_gpu=True)
    return whole - loaded_bytes(shape, format_, load) if is_loaded else whole


def memory_needed(shape: ModelShape, settings: Settings) -> int:
    """Return the bytes of GPU memory that a round needs: with the usual plan, for the longest pair that can occur."""
    longest = longest_pair(settings.training.max_tokens, settings.generation.max_new_tokens)
    return RoundMemory(shape, settings.training, FreeMemory(0, 0, is_gpu=True)).needed([longest], USUAL)
