"""The base model and the adapters in memory. Imports torch: only the model's own thread imports this module."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from bot.engine.transformers.decoding import DecodingRow, Report, generate
from bot.engine.transformers.merged_layers import AdaptedLayers
from bot.errors import BotError
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import end_ids, load_whole
from storage.models.hardware import serving_format, torch_device, usable_cores
from storage.models.libraries import silence_transformers
from storage.settings.sections import ModelSettings

log = logging.getLogger(__name__)

MERGE_AFTER = 4
"""Batches in a row after which their adapter is merged; it takes a moment, and ends when another one speaks."""
FEW_TOKENS = 2
"""Up to so many at once, PyTorch's own products of bfloat16 are quicker than oneDNN's, twice for one token."""


class AdapterMismatch(BotError):
    def __init__(self, adapter: AdapterRef, keys: list[str]) -> None:
        super().__init__(
            f"the adapter in {adapter.path} does not fit the base model: {len(keys)} keys differ, such as {keys[0]}"
        )
        self.adapter = adapter
        self.keys = keys


class ResidentModel:
    """A base model that answers as itself or through one of the adapters kept in memory, on the GPU where there is one.

    Not thread-safe: its thread loads, swaps and generates.
    """

    def __init__(self, base_path: Path, settings: ModelSettings) -> None:
        """Load the base model; raises what transformers raises where the folder does not hold one."""
        torch.set_num_threads(settings.threads or _threads())
        transformers_logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(base_path, local_files_only=True)
        self._base = _load_base(base_path, serving_format(settings))
        self.end_ids = end_ids(base_path, self.tokenizer)
        self._layers = AdaptedLayers(self._base)
        self._wrapped: Any = None
        """PEFT's model around the base, which knows the adapters; None without any."""
        self._resident: OrderedDict[str, None] = OrderedDict()
        self._capacity = settings.resident_adapters
        self._speaker: AdapterRef | None = None
        self._batches = 0
        """In a row through the speaker."""

    @property
    def adapters(self) -> int:
        """How many are in memory."""
        return len(self._resident)

    def answer(self, adapter: AdapterRef | None, rows: Sequence[DecodingRow], report: Report) -> None:
        """Answer a batch with `adapter`, or as the base; raises as `speaking_through` does."""
        generate(self.speaking_through(adapter), rows, self.end_ids, report)

    def speaking_through(self, adapter: AdapterRef | None) -> Any:
        """Return the transformers model that answers a batch with `adapter`, or as the base, until the next call.

        Raises AdapterMismatch, or what peft raises on a folder that holds no adapter; the others stay usable.
        """
        if adapter != self._speaker:
            self._switch(adapter)
        self._batches += 1
        if adapter and self._batches == MERGE_AFTER + 1 and self._layers.can_be_merged:
            self._layers.put(self._layers.merged(_name(adapter)))
        return self._base

    def _switch(self, adapter: AdapterRef | None) -> None:
        """Let another speak; where its adapter cannot be loaded, the base does."""
        self._speaker, self._batches = None, 0
        self._layers.put(self._layers.adaptable)  # PEFT looks for them in the model
        try:
            if adapter:
                self._activate(adapter)
            self._speaker = adapter
        finally:
            if self._speaker is None:
                self._layers.put(self._layers.original)

    def _activate(self, adapter: AdapterRef) -> None:
        name = _name(adapter)
        if name not in self._resident:
            self._load(adapter)
        self._resident.move_to_end(name)
        self._wrapped.set_adapter(name, inference_mode=True)
        self._evict()

    def _load(self, adapter: AdapterRef) -> None:
        try:
            with silence_transformers():  # peft asks transformers for an attribute by its deprecated name
                self._inject(adapter)
        except Exception:
            self._remove(_name(adapter))
            raise
        finally:
            self._layers = AdaptedLayers(self._base)
        self._resident[_name(adapter)] = None
        log.info("loaded adapter %s", _name(adapter))

    def _inject(self, adapter: AdapterRef) -> None:
        name = _name(adapter)
        if self._wrapped is None:
            config = PeftConfig.from_pretrained(str(adapter.path))
            config.inference_mode = True
            # Not PeftModel.from_pretrained: if its weights fail to load, it leaves a half-wrapped base behind.
            self._wrapped = PeftModel(self._base, config, adapter_name=name)
        result = self._wrapped.load_adapter(str(adapter.path), adapter_name=name, torch_device=str(self._base.device))
        if keys := [*result.missing_keys, *result.unexpected_keys]:
            raise AdapterMismatch(adapter, keys)
        for module in self._wrapped.modules():
            if isinstance(module, LoraLayer) and name in module.scaling:
                module.scaling[name] *= adapter.strength

    def _remove(self, name: str) -> None:
        if self._wrapped is None or name not in self._wrapped.peft_config:
            return
        if len(self._wrapped.peft_config) == 1:
            # peft cannot hold a model without any adapter.
            self._base = self._wrapped.unload()
            self._wrapped = None
        else:
            self._wrapped.delete_adapter(name)

    def _evict(self) -> None:
        while len(self._resident) > self._capacity:
            name, _ = self._resident.popitem(last=False)
            self._wrapped.delete_adapter(name)
            log.info("dropped adapter %s", name)


def _threads() -> int:
    """Leave a core to others: threads that share one with other work keep all the rest waiting."""
    return min(torch.get_num_threads(), max(1, usable_cores() - 1))


def _load_base(path: Path, dtype: str) -> Any:
    """Return the transformers model, ready to generate."""
    model = load_whole(path, dtype)
    # Requests say how to sample: the folder's own defaults must not mix in.
    model.generation_config = GenerationConfig()
    model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    if model.dtype == torch.bfloat16:
        model.register_forward_pre_hook(_choose_kernels, with_kwargs=True)
        model.register_forward_hook(_restore_kernels, always_call=True)
    return model.to(torch_device())


def _choose_kernels(_model: Any, _inputs: object, named: Mapping[str, Any]) -> None:
    _let_onednn_multiply(named["input_ids"].numel() > FEW_TOKENS)


def _restore_kernels(_model: Any, _inputs: object, _output: object) -> None:
    _let_onednn_multiply(True)


def _let_onednn_multiply(may: bool) -> None:
    torch.backends.mkldnn.set_flags(may)  # type: ignore[no-untyped-call]


def _contiguous(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    # The prompts' last positions are a strided slice. On weights that peft has frozen, torch.matmul then copies the
    # whole output layer for each row: seconds for a batch of 8.
    return (inputs[0].contiguous(),)


def _name(adapter: AdapterRef) -> str:
    # peft uses it as a module name, which may hold no dots.
    return f"{adapter.digest[:16]}_{adapter.strength:g}".replace(".", "_")
