"""Well-known base models and their sizes, read from known_bases.toml, so that nothing need be downloaded to compare."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from storage.models.shape import ModelShape

TABLE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class KnownBase:
    name: str
    """The Hub ID, for model.base."""
    licence: str
    thinks: str
    """Whether a thought comes before the answer: "no", "on request" or "by default"; "" if unknown."""
    shape: ModelShape

    @property
    def architecture(self) -> str:
        return str((self.shape.config.get("architectures") or [""])[0])


def known_bases() -> list[KnownBase]:
    entries = tomllib.loads(TABLE.read_text(encoding="utf-8"))["base"]
    return [
        KnownBase(entry["id"], entry["licence"], entry["thinks"], ModelShape.of(entry, entry["parameters"]))
        for entry in entries
    ]
