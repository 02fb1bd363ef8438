"""Well-known base models and their sizes, read from known_bases.toml, to compare them without downloads."""

from __future__ import annotations

import logging
import tomllib
from dataclasses import dataclass
from pathlib import Path

from storage.models.base_model import BUNDLED, BUNDLED_NAME, HUB_ID
from storage.models.conversion import GEMMA
from storage.models.seeing import WITH_SENSES, can_see
from storage.models.shape import ModelShape, shape_of
from storage.settings.sections import Settings

log = logging.getLogger(__name__)

TABLE = Path(__file__).with_suffix(".toml")
PACKAGED = {BUNDLED: f"HuggingFaceTB/{BUNDLED_NAME}", GEMMA: "google/gemma-3-270m"}
"""{model.base: the model's name on the Hub}."""


@dataclass(frozen=True)
class KnownBase:
    name: str
    """The Hub ID, for model.base."""
    licence: str
    thinks: str
    """When a thought comes before the answer: "no", "on request" or "by default"; "" if unknown."""
    shape: ModelShape
    sees: bool
    """True if transformers can look at pictures with it."""

    @property
    def architecture(self) -> str:
        return str((self.shape.config.get("architectures") or [""])[0])


def known_bases() -> list[KnownBase]:
    entries = tomllib.loads(TABLE.read_text(encoding="utf-8"))["base"]
    return [
        KnownBase(
            name=entry["id"],
            licence=entry["licence"],
            thinks=entry["thinks"],
            shape=ModelShape.of(entry, entry["parameters"]),
            sees=entry["architectures"][0].endswith(WITH_SENSES),
        )
        for entry in entries
    ]


def configured_base(settings: Settings) -> KnownBase | None:
    """Return the configured base, measured from its files if they are here; None if nothing is known about it.

    Nothing is downloaded or converted. Logs a warning about files that cannot be measured.
    """
    named = settings.model.base
    folder = _local_folder(named, settings.data.directory / "base")
    known = {base.name: base for base in known_bases()}.get(PACKAGED.get(named, named))
    if folder is None:
        return known
    try:
        shape = shape_of(folder)
    except (KeyError, ValueError, OSError) as error:
        fault = f"config.json lacks {error}" if isinstance(error, KeyError) else str(error)
        log.warning("The memory that %s needs cannot be computed from its files: %s.", named, fault)
        return known
    licence, thinks = (known.licence, known.thinks) if known else ("", "")
    return KnownBase(known.name if known else named, licence, thinks, shape, can_see(folder))


def _local_folder(named: str, cache: Path) -> Path | None:
    """Return the folder of a base whose files are on this machine, or None."""
    if named in PACKAGED:
        converted = cache.glob(f"{PACKAGED[named].rpartition('/')[2]}-*/config.json")
        return next((file.parent for file in converted), None)
    if (folder := Path(named).expanduser()).is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(named, "config.json") if HUB_ID.fullmatch(named) else None
    return Path(file).parent if isinstance(file, str) else None
