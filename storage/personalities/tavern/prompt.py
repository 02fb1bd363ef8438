"""Builds the system prompt from a character of SillyTavern."""

from __future__ import annotations

import re
from collections.abc import Sequence

from storage.personalities.cards import MAX_PROMPT_CHARS
from storage.personalities.tavern.character import Character
from storage.personalities.tavern.macros import NOBODY, Macros

BETWEEN = "\n\n"
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]*_]?\s|\n")


def prompt_of(character: Character, name: str, samples: Sequence[str], macros: Macros) -> tuple[str, str]:
    """Return (the prompt, the text that did not fit).

    `samples` are words of the character that show how it talks. A card with nothing but a system prompt keeps it
    unchanged.
    """
    about = [
        macros.describe(character.description),
        _labelled("Personality", macros.describe(character.personality)),
        _labelled("Scenario", macros.describe(character.scenario)),
        _labelled(f"How {name or NOBODY} talks", BETWEEN.join(samples)),
    ]
    own = macros.describe(character.system_prompt)
    introduction = f"You are {name}." if name and not own.strip() and any(map(str.strip, about)) else ""
    parts = [own, introduction, *about, macros.describe(character.post_history_instructions)]
    return _fit([part for part in parts if part.strip()])


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if text.strip() else ""


def _fit(parts: list[str]) -> tuple[str, str]:
    """Return (the parts as one text within the limit, the text cut off the ends of the longest)."""
    cut_off: list[str] = []
    while (excess := len(BETWEEN.join(parts)) - MAX_PROMPT_CHARS) > 0:
        longest = max(range(len(parts)), key=lambda at: len(parts[at]))
        text = parts[longest]
        room = max(len(text) - excess, 0)
        end = max((found.end() for found in _SENTENCE_END.finditer(text, 0, room)), default=room)
        parts[longest], rest = text[:end].rstrip(), text[end:].strip()
        cut_off.append(rest)
    return BETWEEN.join(filter(None, parts)), BETWEEN.join(cut_off)
