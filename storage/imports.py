"""Adapters from elsewhere: a PEFT folder or a zip of one, taken only where it fits the base and can do no harm."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from sqlalchemy.orm import Session

from storage.adapters import CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE, AdapterStore
from storage.base_model import BaseModel
from storage.cards import MAX_CARD_BYTES, Card, read_card_file, require_meant_for, require_name
from storage.database import Database
from storage.errors import AdapterError
from storage.exports import CARD_FILE
from storage.personalities import (
    CARD_SUFFIX,
    Personality,
    change_card,
    create_personality,
    list_personalities,
    personality_named,
)
from storage.schema import GateVerdict
from storage.versions import Version, learned_from_deleted_data, register

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
MAX_CONFIG_BYTES = 1_000_000
MAX_RANK = 256
BYTES_PER_NUMBER = 4
COPIED_BYTES = 1_000_000
TAKEN_FILES = (CONFIG_FILE, WEIGHTS_FILE, CHECKSUMS_FILE, CARD_FILE)
KEY_PREFIX = "base_model.model."
FLOATS = frozenset({"F32", "F16", "BF16"})
ALL_LINEAR = "all-linear"
PLAIN_NAME = re.compile(r"[\w.]+")
# What may stand in a configuration beside the keys that are checked one by one: it says nothing of how the adapter is
# computed. Any other key that is set could: PEFT initialises some kinds of adapters by changing the base's own weights,
# reads patterns as regular expressions, and imports what some keys name.
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
"""Values that are taken of keys that must not have others."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    personality: Personality
    is_new: bool
    card_changed: bool
    version: Version | None
    """The adapter's; None where a card came alone."""


@contextlib.contextmanager
def unpacked(path: Path, limit_bytes: int) -> Iterator[Path]:
    """Yield the folder of an export; of a zip, a temporary one with the files that are taken, wherever they lie in it.

    Raises AdapterError on what is neither, on a broken zip, and on one that unpacks to more than `limit_bytes`.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, Path(folder), path.name, limit_bytes)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise AdapterError(f"{path.name} is no readable zip file ({error}): export it again") from error
        except OSError as error:
            raise AdapterError(f"{path} cannot be read ({error.strerror}): check the path") from error
        yield Path(folder)


def largest_export(base: BaseModel) -> int:
    """Return the size in bytes that an adapter of MAX_RANK on every layer of the base could have, and its card."""
    numbers = sum(MAX_RANK * (width_out + width_in) for width_out, width_in in dict(_layer_shapes(base)).values())
    return BYTES_PER_NUMBER * numbers + MAX_CARD_BYTES + MAX_CONFIG_BYTES


def take_import(
    database: Database,
    store: AdapterStore,
    base: BaseModel,
    path: Path,
    *,
    name: str,
    model_base: str,
    by: str,
    guild_id: int | None = None,
    may_change: Callable[[Personality], None] = lambda _personality: None,
) -> Imported:
    """Take a card, an exported folder or a zip of one into the personality of that name, and say what was done.

    `model_base` is the value of model.base. `may_change` raises where an existing personality must not be changed.
    Raises CardError, AdapterError, PersonalityNotFound and PersonalityConflict; nothing is registered then.
    """
    require_name(name)
    with store.registering():
        if path.suffix == CARD_SUFFIX:
            card: Card | None = read_card_file(path)
            digest: str | None = None
        else:
            with unpacked(path, largest_export(base)) as folder:
                card = read_export_card(folder)
                digest = import_adapter(store, folder, base)
        if card is not None:
            require_meant_for(card, model_base, path.name)
        with database.transaction() as session:
            return register_import(
                session, name, card, digest=digest, base=base, by=by, guild_id=guild_id, may_change=may_change
            )


def read_export_card(folder: Path) -> Card | None:
    """Return the card that lies beside the adapter, or None; raises CardError on a broken one."""
    card = folder / CARD_FILE
    return read_card_file(card) if card.is_file() else None


def import_adapter(store: AdapterStore, folder: Path, base: BaseModel) -> str:
    """Publish the adapter in a PEFT folder and return its digest.

    Raises AdapterError, in a sentence, on pickled weights, on files that are not as their checksums say, on another
    kind of adapter than LoRA, and on one that was trained on another base or does not fit this one's layers.
    """
    _refuse_pickles(folder)
    _require_checksums(folder)
    config = _read_config(folder)
    _require_plain_lora(config, folder)
    _require_this_base(config, base, folder)
    shapes = _read_shapes(folder / WEIGHTS_FILE, largest_export(base))
    targets = _require_shapes(shapes, config, base)
    _require_finite(folder / WEIGHTS_FILE)
    with store.stage() as staging:
        shutil.copyfile(folder / WEIGHTS_FILE, staging / WEIGHTS_FILE)
        own = config | {
            "base_model_name_or_path": base.name,
            "revision": base.revision,
            "target_modules": targets,
        }
        (staging / CONFIG_FILE).write_text(json.dumps(own), encoding="utf-8")
        return store.publish(staging)


def register_import(
    session: Session,
    name: str,
    card: Card | None,
    *,
    digest: str | None,
    base: BaseModel,
    by: str,
    guild_id: int | None = None,
    may_change: Callable[[Personality], None] = lambda _personality: None,
) -> Imported:
    """Give the personality the card, and the published adapter as a version that no gate has judged.

    A personality of a new name is made where there is a card. Raises PersonalityNotFound where there is none,
    PersonalityConflict where a name is taken in another server.
    """
    known = {personality.name for personality in list_personalities(session, guild_id, archived=None)}
    is_new, changed = name not in known, False
    if is_new and card is not None:
        personality = create_personality(session, name, card, by=by, guild_id=guild_id)
    else:
        personality = personality_named(session, name, guild_id)
        may_change(personality)
        changed = card is not None and change_card(session, personality, card, by=by)
    if digest is None:
        return Imported(personality, is_new, changed, None)
    version = register(
        session,
        personality.id,
        digest=digest,
        base_name=base.name,
        base_revision=base.revision,
        parent_id=None,
        round_id=None,
        metrics={},
        verdict=GateVerdict.NOT_ENOUGH_EVIDENCE,
        trained_on_deleted_data=learned_from_deleted_data(session, digest),
    )
    return Imported(personality, is_new, changed, version)


def _unpack(archive: zipfile.ZipFile, folder: Path, source: str, limit_bytes: int) -> None:
    members = {Path(info.filename).name: info for info in archive.infolist() if not info.is_dir()}
    pickled = next((name for name in members if Path(name).suffix.lower() in PICKLES), None)
    if pickled:
        raise _pickled(pickled)
    taken = {name: members[name] for name in TAKEN_FILES if name in members}
    if sum(info.file_size for info in taken.values()) > limit_bytes:
        raise AdapterError(
            f"{source} unpacks to more than {limit_bytes:,} bytes: no adapter of this base is that large"
        )
    for name, info in taken.items():
        # A member is read no further than the size that it declares, so a lie about it unpacks no more.
        with archive.open(info) as packed, (folder / name).open("wb") as file:
            shutil.copyfileobj(packed, file, COPIED_BYTES)


def _refuse_pickles(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICKLES:
            raise _pickled(path.name)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise AdapterError(f"{folder.name} holds no {name}: save the adapter with PEFT as safetensors")


def _pickled(name: str) -> AdapterError:
    return AdapterError(
        f"{name} may hold a pickle, which can run code when it is loaded: save the adapter as safetensors instead"
    )


def _require_checksums(folder: Path) -> None:
    checksums = folder / CHECKSUMS_FILE
    if not checksums.is_file():
        return
    for line in checksums.read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        if name in (CONFIG_FILE, WEIGHTS_FILE):
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    raise AdapterError(f"{name} is not the file that {CHECKSUMS_FILE} describes: export it again")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise AdapterError(f"{CONFIG_FILE} is larger than 1 MB, which no configuration is: export it again")
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{CONFIG_FILE} cannot be read ({error}): export the adapter again") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{CONFIG_FILE} holds no JSON object: export the adapter again")
    return config


def _require_plain_lora(config: Mapping[str, Any], folder: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{folder.name} is a {config.get('peft_type')} adapter: only LoRA can be served")
    checked = HARMLESS_KEYS | FIXED.keys() | {"r", "lora_alpha", "target_modules"}
    strange = [key for key, value in config.items() if value and key not in checked]
    strange += [key for key, taken in FIXED.items() if not _is_one_of(config.get(key), taken)]
    if strange:
        raise AdapterError(f"{CONFIG_FILE} sets {', '.join(sorted(strange))}: only plain LoRA adapters can be served")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= MAX_RANK:
        raise AdapterError(f"{CONFIG_FILE} has r = {rank!r}: a rank from 1 to {MAX_RANK} can be served")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < math.inf:
        raise AdapterError(f"{CONFIG_FILE} has lora_alpha = {alpha!r}: it must be a number above 0")


def _is_one_of(value: Any, taken: tuple[Any, ...]) -> bool:
    """Return whether the value is one that is taken; 1 is not True here."""
    return any(value is one or (isinstance(one, str) and value == one) for one in taken)


def _require_this_base(config: Mapping[str, Any], base: BaseModel, folder: Path) -> None:
    revision, name = config.get("revision"), str(config.get("base_model_name_or_path") or "an unnamed base")
    same_name = Path(name).name.lower() == Path(base.name).name.lower()
    if revision != base.revision and not (revision is None and same_name):
        raise AdapterError(
            f"{folder.name} was trained on {name} ({revision or 'no revision'}), not on {base.name} ({base.revision}): "
            "set model.base to the former"
        )


def _read_shapes(weights: Path, limit_bytes: int) -> Shapes:
    """Return the shape of each matrix; raises AdapterError on a broken file and on other numbers than floats."""
    if weights.stat().st_size > limit_bytes:
        raise AdapterError(
            f"{weights.name} is larger than {limit_bytes:,} bytes: no adapter of this base is that large"
        )
    try:
        with safe_open(weights, framework="numpy") as adapter:
            slices = {key: adapter.get_slice(key) for key in adapter.keys()}  # noqa: SIM118 (no mapping)
            shapes = {key: tuple(found.get_shape()) for key, found in slices.items()}
            kinds = {found.get_dtype() for found in slices.values()}
    except SafetensorError as error:
        raise AdapterError(f"{weights.name} is truncated or no safetensors file ({error}): export it again") from error
    if not shapes:
        raise AdapterError(f"{weights.name} is empty: export the adapter again")
    if kinds - FLOATS:
        raise AdapterError(f"{weights.name} holds numbers of kind {', '.join(kinds - FLOATS)}: save it as floats")
    return shapes


def _require_shapes(shapes: Shapes, config: Mapping[str, Any], base: BaseModel) -> list[str]:
    """Return the names of the modules that the adapter changes.

    Raises AdapterError unless these have both matrices of the rank that is configured, fit the base, and are all the
    layers that the configuration targets.
    """
    widths, rank = dict(_layer_shapes(base)), config["r"]
    layers = {key.removeprefix(KEY_PREFIX).rpartition(".lora_")[0] for key in shapes}
    expected: dict[str, tuple[int, ...]] = {}
    for layer in layers & widths.keys():
        width_out, width_in = widths[layer]
        expected[f"{KEY_PREFIX}{layer}.lora_A.weight"] = (rank, width_in)
        expected[f"{KEY_PREFIX}{layer}.lora_B.weight"] = (width_out, rank)
    for key in sorted(shapes.keys() | expected.keys()):
        if shapes.get(key) != expected.get(key):
            raise AdapterError(
                f"{key} of {WEIGHTS_FILE} does not fit {base.name} ({base.architecture}): it is made for another "
                "model, or incomplete"
            )
    return _names_of_targets(config.get("target_modules"), layers, widths)


def _names_of_targets(named: Any, layers: set[str], widths: Mapping[str, Any]) -> list[str]:
    """Return the names of modules to change, which PEFT compares with the ends of layers' names.

    Raises AdapterError unless they say exactly the layers that are changed, in plain names: PEFT reads text as a regex.
    """
    names = sorted(layers) if named == ALL_LINEAR else named
    is_plain = isinstance(names, list) and all(isinstance(one, str) and PLAIN_NAME.fullmatch(one) for one in names)
    if not is_plain or {layer for layer in widths if _ends_with_one(layer, names)} != layers:
        raise AdapterError(
            f"{CONFIG_FILE} targets other layers than {WEIGHTS_FILE} holds: export the adapter with a list of names"
        )
    return sorted(names)


def _ends_with_one(layer: str, names: list[str]) -> bool:
    return any(layer == name or layer.endswith(f".{name}") for name in names)


def _require_finite(weights: Path) -> None:
    """Raise AdapterError on a number that is none: every answer would be nothing but noise."""
    import torch

    with safe_open(weights, framework="pt") as adapter:
        for key in adapter.keys():  # noqa: SIM118 (no mapping)
            if not torch.isfinite(adapter.get_tensor(key)).all():
                raise AdapterError(f"{key} of {weights.name} holds numbers that are none: train the adapter again")


def _layer_shapes(base: BaseModel) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the name of each linear layer of the base and the shape of its weight, (out, in)."""
    for path in sorted(base.path.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as weights:
            for key in weights.keys():  # noqa: SIM118 (no mapping)
                shape = tuple(weights.get_slice(key).get_shape())
                if key.endswith(".weight") and len(shape) == 2:
                    yield key.removesuffix(".weight"), (shape[0], shape[1])
