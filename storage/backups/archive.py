"""The file format of backups: a .tar.gz whose first member lists the others with their sizes and digests."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from storage.errors import BackupRefused
from storage.files import sha256_of, sync_file

MANIFEST = "manifest.json"
FORMAT = 1
BLOCK_BYTES = 1 << 20
MOST_MANIFEST_BYTES = 64 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
COMPRESSION = 6  # adapters hardly shrink, words and votes to a fifth

Manifest = dict[str, Any]
Take = Callable[[str, Iterable[bytes]], None]
"""Receives a member's name and content; it must read all of the content."""


def write_archive(file: Path, parts: Mapping[str, Path], about: Mapping[str, Any]) -> None:
    """Write `parts`, {name inside: file}, and `about` to a new file that only its owner may read.

    The file appears under its name only after it has been read back completely. Raises FileExistsError if another file
    has taken that name.
    """
    draft = file.with_name(f".{file.name}.part")
    listed = {name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for name, path in sorted(parts.items())}
    manifest = {"format": FORMAT, **about, "files": listed}
    try:
        draft.unlink(missing_ok=True)
        with open_new(draft) as stream:
            _write(stream, manifest, parts)
        sync_file(draft)
        read_archive(draft, _discard)
        _name(draft, file)
        sync_file(file.parent)
    finally:
        draft.unlink(missing_ok=True)


def _name(draft: Path, file: Path) -> None:
    """Rename the draft; raises FileExistsError where `Path.rename` would replace a file."""
    try:
        os.link(draft, file)
    except FileExistsError:
        raise
    except OSError:  # memory sticks have no links
        open_new(file).close()
        draft.replace(file)


def _write(stream: IO[bytes], manifest: Manifest, parts: Mapping[str, Path]) -> None:
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=COMPRESSION) as tar:
        listing = json.dumps(manifest, indent=1, default=str).encode()
        tar.addfile(_member(MANIFEST, len(listing)), io.BytesIO(listing))
        for name, path in sorted(parts.items()):
            with path.open("rb") as part:
                tar.addfile(_member(name, manifest["files"][name]["bytes"]), part)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def unpack_archive(file: Path, folder: Path) -> Manifest:
    """Write every part into a folder and return the manifest; raises BackupRefused if the archive is incomplete.

    Raises OSError if the disk is full, which does not mean that the archive is damaged.
    """

    def write(name: str, blocks: Iterable[bytes]) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_new(target) as stream:
            stream.writelines(blocks)

    return read_archive(file, write)


def read_archive(file: Path, take: Take) -> Manifest:
    """Pass every part to `take` and return the manifest; raises BackupRefused if the archive is incomplete."""
    try:
        with tarfile.open(file, mode="r|gz") as tar:
            manifest = _read_manifest(tar)
            missing = dict(manifest["files"])
            while (member := tar.next()) is not None:  # iterating over it would start at the manifest again
                if member.name not in missing or not member.isfile():
                    raise BackupRefused(f"{file} holds {member.name!r}, which its list of files does not name")
                _read_member(tar, member, missing.pop(member.name), take)
    except (tarfile.TarError, EOFError, zlib.error, OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        raise BackupRefused(f"{file} is damaged or not a backup ({error}): use another one") from error
    if missing:
        raise BackupRefused(f"{file} lacks {min(missing)}, which its list of files names: use another backup")
    return manifest


def _read_manifest(tar: tarfile.TarFile) -> Manifest:
    first = tar.next()
    stream = tar.extractfile(first) if first is not None and first.name == MANIFEST else None
    if stream is None or first is None or first.size > MOST_MANIFEST_BYTES:
        raise ValueError(f"it does not start with {MANIFEST}")
    manifest: Manifest = json.load(stream)
    if manifest["format"] > FORMAT:
        raise BackupRefused(f"the backup was written by a newer Reactune (format {manifest['format']}): upgrade first")
    for name in manifest["files"]:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise ValueError(f"{name!r} is not a valid name for a part")
    return manifest


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, listed: Mapping[str, Any], take: Take) -> None:
    stream = tar.extractfile(member)
    assert stream is not None
    digest = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            yield block

    take(member.name, blocks())
    if (member.size, digest.hexdigest()) != (listed["bytes"], listed["sha256"]):
        raise ValueError(f"{member.name} differs from what was written")


def _discard(_name: str, blocks: Iterable[bytes]) -> None:
    for _ in blocks:
        pass


def open_new(path: Path) -> IO[bytes]:
    """Create a file that only its owner may read; raises FileExistsError."""
    binary: int = getattr(os, "O_BINARY", 0)  # without it, Windows changes line ends
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o600), "wb")
