"""Adapters from elsewhere: a PEFT folder or a zip of one, taken only where it fits the base and can do no harm."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from sqlalchemy.orm import Session

from storage.adapters import CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE, AdapterStore
from storage.base_model import BaseModel
from storage.cards import Card, read_card_file
from storage.errors import AdapterError
from storage.exports import CARD_FILE
from storage.personalities import (
    Personality,
    change_card,
    create_personality,
    list_personalities,
    personality_named,
)
from storage.schema import GateVerdict
from storage.versions import Version, register

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
MAX_CONFIG_BYTES = 1_000_000
MAX_UNPACKED_BYTES = 2_000_000_000
TAKEN_FILES = (CONFIG_FILE, WEIGHTS_FILE, CHECKSUMS_FILE, CARD_FILE)
KEY_PREFIX = "base_model.model."
# What a LoRA adapter of every release of PEFT may say. Others change how it is computed, or name code to import.
KNOWN_KEYS = frozenset(
    {
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "exclude_modules", "fan_in_fan_out",
        "inference_mode", "init_lora_weights", "lora_alpha", "lora_dropout", "megatron_core", "peft_type",
        "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "target_modules", "task_type",
        "use_rslora",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    personality: Personality
    is_new: bool
    card_changed: bool
    version: Version | None
    """The adapter's; None where a card came alone."""


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the folder of an export; of a zip, a temporary one with the files that are taken, wherever they lie in it.

    Raises AdapterError on what is neither, on a broken zip and on one that unpacks to more than MAX_UNPACKED_BYTES.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, Path(folder), path.name)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise AdapterError(f"{path.name} is no readable zip file ({error}): export it again") from error
        except OSError as error:
            raise AdapterError(f"{path} cannot be read ({error.strerror}): check the path") from error
        yield Path(folder)


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
    _require_shapes(folder / WEIGHTS_FILE, base)
    with store.stage() as staging:
        (staging / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes())
        own = config | {"base_model_name_or_path": base.name, "revision": base.revision, "auto_mapping": None}
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
    )
    return Imported(personality, is_new, changed, version)


def _unpack(archive: zipfile.ZipFile, folder: Path, source: str) -> None:
    members = {Path(info.filename).name: info for info in archive.infolist() if not info.is_dir()}
    pickled = next((name for name in members if Path(name).suffix.lower() in PICKLES), None)
    if pickled:
        raise _pickled(pickled)
    taken = {name: members[name] for name in TAKEN_FILES if name in members}
    if sum(info.file_size for info in taken.values()) > MAX_UNPACKED_BYTES:
        raise AdapterError(f"{source} unpacks to more than {MAX_UNPACKED_BYTES // 10**9} GB: no adapter is that large")
    for name, info in taken.items():
        # `read` stops at the size that was declared, so a lie about it unpacks no more.
        with archive.open(info) as packed, (folder / name).open("wb") as file:
            file.write(packed.read(info.file_size))


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
    strange = sorted(key for key, value in config.items() if value and key not in KNOWN_KEYS)
    if strange or config.get("bias", "none") != "none":
        raise AdapterError(f"{CONFIG_FILE} sets {', '.join(strange) or 'bias'}: only plain LoRA adapters can be served")


def _require_this_base(config: Mapping[str, Any], base: BaseModel, folder: Path) -> None:
    revision, name = config.get("revision"), str(config.get("base_model_name_or_path") or "an unnamed base")
    same_name = Path(name).name.lower() == Path(base.name).name.lower()
    if revision != base.revision and not (revision is None and same_name):
        raise AdapterError(
            f"{folder.name} was trained on {name} ({revision or 'no revision'}), not on {base.name} ({base.revision}): "
            "set model.base to the former"
        )


def _require_shapes(weights: Path, base: BaseModel) -> None:
    """Raise AdapterError unless every matrix belongs to a layer of the base and has its width."""
    layers = dict(_layer_shapes(base))
    try:
        with safe_open(weights, framework="numpy") as adapter:
            shapes = {key: tuple(adapter.get_slice(key).get_shape()) for key in adapter.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise AdapterError(f"{weights.name} is truncated or no safetensors file ({error}): export it again") from error
    if not shapes:
        raise AdapterError(f"{weights.name} is empty: export the adapter again")
    for key, shape in shapes.items():
        if not _fits(key, shape, layers):
            raise AdapterError(
                f"{key} of {weights.name} does not fit {base.name} ({base.architecture}): it is made for another model"
            )


def _fits(key: str, shape: tuple[int, ...], layers: Mapping[str, tuple[int, int]]) -> bool:
    """Return whether a matrix A, (rank, in), or B, (out, rank), belongs to a layer of these, (out, in)."""
    layer, _, matrix = key.removeprefix(KEY_PREFIX).rpartition(".lora_")
    if layer not in layers or len(shape) != 2:
        return False
    width_out, width_in = layers[layer]
    return shape[1] == width_in if matrix == "A.weight" else matrix == "B.weight" and shape[0] == width_out


def _layer_shapes(base: BaseModel) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the name of each linear layer of the base and the shape of its weight, (out, in)."""
    for path in sorted(base.path.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as weights:
            for key in weights.keys():  # noqa: SIM118 (no mapping)
                shape = tuple(weights.get_slice(key).get_shape())
                if key.endswith(".weight") and len(shape) == 2:
                    yield key.removesuffix(".weight"), (shape[0], shape[1])
