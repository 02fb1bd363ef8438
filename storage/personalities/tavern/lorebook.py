"""The lorebook of a character of SillyTavern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from storage.personalities.cards import LorebookEntry
from storage.personalities.tavern.character import Entry
from storage.personalities.tavern.macros import Macros

MAX_ENTRIES = 1_000
MAX_KEYS_CHARS = 200
_DECORATOR = re.compile(r"^@@.*\n?", re.MULTILINE)
"""A rule of version 3 for when an entry applies."""
_PATTERN = re.compile(r"/.+/[a-z]*", re.DOTALL)


def entries_of(entries: Sequence[Entry], macros: Macros) -> Iterator[LorebookEntry]:
    """Yield the entries that are switched on and not empty, without their rules."""
    for number, entry in enumerate(entries, start=1):
        content = macros.describe(_DECORATOR.sub("", entry.content)).strip()
        if entry.enabled and content:
            yield LorebookEntry(tuple(_keys(entry, macros)) or (f"entry {number}",), content)


def _keys(entry: Entry, macros: Macros) -> Iterator[str]:
    """Yield the entry's title and keys, each once, without patterns."""
    seen: set[str] = set()
    room = MAX_KEYS_CHARS
    for word in (entry.comment or entry.name, *(() if entry.use_regex else entry.keys)):
        key = " ".join(macros.describe(word).split())
        room -= len(key)
        if room >= 0 and key and key.casefold() not in seen and not _PATTERN.fullmatch(key):
            seen.add(key.casefold())
            yield key
