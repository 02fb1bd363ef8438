"""A member's export as files that Discord accepts: plain JSON if it fits, else compressed, else in parts."""

from __future__ import annotations

import gzip
import json
from typing import Any

NAME = "reactune-data"


def pack(export: dict[str, Any], limit_bytes: int) -> list[tuple[str, bytes]]:
    """Return (name, content) of each file; each part of several is a complete JSON document."""
    plain = _encode(export)
    if len(plain) <= limit_bytes:
        return [(f"{NAME}.json", plain)]
    parts = _split(export, limit_bytes)
    if len(parts) == 1:
        return [(f"{NAME}.json.gz", _compress(export))]
    return [
        (f"{NAME}-{number}-of-{len(parts)}.json.gz", _compress({**part, "part": number, "parts": len(parts)}))
        for number, part in enumerate(parts, start=1)
    ]


def _split(export: dict[str, Any], limit_bytes: int) -> list[dict[str, Any]]:
    """Halve the longest list until every part fits; a single row that is too long is sent as it is."""
    longest = max((key for key, rows in export.items() if isinstance(rows, list)), key=lambda key: len(export[key]))
    rows = export[longest]
    if len(_compress(export)) + len('"part": 1000, "parts": 1000') <= limit_bytes or len(rows) < 2:
        return [export]
    middle = len(rows) // 2
    others = {key: [] if isinstance(value, list) else value for key, value in export.items()}
    halves = ({**export, longest: rows[:middle]}, {**others, longest: rows[middle:]})
    return [part for half in halves for part in _split(half, limit_bytes)]


def _encode(export: dict[str, Any]) -> bytes:
    return json.dumps(export, ensure_ascii=False, indent=1).encode()


def _compress(export: dict[str, Any]) -> bytes:
    return gzip.compress(_encode(export), mtime=0)
