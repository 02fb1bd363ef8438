"""Changes one setting in config.toml and leaves every other byte of the file as it is."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import tomllib
from pathlib import Path

from storage.errors import SettingsError

KEY_VALUE = r"(?P<key>[ \t]*{key}[ \t]*=[ \t]*)(?P<value>\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^#\s]+)"
HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)


def write_setting(path: Path, section: str, key: str, value: str) -> None:
    """Set a text setting, in its line if it has one; the file is replaced in one step, or created.

    Raises SettingsError if the file cannot be written, or writes the setting in a way that is not edited here.
    """
    path = path.resolve()  # a link stays a link
    by_hand = _by_hand(path, section, key, value)
    try:
        before = _read(path)
        after = _edited(before, section, key, value)
        if after is None:
            raise SettingsError(f"{section}.{key} is written in a way that cannot be edited: {by_hand}")
        if after != before:
            _replace(path, after)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path} cannot be written ({reason}): {by_hand}") from error


def require_editable(path: Path, section: str, key: str, value: str) -> None:
    """Raise SettingsError if the file or its folder is read-only, or if `write_setting` cannot edit the setting."""
    path = path.resolve()
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise SettingsError(f"{path} is read-only: make it and its folder writable for this user")
    if _edited(_read(path), section, key, value) is None:
        by_hand = _by_hand(path, section, key, value)
        raise SettingsError(f"{section}.{key} is written in a way that cannot be edited: {by_hand}, then try again")


def _by_hand(path: Path, section: str, key: str, value: str) -> str:
    return f"change {section}.{key} to {_quoted(value)} in {path} yourself"


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8") if path.exists() else ""


def _edited(text: str, section: str, key: str, value: str) -> str | None:
    """Return the text with the setting, or None if anything else would change too."""
    expected = tomllib.loads(text.removeprefix("\ufeff"))
    if expected.get(section, {}).get(key) == value:
        return text
    header = re.search(rf"^[ \t]*\[[ \t]*{section}[ \t]*\][ \t]*(#[^\n]*)?$", text.replace("\r", " "), re.MULTILINE)
    if header is None:
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        new = f"{text}{gap}[{section}]\n{key} = {_quoted(value)}\n"
    else:
        new = _edited_table(text, header.end(), key, value)
    expected.setdefault(section, {})[key] = value
    try:
        return new if tomllib.loads(new.removeprefix("\ufeff")) == expected else None
    except tomllib.TOMLDecodeError:
        return None


def _edited_table(text: str, start: int, key: str, value: str) -> str:
    following = HEADER.search(text, start)
    end = following.start() if following else len(text)
    line = re.compile("^" + KEY_VALUE.format(key=key), re.MULTILINE).search(text, start, end)
    if line is not None:
        return text[: line.start("value")] + _quoted(value) + text[line.end("value") :]
    break_ = "\r\n" if "\r\n" in text else "\n"
    above, below = text[:start].rstrip("\r"), text[start:].removeprefix("\n")
    return f"{above}{break_}{key} = {_quoted(value)}{break_}{below}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    staging = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, staging)
        else:
            staging.chmod(0o644)
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
