"""One adapter's folder: which files it may contain, and the digest of their bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import SafetensorError, safe_open

from storage.errors import AdapterError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CHECKSUMS_FILE = "SHA256SUMS"
"""Lines in the format of `sha256sum`; the digest of this file names the adapter."""
FILES = (CONFIG_FILE, WEIGHTS_FILE, CHECKSUMS_FILE)
"""All files of an adapter, in the order in which they are written: the last one completes it."""
DROPPED_FILES = frozenset({"README.md", CHECKSUMS_FILE})  # PEFT's model card contains paths of this machine

Stamp = tuple[tuple[str, int, int], ...]


def seal(staging: Path) -> str:
    """Prepare a PEFT folder for publication and return its digest; raises AdapterError if it may not be published."""
    _keep_adapter_files(staging)
    _normalise_config(staging / CONFIG_FILE)
    return hashlib.sha256(_write_checksums(staging).encode()).hexdigest()


def _keep_adapter_files(staging: Path) -> None:
    for path in sorted(staging.iterdir()):
        if path.name in DROPPED_FILES:
            path.unlink()
        elif path.name not in (CONFIG_FILE, WEIGHTS_FILE) or path.is_symlink() or not path.is_file():
            raise AdapterError(
                f"an adapter cannot contain {path.name}: only {CONFIG_FILE} and {WEIGHTS_FILE} are accepted, "
                "because other formats can run code when they are loaded"
            )
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (staging / name).exists():
            raise AdapterError(f"the adapter has no {name}: save it again with PEFT as safetensors")
    _require_safetensors(staging / WEIGHTS_FILE)


def _require_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise AdapterError(f"{path.name} is truncated or not a safetensors file ({error}): save it again") from error


def _normalise_config(path: Path) -> None:
    """Rewrite PEFT's configuration so that equal adapters have equal bytes on every machine."""
    config = read_config(path) | {"inference_mode": True}
    if isinstance(config.get("target_modules"), list):  # PEFT saves a set, in random order
        config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = _without_folders(config.get("base_model_name_or_path"))
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _without_folders(name: str | None) -> str | None:
    if name is None or not (PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()):
        return name
    return PureWindowsPath(name).name


def read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path} cannot be read ({error}): restore the adapter from a backup") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{path} is not a JSON object: restore the adapter from a backup")
    return config


def _write_checksums(folder: Path) -> str:
    checksums = "".join(f"{_digest(folder / name)}  {name}\n" for name in (CONFIG_FILE, WEIGHTS_FILE))
    (folder / CHECKSUMS_FILE).write_text(checksums, encoding="ascii")
    return checksums


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_of(folder: Path) -> Stamp:
    """Return name, size and modification time of each file; raises AdapterError on a missing one."""
    stamp = []
    for name in (CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE):
        try:
            status = (folder / name).stat()
        except OSError as error:
            missing = name if folder.is_dir() else "the folder"
            raise damaged(folder.name, f"{missing} is missing", folder.parent) from error
        stamp.append((name, status.st_size, status.st_mtime_ns))
    return tuple(stamp)


def verify(folder: Path, digest: str, place: str = "") -> None:
    """Raise AdapterError unless the folder's bytes match the digest; `place` names their origin in the error."""
    checksums = (folder / CHECKSUMS_FILE).read_bytes()
    if hashlib.sha256(checksums).hexdigest() != digest:
        raise damaged(digest, f"{CHECKSUMS_FILE} was altered", place or folder.parent)
    for line in checksums.decode("ascii").splitlines():
        expected, name = line.split("  ", 1)
        if _digest(folder / name) != expected:
            raise damaged(digest, f"{name} was truncated or altered", place or folder.parent)


def damaged(digest: str, what: str, place: str | Path) -> AdapterError:
    return AdapterError(
        f"the adapter {digest[:12]} cannot be used, {what} in {place}: "
        "restore it from a backup, or roll back to another version"
    )
