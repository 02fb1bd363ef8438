"""`reactune settings`: every setting with its value, default and meaning, and the place that sets it."""

from __future__ import annotations

import ast
import inspect
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer

from reactune.shared import AsJson, Config, read_settings, show_plain
from storage.errors import SettingsError
from storage.settings import sections as definitions
from storage.settings.loading import OWN_FILE, find_places
from storage.settings.sections import FOR_TESTS, sections
from storage.wording import count

HIDDEN = "(hidden)"
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
class PresentSetting:
    name: str
    value: Any
    default: str
    """As TOML."""
    unit: str
    description: str
    source: str
    """The place that sets it; "default" if none does."""


def list_settings(
    word: Annotated[str, typer.Argument(help="Only settings with this word in name or description.")] = "",
    *,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the settings: value, unit, what each does, and where the value comes from."""
    settings, places = read_settings(config), find_places(config)
    known = describe_settings()
    chosen = [one for one in known if word.lower() in f"{one.name} {one.description}".lower()]
    if not chosen:
        raise SettingsError(f"no setting has {word!r} in its name or description: `reactune settings` lists all")
    present = [
        _at_present(one, getattr(getattr(settings, one.section), one.key), places.get((one.section, one.key)))
        for one in chosen
    ]
    hint = f"{count(len(present), 'setting')}. Your own values go into {config or OWN_FILE}, one line each."
    text = "\n\n".join([*map(_describe, present), hint])
    show_plain({"settings": [asdict(one) for one in present]}, text, as_json)


def _at_present(one: DescribedSetting, value: Any, place: str | None) -> PresentSetting:
    shown = HIDDEN if one.is_secret and value else value
    return PresentSetting(one.name, shown, one.default, one.unit, one.description, place or "default")


def _describe(one: PresentSetting) -> str:
    value = one.value if one.value == HIDDEN else as_toml(one.value)
    unit = f" ({one.unit})" if one.unit else ""
    comes = "default" if one.source == "default" else f"{one.source}; default {one.default}"
    return f"{one.name} = {value}{unit}   # {comes}\n    {one.description}"


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
