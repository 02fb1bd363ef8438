"""The settings as people read them: default and value as TOML, unit, and the sentence below each in `sections`."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import tomlkit

from storage.settings import sections as definitions
from storage.settings.sections import FOR_TESTS, sections

UNITS = {
    "s": "seconds",
    "minutes": "minutes",
    "days": "days",
    "gb": "GB",
    "bytes": "bytes",
    "tokens": "tokens",
    "chars": "characters",
    "minute": "requests per minute",
    "hour": "requests per hour",
    "day": "tokens per day",
    "share": "0 to 1",
    "channel": "ID",
    "channels": "IDs",
    "roles": "IDs",
    "servers": "IDs",
}
"""Units by the last word of a setting's name."""


@dataclass(frozen=True)
class DescribedSetting:
    section: str
    key: str
    default: str
    """As TOML."""
    unit: str
    """Empty if it has none."""
    description: str
    is_secret: bool
    """Whether its value may hold a password."""

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"


def describe_settings() -> list[DescribedSetting]:
    """Return every setting that people may change, in the order of docs/settings.md."""
    described = _descriptions()
    return [
        DescribedSetting(
            section=name,
            key=key,
            default=as_toml(field.default),
            unit=UNITS.get(key.split("_")[-1], ""),
            description=described[cls.__name__][key],
            is_secret=not field.repr,
        )
        for name, cls in sections().items()
        for key, field in cls.model_fields.items()
        if f"{name}.{key}" not in FOR_TESTS
    ]


def _descriptions() -> dict[str, dict[str, str]]:
    """Return the text below each setting, by class; pydantic could, but would read the source at every start."""
    classes = [node for node in ast.parse(inspect.getsource(definitions)).body if isinstance(node, ast.ClassDef)]
    return {
        cls.name: {
            setting.target.id: inspect.cleandoc(below.value.value)
            for setting, below in pairwise(cls.body)
            if isinstance(setting, ast.AnnAssign) and isinstance(setting.target, ast.Name)
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(below.value.value, str)
        }
        for cls in classes
    }


def as_toml(value: Any) -> str:
    """Return a setting's value as it is written in a settings file, on one line."""
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return table.as_string()
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    return str(tomlkit.item(str(value) if isinstance(value, Path) else value).as_string())
