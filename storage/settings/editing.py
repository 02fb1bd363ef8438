"""Changes one setting in a settings file and keeps the file's comments and layout (by tomlkit)."""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from storage.errors import SettingsError

Value = str | bool | int | list[int]
NEW_FILE = """\
# Your own settings. They override config.toml, and Git ignores them; `reactune init` and `reactune base use` write
# here too. `reactune settings` lists what can be set. One line each, such as: chat.quiet_hours = "22:00-07:00"
"""


def write_setting(path: Path, section: str, key: str, value: Value) -> None:
    """Set a setting, in its line if it has one; the file is replaced in one step, or created.

    Raises SettingsError if the file cannot be written, or has the setting in a form that cannot be edited here.
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


def require_editable(path: Path, section: str, key: str, value: Value) -> None:
    """Raise SettingsError if the file or its folder is read-only, or if `write_setting` cannot edit the setting."""
    path = path.resolve()
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise SettingsError(f"{path} is read-only: make it and its folder writable for this user")
    if _edited(_read(path), section, key, value) is None:
        by_hand = _by_hand(path, section, key, value)
        raise SettingsError(f"{section}.{key} is written in a way that cannot be edited: {by_hand}, then try again")


def _by_hand(path: Path, section: str, key: str, value: Value) -> str:
    return f"change {section}.{key} to {tomlkit.item(value).as_string()} in {path} yourself"


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8") if path.exists() else NEW_FILE


def _edited(text: str, section: str, key: str, value: Value) -> str | None:
    """Return the text with the setting, or None if anything else would change too."""
    mark, break_ = "\ufeff" if text.startswith("\ufeff") else "", "\r\n" if "\r\n" in text else "\n"
    plain = text.removeprefix(mark).replace("\r\n", "\n")
    expected = tomllib.loads(plain)
    table = expected.setdefault(section, {})
    if not isinstance(table, dict):
        return None
    if table.get(key) == value:
        return text
    table[key] = value
    try:
        document = tomlkit.parse(plain)
        if section in document:
            document[section][key] = value
        else:
            document.append(tomlkit.key([section, key]), tomlkit.item(value))
        new = tomlkit.dumps(document)
        return mark + new.replace("\n", break_) if tomllib.loads(new) == expected else None
    except (TOMLKitError, tomllib.TOMLDecodeError):
        return None


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
