"""The demo's folder: a marker keeps the demo out of other data, and remembers its community and its port."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from storage.errors import SettingsError
from storage.settings.loading import variable_name
from storage.settings.sections import CLIENT_SECRET_VARIABLE

DEMO_DIRECTORY = Path("demo-data")
"""Folder for the data of `reactune demo`, inside the folder where it is started."""
MARKER = "demo.json"
CHAT_FILE = "discord.json"
ATTACHMENTS = "attachments"
"""Folder of attached files; each is named by its ID."""
MADE = ("adapters", CHAT_FILE, ATTACHMENTS)
"""Names of a demo's files and folders, except its database and its converted base model."""


def claim_folder(directory: Path) -> None:
    """Mark a new or empty folder as a demo's; raises SettingsError if it holds anything that no demo made."""
    if (directory / MARKER).is_file():
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise SettingsError(f"{directory} is not a demo's folder: choose a new or empty folder with --directory")
        _begin(directory)
    except OSError as error:
        raise SettingsError(
            f"the folder {directory} cannot be used ({error.strerror}): choose another folder with --directory"
        ) from error


def choose_community(directory: Path, community: str, *, start_over: bool) -> str:
    """Return the taste of the community that has voted in a claimed folder or will; "" if there is none.

    `start_over` first deletes what earlier demos stored there, except the converted base model. Raises SettingsError
    if a community of another taste has voted.
    """
    if start_over:
        for path in (*directory.glob("reactune.db*"), *(directory / name for name in MADE)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        _begin(directory)
    else:
        community = _same_community(directory, community)
    _note(directory, community=community)
    return community


def folder_overrides(directory: str, port: int) -> dict[str, str]:
    """Return the environment variables for a demo's data folder and its console's port."""
    return {
        variable_name("data", "directory"): directory,
        variable_name("database", "url"): "",
        variable_name("console", "port"): str(port),
        variable_name("console", "public_url"): "",
        CLIENT_SECRET_VARIABLE: "",
    }


def note_base(directory: Path, base: str) -> None:
    """Remember the base model for later starts."""
    _note(directory, base=base)


def noted_base(directory: Path) -> str:
    """Return the base model of the last start; "" if none was asked for."""
    return str(_noted(directory).get("base", ""))


def note_port(directory: Path, port: int) -> None:
    """Remember the port of the demo's console, for `reactune console`."""
    _note(directory, port=port)


def noted_port(directory: Path) -> int | None:
    """Return the port of the folder's demo, which may have stopped; None if there never was one."""
    try:
        return int(_noted(directory)["port"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def note_latest(directory: Path) -> None:
    """Remember the folder of this user's latest demo, so that `reactune console` finds it from anywhere."""
    with suppress(OSError, RuntimeError):  # a user without a home has no such file
        _latest().parent.mkdir(parents=True, exist_ok=True)
        _latest().write_text(str(directory.resolve()), encoding="utf-8")


def demo_folders() -> list[Path]:
    """Return the folders that may be a running demo's: the usual one here, then that of the user's latest demo."""
    folders = [DEMO_DIRECTORY.resolve()]
    with suppress(OSError, RuntimeError, ValueError):
        folders.append(Path(_latest().read_text(encoding="utf-8")))
    return list(dict.fromkeys(folders))


def _latest() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "reactune" / "latest-demo"


def _same_community(directory: Path, community: str) -> str:
    try:
        earlier = str(_noted(directory)["community"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"{directory / MARKER} cannot be read: add --start-over") from error
    if earlier and community not in ("", earlier):
        raise SettingsError(
            f"the community in {directory} likes {earlier!r}: add --start-over to begin with {community!r}"
        )
    return community or earlier


def _begin(directory: Path) -> None:
    (directory / MARKER).write_text(json.dumps({"community": ""}), encoding="utf-8")


def _note(directory: Path, **facts: object) -> None:
    (directory / MARKER).write_text(json.dumps(_noted(directory) | facts), encoding="utf-8")


def _noted(directory: Path) -> Any:
    """Return what a demo wrote into its marker, usually {name: value}."""
    return json.loads((directory / MARKER).read_text(encoding="utf-8"))
