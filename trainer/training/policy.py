"""The model in training: the layers that an adapter changes, and their names in its files."""

from __future__ import annotations

import logging
from copy import copy
from pathlib import Path
from typing import Any

from storage.adapters.folder_store import WEIGHTS_FILE
from storage.models.adapter_checks import layer_of
from storage.models.base_model import BaseModel, load_adapter, load_on_device
from storage.models.hardware import has_gpu, silence_transformers, training_format
from storage.models.layer_names import LayerNames
from storage.settings.sections import TrainingSettings
from storage.wording import gettext_noop
from trainer.errors import TrainerError

SCALE = 2
"""The scale of a new adapter per rank: its effect is alpha / rank, and so the same for every rank."""
ADAPTER = "default"
"""PEFT's name for the adapter in training; TRL keeps the starter as "ref"."""

MAX_EAGER_TOKENS = 256
"""Longest row, in tokens, for which a CPU uses plain attention, whose memory grows with the square of the length.

PyTorch's fused attention is slow in the backward pass on a CPU: it makes a step on short rows a sixth longer.
"""

log = logging.getLogger(__name__)


def load_policy(base: BaseModel, starter: Path | None, settings: TrainingSettings, longest: int) -> Any:
    """Return the base, or the base under a trainable copy of the starter, which TRL then uses as the reference.

    `longest` is the number of tokens of the longest row to train and validate on. Raises like `load_on_device`.
    """
    if left_out := LayerNames(base.path).left_out:
        log.info("%s is a mixture of experts: %s.", base.name, left_out)
    with silence_transformers():
        model = load_on_device(base.path, training_format(settings), settings.quantization, setting="training.dtype")
    if longest <= MAX_EAGER_TOKENS and not has_gpu():
        model.set_attn_implementation("eager")
    return model if starter is None else load_adapter(model, starter, base, is_trainable=True)


def new_adapter(base: BaseModel, settings: TrainingSettings) -> Any:
    """Return the configuration of an adapter of the base's language model; raises TrainerError if none fits."""
    from peft import LoraConfig

    names = LayerNames(base.path)
    if not names.trainable:
        raise TrainerError(
            gettext_noop("{base} ({architecture}) has no linear layers that LoRA can change"),
            base=base.name,
            architecture=base.architecture,
        )
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=SCALE * settings.lora_rank,
        target_modules=names.trainable,
        task_type="CAUSAL_LM",
    )


def save_adapter(model: Any, base: BaseModel, output: Path) -> None:
    """Write the adapter that PEFT's model trains, under the layer names of the base's files.

    Plain PEFT, vLLM and our own import then find the layers, whether or not they load the base as we do.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    names = LayerNames(base.path)
    # Without save_embedding_layers=False PEFT may ask the hub about the base.
    weights = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    layers = {key: layer_of(key) for key in weights}
    stored = {key.replace(layer, names.stored[layer]): weights[key].contiguous() for key, layer in layers.items()}
    output.mkdir(parents=True, exist_ok=True)
    save_file(stored, output / WEIGHTS_FILE, metadata={"format": "pt"})
    config = copy(model.peft_config[ADAPTER])
    config.base_model_name_or_path, config.revision = base.name, base.revision
    config.target_modules, config.inference_mode = names.targets(set(layers.values())), True
    config.save_pretrained(output)
