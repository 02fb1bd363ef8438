"""Switches a model's layers between its own, PEFT's and merged ones. Imports torch: only the model's thread may."""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import GenerationConfig
from transformers.utils import logging as transformers_logging

from bot.engine.refusals import RefusedVersions
from bot.engine.transformers.decoding import DecodingRow, ReportTexts, generate
from bot.engine.transformers.eyes import Eyes
from bot.errors import VersionRefused
from storage.adapters.folder_store import AdapterRef
from storage.errors import BaseModelError
from storage.models.adapter_checks import AdapterMisfit
from storage.models.base_model import load_on_device
from storage.models.chat_format import load_chat_format
from storage.models.effect import EffectCheck, WrongEffect, log_probabilities
from storage.models.hardware import serving_format, silence_transformers, usable_cores
from storage.models.layer_names import LayerNames
from storage.models.seeing import load_seeing
from storage.settings.sections import ModelSettings

log = logging.getLogger(__name__)


MERGE_AFTER = 4
"""An adapter is merged after this many batches in a row, until another one is requested."""
MAX_MERGED_BYTES = 2 * 2**30
"""Largest size of merged layers: in larger models an adapter costs relatively less time, and a copy more memory."""
FEW_TOKENS = 2
"""Up to this many tokens at once, PyTorch's bfloat16 products are faster than oneDNN's: twice as fast for one token."""


class AdaptedLayers:
    """The layers of a model that adapters change. The base's own layers are never written to."""

    def __init__(self, model: nn.Module) -> None:
        """`model` contains PEFT's layers, or no adapter at all."""
        found = [
            (parent, name, layer)
            for parent in model.modules()
            for name, layer in parent.named_children()
            if isinstance(layer, LoraLayer)
        ]
        self._places = [(parent, name) for parent, name, _ in found]
        self.adaptable: list[Any] = [layer for *_, layer in found]
        """PEFT's layers, which compute the base layer and add the active adapter."""
        self.original: list[Any] = [layer.get_base_layer() for layer in self.adaptable]

    @property
    def can_be_merged(self) -> bool:
        """Whether copies of these layers are small enough; an adapter cannot be added to quantised weights."""
        weights = [layer.weight for layer in self.original]
        return all(map(torch.is_floating_point, weights)) and sum(w.nbytes for w in weights) <= MAX_MERGED_BYTES

    def put(self, layers: Sequence[nn.Module]) -> None:
        """Put these layers into the model, in the order of `original`."""
        for (parent, name), layer in zip(self._places, layers, strict=True):
            setattr(parent, name, layer)

    def merged(self, adapter: str) -> list[Any]:
        """Return copies of the base's layers with the adapter added."""
        with torch.no_grad():
            return [_merged(layer, adapter) for layer in self.adaptable]


def _merged(layer: Any, adapter: str) -> nn.Module:
    original: nn.Module = layer.get_base_layer()
    if adapter not in layer.scaling:
        return original
    # Added in float32 and rounded once; PEFT's own merge also rounds the adapter's part before.
    weight = original.weight.float() + layer.get_delta_weight(adapter).float()
    parameter = nn.Parameter(weight.to(original.weight.dtype), requires_grad=False)
    return copy.deepcopy(original, {id(original.weight): parameter})


class ResidentModel:
    """A base model that answers alone or with one of the adapters in memory, on the GPU if there is one.

    Not thread-safe: one thread loads, switches and generates.
    """

    def __init__(self, base_path: Path, settings: ModelSettings, *, sees: bool = False) -> None:
        """Load the base model, and what it reads images with if it `sees`; if that is unusable, a warning says why.

        Raises what transformers raises if the folder does not contain a base.
        """
        torch.set_num_threads(settings.threads or _threads())
        transformers_logging.disable_progress_bar()
        self.chat = load_chat_format(base_path, settings.template_options)
        self._whole: Any = None
        """The model with vision, which shares the layers of the base; None if the base cannot see."""
        self.eyes: Eyes | None = None
        """The base's image processor; None if the base cannot see."""
        self.blindness = ""
        """The reason why a base that supports pictures cannot look at them, without a full stop."""
        self._base = self._load_base(base_path, settings, sees=sees)
        for model in filter(None, (self._base, self._whole)):
            _prepare(model)
        self._renamings = LayerNames(base_path).renamings
        self._base.get_output_embeddings().register_forward_pre_hook(_contiguous)
        self._layers = AdaptedLayers(self._base)
        self._wrapped: Any = None
        """PEFT's model around the base, which has the adapters; None without adapters."""
        self._resident: OrderedDict[str, None] = OrderedDict()
        self._capacity = settings.resident_adapters
        self.refused = RefusedVersions()
        self._active: AdapterRef | None = None
        self._batches = 0
        """Batches in a row with the active adapter."""

    def _load_base(self, path: Path, settings: ModelSettings, *, sees: bool) -> Any:
        """Return the base's text model, and load what it sees with."""
        dtype = serving_format(settings)
        if sees:
            try:
                eyes = Eyes(path, self.chat)
                text, self._whole = load_seeing(path, dtype)
            except BaseModelError as error:
                self.blindness = str(error)
                log.warning("The base answers, but does not look at pictures: %s.", self.blindness)
            else:
                self.eyes = eyes
                return text
        return load_on_device(path, dtype, settings.quantization, setting="model.dtype")

    @property
    def adapters(self) -> int:
        return len(self._resident)

    def answer(self, adapter: AdapterRef | None, rows: Sequence[DecodingRow], report: ReportTexts) -> None:
        """Answer a batch with `adapter`, or with the base alone; raises VersionRefused if it cannot be loaded."""
        try:
            model = self.model_with(adapter)
        except Exception as error:  # PEFT raises all kinds of errors
            raise VersionRefused(str(error)) from error
        generate(model, rows, self.chat.end_ids, report)

    def describe(self, row: DecodingRow, report: ReportTexts) -> None:
        """Let the base alone describe a picture; it shares the language model's layers with answers."""
        self.model_with(None)
        generate(self._whole, [row], self.chat.end_ids, report)

    def model_with(self, adapter: AdapterRef | None) -> Any:
        """Return the transformers model for a batch with `adapter`, or the base alone; valid until the next call.

        Raises AdapterMisfit, WrongEffect, or what PEFT raises on a folder without an adapter; the other adapters stay
        usable.
        """
        if adapter != self._active:
            self._switch(adapter)
        self._batches += 1
        if adapter and self._batches == MERGE_AFTER + 1 and self._layers.can_be_merged:
            self._layers.put(self._layers.merged(_name(adapter)))
        return self._base

    def _switch(self, adapter: AdapterRef | None) -> None:
        """Switch to another adapter; to the base if it cannot be loaded."""
        self._active, self._batches = None, 0
        self._layers.put(self._layers.adaptable)  # PEFT looks for them in the model
        try:
            if adapter:
                self._activate(adapter)
            self._active = adapter
        finally:
            if self._active is None:
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
            with silence_transformers():  # PEFT uses a deprecated attribute of transformers
                self._inject(adapter)
                self._require_effect(adapter)
        except Exception as error:
            self._remove(_name(adapter))
            self.refused.note(adapter, str(error))
            raise
        finally:
            self._layers = AdaptedLayers(self._base)
        self.refused.clear(adapter)
        self._resident[_name(adapter)] = None
        log.info("Loaded adapter %s.", _name(adapter))

    def _inject(self, adapter: AdapterRef) -> None:
        name = _name(adapter)
        if self._wrapped is None:
            config = PeftConfig.from_pretrained(str(adapter.path))
            config.inference_mode = True
            # Not PeftModel.from_pretrained: if the weights fail to load, it leaves a half-wrapped base behind.
            self._wrapped = PeftModel(self._base, config, adapter_name=name)
        result = self._wrapped.load_adapter(
            str(adapter.path),
            adapter_name=name,
            torch_device=str(self._base.device),
            key_mapping=self._renamings,
        )
        if keys := [*result.missing_keys, *result.unexpected_keys]:
            raise AdapterMisfit(adapter, f"{len(keys)} keys differ, such as {keys[0]}")
        for module in self._wrapped.modules():
            if isinstance(module, LoraLayer) and name in module.scaling:
                module.scaling[name] *= adapter.strength

    def _require_effect(self, adapter: AdapterRef) -> None:
        """Raise WrongEffect if the model with the adapter still computes as the base or as another version."""
        check = EffectCheck.of(adapter, lambda text: self.chat.tokenizer(text)["input_ids"])
        self._wrapped.set_adapter(_name(adapter), inference_mode=True)
        version = log_probabilities(self._base, check.tokens)
        with self._wrapped.disable_adapter():
            base = log_probabilities(self._base, check.tokens)
        if fault := check.fault(version, base):
            raise WrongEffect(adapter, fault, "roll back to another version, and train again")

    def _remove(self, name: str) -> None:
        if self._wrapped is None or name not in self._wrapped.peft_config:
            return
        others = [one for one in self._wrapped.peft_config if one != name]
        if others:
            self._wrapped.set_adapter(others[0], inference_mode=True)  # PEFT warns if the active one is deleted
            self._wrapped.delete_adapter(name)
        else:
            # PEFT does not support a model without any adapter.
            self._base = self._wrapped.unload()
            self._wrapped = None

    def _evict(self) -> None:
        while len(self._resident) > self._capacity:
            name, _ = self._resident.popitem(last=False)
            self._wrapped.delete_adapter(name)
            log.info("Unloaded adapter %s.", name)


def _threads() -> int:
    """Return all usable cores but one: a thread that shares its core with other work makes all others wait."""
    return min(torch.get_num_threads(), max(1, usable_cores() - 1))


def _prepare(model: Any) -> None:
    # Requests say how to sample: the model's own defaults must not interfere.
    model.generation_config = GenerationConfig()
    if model.dtype == torch.bfloat16:
        model.register_forward_pre_hook(_choose_kernels, with_kwargs=True)
        model.register_forward_hook(_restore_kernels, always_call=True)


def _choose_kernels(_model: Any, _inputs: object, named: Mapping[str, Any]) -> None:
    torch.backends.mkldnn.set_flags(named["input_ids"].numel() > FEW_TOKENS)


def _restore_kernels(_model: Any, _inputs: object, _output: object) -> None:
    torch.backends.mkldnn.set_flags(True)


def _contiguous(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    # The last positions of the prompts are a strided slice. With weights that PEFT has frozen, torch.matmul then copies
    # the whole output layer for each row: seconds for a batch of 8.
    return (inputs[0].contiguous(),)


def _name(adapter: AdapterRef) -> str:
    # PEFT uses it as a module name, which may not contain dots, and must not be a part of another name.
    return f"{adapter.digest[:16]}_{adapter.strength:g}x".replace(".", "_")
