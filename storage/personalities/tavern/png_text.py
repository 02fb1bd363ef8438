"""Text in PNG files. Neither pixels nor compressed text are ever unpacked, so that no file grows when it is read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT = b"tEXt"
OTHER_TEXTS = (b"zTXt", b"iTXt")
"""Kinds of text that may be compressed."""
MAX_CHUNKS = 100_000
"""Maximum number of chunks in a file; programs that write small ones write some hundred for each megabyte."""

_HEAD = struct.Struct(">I4s")
_CRC = struct.Struct(">I")


def is_png(content: bytes) -> bool:
    return content.startswith(SIGNATURE)


def read_text_chunks(png: bytes) -> dict[bytes, bytes | None]:
    """Return {keyword: its first text}; None for a text that is not stored as plain tEXt.

    Raises ValueError if the file is damaged. PNG specification, third edition, sections 5 and 11.3.3.
    """
    texts: dict[bytes, bytes | None] = {}
    for kind, content in _chunks(png):
        if kind == TEXT or kind in OTHER_TEXTS:
            keyword, _, text = content.partition(b"\0")
            texts.setdefault(keyword, text if kind == TEXT else None)
    return texts


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if start + _HEAD.size > len(png):
            raise ValueError("it ends too early")
        length, kind = _HEAD.unpack_from(png, start)
        begin, end = start + _HEAD.size, start + _HEAD.size + length
        if end + _CRC.size > len(png):
            raise ValueError("it ends too early")
        content = png[begin:end]
        if _CRC.unpack_from(png, end)[0] != zlib.crc32(content, zlib.crc32(kind)):
            raise ValueError("a checksum in it is wrong")
        yield kind, content
        if kind == b"IEND":
            return
        start = end + _CRC.size
    raise ValueError("it has too many parts")
