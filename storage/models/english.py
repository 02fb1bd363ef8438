"""Spells out chat spellings and German words in English, the sentence encoder's language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.models.bundled import Encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

GLOSSARY = Path(__file__).with_name("glossary.txt")
LEAST_GERMAN = 0.25
"""A text is German if at least this share of its words is German and not also English."""
SHORTEST_STEM = 4
SHORTEST_PART = 4
"""The fewest letters in either part of a compound word."""
LONGEST_WORD = 40
_ALSO_ENGLISH = """
a am an also arm art bad bald band bank bar brief bus chef club die elf fall fast fest n gang gift hat halt hell hut i
in kind land last link list mag man mir mit name not note nun pause person plan platz post problem rat rot sage see
server so sprang start stern still tag test tier tor tun video wand war warm was we weg will winter wind wo computer
internet website mail garage monitor pc wc text team turn rate rest mine den des bin net fund rang ran summer grill dose
bade brand bond mild fort
"""
ALSO_ENGLISH = frozenset(_ALSO_ENGLISH.split())
"""German words that are English too, so that they do not mark a text as German."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_ENDINGS = ("sten", "est", "ern", "ens", "en", "em", "er", "es", "et", "st", "te", "e", "n", "s", "t")
_FOLDED = str.maketrans({"ä": "a", "ö": "o", "ü": "u", "ß": "ss"})


@dataclass(frozen=True)
class InEnglish:
    """An encoder that reads every text in English."""

    encoder: Encoder

    @property
    def name(self) -> str:
        return f"{self.encoder.name}, in English"

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        return self.encoder.encode([in_english(text) for text in texts])

    def count_tokens(self, text: str) -> int:
        return self.encoder.count_tokens(text)


def in_english(text: str) -> str:
    """Return the text with each word of the glossary in English; German words only if the text is German."""
    words = [word.lower() for word in _WORD.findall(text)]
    german = sum(word not in ALSO_ENGLISH and _translate(word) is not None for word in words)
    is_german = german >= max(1, LEAST_GERMAN * len(words))

    def plain(found: re.Match[str]) -> str:
        word = found[0].lower().replace("’", "'")
        return (_translate(word) if is_german else _read_glossary().spellings.get(word)) or found[0]

    return _WORD.sub(plain, text)


@dataclass(frozen=True)
class _Glossary:
    spellings: dict[str, str]
    german: dict[str, str]
    stems: dict[str, str]
    """The German words' translations by stem."""


@cache
def _read_glossary() -> _Glossary:
    spellings, _, words = GLOSSARY.read_text(encoding="utf-8").partition("# German\n")
    german = _read(words)
    stems: dict[str, str] = {}
    for word, english in german.items():
        stems.setdefault(_stem(word), english)
    return _Glossary(_read(spellings), german, stems)


def _read(lines: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines.splitlines():
        english, _, words = line.partition(": ")
        for word in words.split() if not line.startswith("#") else ():
            found.setdefault(word, english)
    return found


def _translate(word: str) -> str | None:
    """Translate a German word, or both parts of a compound word; None if it is unknown."""
    if len(word) > LONGEST_WORD:
        return None
    if known := _known(word):
        return known
    for end in range(len(word) - SHORTEST_PART, SHORTEST_PART - 1, -1):
        first, rest = _known(word[:end].removesuffix("s")), _known(word[end:])
        if first and rest:
            return f"{first} {rest}"
    return None


def _known(word: str) -> str | None:
    glossary, stem = _read_glossary(), _stem(word)
    return glossary.german.get(word) or (glossary.stems.get(stem) if len(stem) >= SHORTEST_STEM else None)


def _stem(word: str) -> str:
    """Return a German word without its umlauts, the ge- of a participle and its ending."""
    word = word.translate(_FOLDED)
    if word.startswith("ge") and len(word) > 6:
        word = word.removeprefix("ge")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            return word.removesuffix(ending)
    return word
