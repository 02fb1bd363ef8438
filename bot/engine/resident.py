"""The base model and the adapters in memory. Imports torch: only the model's own thread imports this module."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from bot.errors import BotError
from storage.adapters import AdapterRef
from storage.base_model import end_ids
from storage.quiet import quiet_transformers
from storage.settings import ModelSettings

log = logging.getLogger(__name__)


class AdapterMismatch(BotError):
    def __init__(self, adapter: AdapterRef, keys: list[str]) -> None:
        super().__init__(
            f"the adapter in {adapter.path} does not fit the base model: {len(keys)} keys differ, such as {keys[0]}"
        )
        self.adapter = adapter
        self.keys = keys


class ResidentModel:
    """A base model that answers as itself or through one of the adapters kept in memory.

    Not thread-safe: its thread loads, swaps and generates.
    """

    def __init__(self, base_path: Path, settings: ModelSettings) -> None:
        """Load the base model; raises what transformers raises where the folder does not hold one."""
        if settings.threads:
            torch.set_num_threads(settings.threads)
        transformers_logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(base_path, local_files_only=True)
        self._base: Any = AutoModelForCausalLM.from_pretrained(
            base_path, dtype=getattr(torch, settings.dtype), local_files_only=True
        ).eval()
        self.end_ids = end_ids(base_path, self.tokenizer)
        self._base.get_output_embeddings().register_forward_pre_hook(_contiguous)
        # Requests say how to sample: the folder's own defaults must not mix in.
        self._base.generation_config = GenerationConfig()
        self._wrapped: Any = None
        self._resident: OrderedDict[str, None] = OrderedDict()
        self._capacity = settings.resident_adapters

    @contextmanager
    def speaking_through(self, adapter: AdapterRef | None) -> Iterator[Any]:
        """Yield the transformers model that answers with `adapter`, or the base model as it came.

        Raises AdapterMismatch, or what peft raises on a folder that holds no adapter; the others stay usable.
        """
        if adapter is None:
            with self._as_base() as model:
                yield model
            return
        name = _name(adapter)
        if name not in self._resident:
            self._load(adapter)
        self._resident.move_to_end(name)
        self._wrapped.set_adapter(name, inference_mode=True)
        self._evict()
        yield self._wrapped

    @contextmanager
    def _as_base(self) -> Iterator[Any]:
        if self._wrapped is None:
            yield self._base
            return
        with self._wrapped.disable_adapter():
            yield self._wrapped

    def _load(self, adapter: AdapterRef) -> None:
        try:
            with quiet_transformers():  # peft asks transformers for an attribute by its deprecated name
                self._inject(adapter)
        except Exception:
            self._remove(_name(adapter))
            raise
        self._resident[_name(adapter)] = None
        log.info("loaded adapter %s", _name(adapter))

    def _inject(self, adapter: AdapterRef) -> None:
        name = _name(adapter)
        if self._wrapped is None:
            config = PeftConfig.from_pretrained(str(adapter.path))
            config.inference_mode = True
            # Not PeftModel.from_pretrained: if its weights fail to load, it leaves a half-wrapped base behind.
            self._wrapped = PeftModel(self._base, config, adapter_name=name)
        result = self._wrapped.load_adapter(str(adapter.path), adapter_name=name, torch_device="cpu")
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


def _contiguous(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    # The prompts' last positions are a strided slice. On weights that peft has frozen, torch.matmul then copies the
    # whole output layer for each row: seconds for a batch of 8.
    return (inputs[0].contiguous(),)


def _name(adapter: AdapterRef) -> str:
    # peft uses it as a module name, which may hold no dots.
    return f"{adapter.digest[:16]}_{adapter.strength:g}".replace(".", "_")
