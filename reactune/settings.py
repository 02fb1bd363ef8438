"""`reactune settings`: every setting with its value, default and meaning, and the place that sets it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from reactune.shared import AsJson, Config, read_settings, show_plain
from storage.errors import SettingsError
from storage.settings.described import DescribedSetting, as_toml, describe_settings
from storage.settings.loading import OWN_FILE, find_places
from storage.wording import count

HIDDEN = "(hidden)"


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
