"""Questions in the terminal, whose answers a settings file keeps; Ctrl-C at any of them raises KeyboardInterrupt."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

import questionary
from questionary import Choice

from reactune.shared import notes
from storage.errors import SettingsError
from storage.runtime.shell import as_called
from storage.settings.editing import Value, write_setting
from storage.settings.loading import overriding_place, variable_name

T = TypeVar("T")

NO_TERMINAL = (
    "reactune init asks questions, but this isn't a terminal: "
    "run it in one, or set the bot up by hand (README, Host it)"
)


def require_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SettingsError(NO_TERMINAL)


def say(text: str) -> None:
    notes.print(as_called(text), soft_wrap=True)


def ask_text(question: str) -> str:
    return str(questionary.text(question).unsafe_ask()).strip()


def ask_secret(question: str) -> str:
    """Return typed or pasted text; the terminal shows asterisks."""
    return str(questionary.password(question).unsafe_ask()).strip()


def confirm(question: str, *, default: bool = True) -> bool:
    return bool(questionary.confirm(question, default).unsafe_ask())


def choose(question: str, options: Mapping[T, str], default: T) -> T:
    """Return the key of the option that is chosen; the mapping's values are shown."""
    choices = [Choice(text, value=key) for key, text in options.items()]
    start = next(choice for choice in choices if choice.value == default)
    chosen: T = questionary.select(question, choices, default=start).unsafe_ask()
    return chosen


def choose_several(question: str, options: Mapping[T, str], chosen: Collection[T], *, at_least: int = 0) -> list[T]:
    """Return the keys of the options that are ticked; `chosen` are ticked at first."""
    choices = [Choice(text, value=key, checked=key in chosen) for key, text in options.items()]

    def enough(ticked: list[str]) -> bool | str:
        return len(ticked) >= at_least or f"Tick at least {at_least} with the space bar, then press Enter."

    ticked: list[T] = questionary.checkbox(question, choices, validate=enough).unsafe_ask()
    return ticked


def keep(file: Path, section: str, key: str, value: Value) -> None:
    """Write a setting, and say so if a variable overrides it."""
    write_setting(file, section, key, value)
    if place := overriding_place(section, key):
        say(f"{variable_name(section, key)} in {place} overrides {section}.{key} in {file}: remove it there.")
