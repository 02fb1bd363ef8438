"""Checks that an imported adapter can be served: plain LoRA in a PEFT folder that fits the base and is harmless."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from storage.adapters.folder_store import CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE, AdapterRef, read_config
from storage.errors import AdapterError, StorageError
from storage.files import read_json_object, sha256_of
from storage.models.base_model import BaseModel, quantization_of
from storage.models.effect import read_effect
from storage.models.hardware import MODEL_LIBRARIES
from storage.models.layer_names import adaptable_matrices, stored_matrices
from storage.models.shape import vocabulary_of
from storage.personalities.cards import MAX_CARD_BYTES

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
MAX_CONFIG_BYTES = 1_000_000
MAX_RANK = 256
BYTES_PER_NUMBER = 4
KEY_PREFIX = "base_model.model."
FLOATS = frozenset({"F32", "F16", "BF16"})
ALL_LINEAR = "all-linear"
PLAIN_NAME = re.compile(r"[\w.]+")
# Keys that do not change the adapter's computation. Other keys are checked one by one or refused: for some kinds of
# adapters PEFT changes the base's own weights, reads patterns as regular expressions, or imports modules named in a
# key.
HARMLESS_KEYS = frozenset(
    {
        "base_model_name_or_path",
        "inference_mode",
        "lora_dropout",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "revision",
    }
)
FIXED: Mapping[str, tuple[Any, ...]] = {
    "auto_mapping": (None,),
    "bias": (None, "none"),
    "init_lora_weights": (None, True, False),
    "megatron_core": (None, "megatron.core"),
    "task_type": (None, "CAUSAL_LM"),
    "use_rslora": (None, True, False),
}
"""Keys that may have only these values."""

NOT_PLAIN_LORA = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "layer_replication", "fan_in_fan_out")
"""Keys of adapters whose numbers only PEFT can apply."""

Shapes = Mapping[str, tuple[int, ...]]


class AdapterMisfit(StorageError):
    """An engine cannot load the adapter as low-rank changes to its base's layers."""

    def __init__(self, adapter: AdapterRef, what: str) -> None:
        super().__init__(f"the adapter in {adapter.path} does not fit the base model: {what}")


def servable_config(folder: Path, base: BaseModel) -> dict[str, Any]:
    """Return the configuration with which the base can serve the adapter in a PEFT folder.

    Raises AdapterError on pickled weights, on files that do not match their checksums, on adapters other than LoRA, and
    on adapters that were trained on another base or do not fit this one's layers.
    """
    refuse_pickles(sorted(path.name for path in folder.iterdir()))
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise AdapterError(f"{folder.name} has no {name}: save the adapter with PEFT as safetensors")
    _require_checksums(folder)
    config = _read_config(folder)
    _require_plain_lora(config, folder)
    _require_this_base(config, base, folder)
    if method := quantization_of(base.path):
        raise AdapterError(
            f"the weights of {base.name} are quantised already ({method}), so the adapter cannot be checked against "
            "them: set model.base to the model that they were made from"
        )
    shapes = _read_shapes(folder / WEIGHTS_FILE, largest_export(base))
    targets = _require_shapes(shapes, config, base)
    _require_finite(folder / WEIGHTS_FILE)
    _require_known_tokens(folder, base)
    return config | {"base_model_name_or_path": base.name, "revision": base.revision, "target_modules": targets}


def largest_export(base: BaseModel) -> int:
    """Return the most bytes of an export: an adapter of MAX_RANK on every layer of the base, and its card."""
    numbers = sum(MAX_RANK * (width_out + width_in) for width_out, width_in in adaptable_matrices(base.path).values())
    return BYTES_PER_NUMBER * numbers + MAX_CARD_BYTES + MAX_CONFIG_BYTES


def refuse_pickles(names: Iterable[str]) -> None:
    """Raise AdapterError if one of the files may be a pickle."""
    for name in names:
        if Path(name).suffix.lower() in PICKLES:
            raise AdapterError(
                f"{name} may contain a pickle, which can run code when it is loaded: "
                "save the adapter as safetensors instead"
            )


def _require_checksums(folder: Path) -> None:
    checksums = folder / CHECKSUMS_FILE
    if not checksums.is_file():
        return
    for line in checksums.read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        if name in (CONFIG_FILE, WEIGHTS_FILE) and sha256_of(folder / name) != expected:
            raise AdapterError(f"{name} does not match its checksum in {CHECKSUMS_FILE}: export it again")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise AdapterError(f"{CONFIG_FILE} is larger than 1 MB, the limit: export the adapter again")
        return read_json_object(path)
    except (OSError, ValueError) as error:
        raise AdapterError(f"{CONFIG_FILE} cannot be read ({error}): export the adapter again") from error


def _require_plain_lora(config: Mapping[str, Any], folder: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{folder.name} is a {config.get('peft_type')} adapter: only LoRA adapters can be served")
    checked = HARMLESS_KEYS | FIXED.keys() | {"r", "lora_alpha", "target_modules"}
    strange = [key for key, value in config.items() if value and key not in checked]
    strange += [key for key, taken in FIXED.items() if not _is_one_of(config.get(key), taken)]
    if strange:
        raise AdapterError(f"{CONFIG_FILE} sets {', '.join(sorted(strange))}: only plain LoRA adapters can be served")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= MAX_RANK:
        raise AdapterError(f"{CONFIG_FILE} has r = {rank!r}: only ranks from 1 to {MAX_RANK} can be served")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < math.inf:
        raise AdapterError(f"{CONFIG_FILE} has lora_alpha = {alpha!r}: it must be a number above 0")


def _is_one_of(value: Any, taken: tuple[Any, ...]) -> bool:
    """Return whether the value is one of these; here 1 is not True."""
    return any(value is one or (isinstance(one, str) and value == one) for one in taken)


def _require_this_base(config: Mapping[str, Any], base: BaseModel, folder: Path) -> None:
    revision, name = config.get("revision"), str(config.get("base_model_name_or_path") or "an unnamed base")
    same_name = Path(name).name.lower() == Path(base.name).name.lower()
    if revision != base.revision and not (revision is None and same_name):
        raise AdapterError(
            f"{folder.name} was trained on {name} ({revision or 'no revision'}), not on {base.name} ({base.revision}): "
            "set model.base to that model"
        )


def _read_shapes(weights: Path, limit_bytes: int) -> Shapes:
    """Return the shape of each matrix; raises AdapterError on a broken file and on numbers other than floats."""
    if weights.stat().st_size > limit_bytes:
        raise AdapterError(
            f"{weights.name} is larger than {limit_bytes:,} bytes, too large for an adapter of this base: export it "
            "again"
        )
    try:
        with safe_open(weights, framework="numpy") as adapter:
            slices = {key: adapter.get_slice(key) for key in adapter.keys()}  # noqa: SIM118 (no mapping)
            shapes = {key: tuple(found.get_shape()) for key, found in slices.items()}
            kinds = {found.get_dtype() for found in slices.values()}
    except SafetensorError as error:
        raise AdapterError(
            f"{weights.name} is truncated or not a safetensors file ({error}): export it again"
        ) from error
    if not shapes:
        raise AdapterError(f"{weights.name} is empty: export the adapter again")
    if kinds - FLOATS:
        raise AdapterError(f"{weights.name} has numbers of type {', '.join(kinds - FLOATS)}: save it as floats")
    return shapes


def _require_shapes(shapes: Shapes, config: Mapping[str, Any], base: BaseModel) -> list[str]:
    """Return the names of the modules that the adapter changes.

    Raises AdapterError unless each has both matrices at the configured rank and fits the base, and together they are
    exactly the layers that the configuration targets.
    """
    widths, rank = adaptable_matrices(base.path), config["r"]
    layers = {layer_of(key) for key in shapes}
    _require_language_layers(layers - widths.keys(), base)
    expected: dict[str, tuple[int, ...]] = {}
    for layer in layers & widths.keys():
        width_out, width_in = widths[layer]
        expected[f"{KEY_PREFIX}{layer}.lora_A.weight"] = (rank, width_in)
        expected[f"{KEY_PREFIX}{layer}.lora_B.weight"] = (width_out, rank)
    for key in sorted(shapes.keys() | expected.keys()):
        if shapes.get(key) != expected.get(key):
            raise AdapterError(
                f"{key} in {WEIGHTS_FILE} does not fit {base.name} ({base.architecture}): the adapter is for another "
                "model, or incomplete"
            )
    return _names_of_targets(config.get("target_modules"), layers, widths)


def layer_of(key: str) -> str:
    """Return the layer that one of PEFT's matrices changes, such as base_model.model.lm_head.lora_A.weight."""
    return key.removeprefix(KEY_PREFIX).rpartition(".lora_")[0]


def _require_language_layers(others: Collection[str], base: BaseModel) -> None:
    """Raise AdapterError if one of these is a layer of the base that Reactune leaves as it is."""
    if known := sorted(stored_matrices(base.path).keys() & set(others)):
        raise AdapterError(
            f"{WEIGHTS_FILE} changes {known[0]}, a part of {base.name} that sees or hears, or an expert: train the "
            "adapter on the linear layers of the language model only (docs/internals/bases.md)"
        )


def _names_of_targets(named: Any, layers: set[str], widths: Mapping[str, Any]) -> list[str]:
    """Return the names of modules to change, which PEFT compares with the ends of layers' names.

    Raises AdapterError unless they are plain names that match exactly the changed layers: PEFT reads a text as a
    regular expression.
    """
    names = sorted(layers) if named == ALL_LINEAR else named
    is_plain = isinstance(names, list) and all(isinstance(one, str) and PLAIN_NAME.fullmatch(one) for one in names)
    if not is_plain or {layer for layer in widths if is_targeted(layer, names)} != layers:
        raise AdapterError(
            f"{CONFIG_FILE} targets other layers than {WEIGHTS_FILE} contains: export the adapter with a list of names"
        )
    return sorted(names)


def is_targeted(layer: str, names: Sequence[str]) -> bool:
    """Return whether PEFT changes the layer if `target_modules` are these names."""
    return any(layer == name or layer.endswith(f".{name}") for name in names)


def _require_finite(weights: Path) -> None:
    """Raise AdapterError on infinite numbers and NaN: every answer would be noise."""
    with MODEL_LIBRARIES:
        import torch

    with safe_open(weights, framework="pt") as adapter:
        for key in adapter.keys():  # noqa: SIM118 (no mapping)
            if not torch.isfinite(adapter.get_tensor(key)).all():
                raise AdapterError(f"{key} in {weights.name} is not finite (NaN or infinity): train the adapter again")


def _require_known_tokens(folder: Path, base: BaseModel) -> None:
    """Raise AdapterError if the record of the adapter's effect is broken, or has tokens that the base does not have."""
    effect = read_effect(folder)
    if effect and max(effect.tokens) >= vocabulary_of(base.path):
        raise AdapterError(f"{WEIGHTS_FILE} was measured with tokens that {base.name} does not have: export it again")


def require_base(adapter: Path, base: BaseModel) -> None:
    """Raise AdapterError unless the adapter was trained on this base, byte for byte."""
    config = read_config(adapter / CONFIG_FILE)
    if config.get("revision") != base.revision:
        trained_on = config.get("base_model_name_or_path") or "an unnamed base"
        raise AdapterError(
            f"the adapter {adapter.name[:12]} was trained on {trained_on} ({config.get('revision') or 'no revision'}), "
            f"not on {base.name} ({base.revision}, {base.architecture}): "
            f"set model.base to that model, or choose a version trained on {base.name}"
        )
