"""Keeps the answers in config.toml."""

from __future__ import annotations

from pathlib import Path

from reactune.init.prompts import say
from storage.settings.editing import Value, write_setting
from storage.settings.loading import overriding_place, variable_name


def keep(file: Path, section: str, key: str, value: Value) -> None:
    """Write a setting, and say so if a variable overrides it."""
    write_setting(file, section, key, value)
    if place := overriding_place(section, key):
        say(f"{variable_name(section, key)} in {place} overrides {section}.{key} in {file}: remove it there.")
