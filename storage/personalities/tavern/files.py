"""The JSON and PNG files of character cards.

Neither a picture's pixels nor compressed text are ever unpacked, so that no file grows when it is read.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from storage.errors import CardError

MAX_PICTURE_BYTES = 20_000_000
MAX_JSON_BYTES = 4_000_000
KEYWORDS = (b"ccv3", b"chara")
"""Keywords of the PNG text with a card of version 3, and one of version 2; the newer version counts."""
FIRST_BYTES = 100
"""Number of a file's first bytes in which its JSON must begin."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT = b"tEXt"
OTHER_TEXTS = (b"zTXt", b"iTXt")
"""Kinds of text that may be compressed."""
MAX_CHUNKS = 100_000
"""Maximum number of chunks in a file; programs that write small ones write some hundred for each megabyte."""

_HEAD = struct.Struct(">I4s")
_CRC = struct.Struct(">I")


def is_tavern_file(content: bytes) -> bool:
    """Return whether the content is a picture or JSON; our own cards are neither."""
    return is_png(content) or content[:FIRST_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def load_json(content: bytes, source: str) -> Mapping[str, Any]:
    """Return the JSON object in a JSON or PNG file, without keys that are null; raises CardError."""
    text = _text_of_picture(content, source) if is_png(content) else content
    if len(text) > MAX_JSON_BYTES:
        raise CardError(
            "{source} holds more than {limit} kB of text, the limit for a character card: shorten its lorebook",
            source=source,
            limit=MAX_JSON_BYTES // 1000,
        )
    try:
        found = _without_halves(json.loads(text.decode("utf-8-sig"), object_pairs_hook=_without_nulls))
    except (ValueError, RecursionError) as error:
        raise CardError(
            "{source} cannot be read, because its JSON is damaged or nested too deeply: export it again", source=source
        ) from error
    if not isinstance(found, dict):
        raise CardError("{source} is JSON, but not a character card: it holds no object", source=source)
    return found


def _text_of_picture(png: bytes, source: str) -> bytes:
    """Return the JSON in a PNG file."""
    if len(png) > MAX_PICTURE_BYTES:
        raise CardError(
            "{source} is larger than {limit} MB: make its picture smaller",
            source=source,
            limit=MAX_PICTURE_BYTES // 1000000,
        )
    try:
        texts = read_text_chunks(png)
    except ValueError as error:
        raise CardError(
            "{source} is a damaged PNG file ({error}): download it again", source=source, error=error
        ) from error
    keyword = next((keyword for keyword in KEYWORDS if keyword in texts), None)
    if keyword is None:
        raise CardError(
            "{source} is a picture without a character card: download the original, as PNG or JSON", source=source
        )
    text = texts[keyword]
    if text is None:
        raise CardError(
            "{source} holds its card in a kind of text that is not read here: export it as JSON", source=source
        )
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise CardError(
            "the card in {source} is damaged (its base64 is not valid): download it again", source=source
        ) from error


def _without_halves(found: Any) -> Any:
    """Return the value without halves of characters, which JSON can hold and UTF-8 cannot: some programs cut emoji."""
    return json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "ignore"))


def _without_nulls(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if value is not None}


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
