"""Emoji that vote: their weights for or against an answer, and their spellings on Discord."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

import regex

LIKE, DISLIKE = "👍", "👎"
THUMBS: Mapping[str, float] = {LIKE: 1.0, DISLIKE: -1.0}
SKIN_TONES = "🏻🏼🏽🏾🏿"
VARIATION_SELECTOR = "\ufe0f"
JOINER = "\u200d"
SERVER_EMOJI = re.compile(r"<a?:(?P<name>\w{2,32}):(?P<id>\d{15,20})>", re.ASCII)
TAKES_SKIN_TONES = regex.compile(r"\p{Emoji_Modifier_Base}")
ONE_PART = r"(?:\p{RI}\p{RI}|\p{Emoji}(?:\p{Emoji_Modifier}|\ufe0f\u20e3?|[\U000e0020-\U000e007e]+\U000e007f)?)"
ONE_EMOJI = regex.compile(rf"(?![0-9#*](?!\ufe0f\u20e3)){ONE_PART}(?:\u200d{ONE_PART}){{0,4}}\ufe0f?")
"""One emoji by Unicode Technical Standard 51, section 1.4.9, except bare digits; at most five parts, as in families."""
MOST_PARTS_WITH_TONES = 2
"""Maximum number of parts that can have skin tones: larger families come in one colour only."""
UNDECORATED = str.maketrans("", "", SKIN_TONES + VARIATION_SELECTOR)


def is_emoji(text: str) -> bool:
    """Return whether the text is one emoji of Unicode, or a server's own as Discord writes it: "<:name:id>"."""
    return bool(ONE_EMOJI.fullmatch(text) or SERVER_EMOJI.fullmatch(text))


def plain(emoji: str) -> str:
    """Return the emoji without skin tone and variation selector; for a server's own emoji, its ID.

    A server's emoji can be renamed while it stands under an answer.
    """
    of_server = SERVER_EMOJI.fullmatch(emoji)
    return of_server["id"] if of_server else emoji.translate(UNDECORATED)


class VoteEmoji:
    """Weights of the emoji that vote: both thumbs, and those of `votes.emoji`."""

    def __init__(self, configured: Mapping[str, float]) -> None:
        self.weights: Mapping[str, float] = {**THUMBS, **{plain(emoji): weight for emoji, weight in configured.items()}}
        """Weight by plain emoji: a thumb has 1, dislikes are below 0."""
        self.spelled: Mapping[str, str] = {spelling: one for one in self.weights for spelling in _spellings(one)}
        """The plain emoji by each spelling; a server's own emoji is spelled by its ID."""
        self._written = {plain(emoji): emoji for emoji in (*THUMBS, *configured)}

    def weight(self, spelling: str) -> float:
        """Return the emoji's weight as a vote; 0 if it does not vote."""
        return self.weights.get(self.spelled.get(spelling, ""), 0.0)

    def strongest(self, spellings: Iterable[str]) -> str:
        """Return the plain emoji with the largest weight, the first in the settings among equals; all must be votes."""
        order = list(self.weights)
        found = {self.spelled[spelling] for spelling in spellings}
        return max(sorted(found, key=order.index), key=lambda emoji: abs(self.weights[emoji]))

    def strength(self, spellings: Iterable[str]) -> float:
        """Return the largest weight in thumbs, without a sign; all of the emoji must be votes."""
        return abs(self.weights[self.strongest(spellings)])

    def written(self, emoji: str) -> str:
        """Return a plain emoji as Discord shows it; unchanged if it no longer votes."""
        return self._written.get(emoji, emoji)


def _spellings(emoji: str) -> Iterator[str]:
    """Yield a plain emoji in all skin tones, with and without variation selectors."""
    parts = emoji.split(JOINER)
    with_tones = len(parts) <= MOST_PARTS_WITH_TONES
    return map(JOINER.join, product(*(list(_decorated(part, with_tones)) for part in parts)))


def _decorated(part: str, with_tones: bool) -> Iterator[str]:
    tones = ("", *SKIN_TONES) if with_tones and TAKES_SKIN_TONES.match(part) else ("",)
    for tone, selector in product(tones, ("", VARIATION_SELECTOR)):
        yield part[:1] + tone + selector + part[1:]
