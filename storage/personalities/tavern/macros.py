"""Macros of SillyTavern, such as {{char}}, are replaced by plain words: our cards have no macros."""

from __future__ import annotations

import re

NOBODY = "the character"
"""Stands for a character without a name."""

_CHARACTER = re.compile(r"\{\{\s*char\s*\}\}|<(?:char|bot)>", re.IGNORECASE)
_PERSON = re.compile(r"(?:\{\{\s*user\s*\}\}|<user>)(?P<own>['’]s\b)?", re.IGNORECASE)
_OTHER = re.compile(r"\{\{[^{}]*\}\}")
_LOOKED_BACK = 3
"""Number of characters before a person's name that show whether it begins a sentence."""


class Macros:
    """Replaces the macros of one card."""

    def __init__(self, character: str) -> None:
        self._character = character
        self.removed: list[str] = []
        """Removed macros, which mean nothing here, such as {{time}}."""

    def describe(self, text: str) -> str:
        """Return a text about a conversation; its person becomes "the user"."""
        return self._replace(text, "the user", "the user's")

    def speak(self, text: str) -> str:
        """Return words spoken to a person; the person becomes "you"."""
        return self._replace(text, "you", "your")

    def _replace(self, text: str, person: str, own: str) -> str:
        named = _CHARACTER.sub(lambda found: self._character or _in_place(found, NOBODY), text)
        named = _PERSON.sub(lambda found: _in_place(found, own if found["own"] else person), named)
        self.removed += _OTHER.findall(named)
        return _OTHER.sub("", named)


def _in_place(found: re.Match[str], words: str) -> str:
    """Return the words, with a capital letter where they begin a sentence."""
    before = found.string[max(0, found.start() - _LOOKED_BACK) : found.start()].rstrip(' *"“')
    return words.capitalize() if not before or before.endswith((".", "!", "?", "\n")) else words
