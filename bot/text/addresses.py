"""Leaves out addresses of the web that a model made up: those that stand nowhere in what it was given."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from re import Match

from bot.text.sanitize import until_stable, without_hidden

_SITE = r"(?:[\w-]{1,63}\.){1,8}[a-z]{2,12}(?::\d{1,5})?"
_REST = r"[^\s<>\"“”|]*"
_ENDINGS = "com|net|org|edu|gov|info|biz|io|gg|me|tv|co|app|dev|ai|uk|de|at|ch|eu|fr|es|it|nl|pl|be|us|ru|ly|xyz|link"
_WITH_SCHEME = rf"(?:[a-z][a-z0-9+.-]{{1,15}}:[/\\]{{2,}}|www\.){_REST}"
_WITH_PATH = rf"(?<![\w@./-])(?:[\w-]{{1,63}}\.){{1,8}}(?:{_ENDINGS})[/\\]{_REST}"
ADDRESS = re.compile(rf"(?:{_WITH_SCHEME}|{_WITH_PATH})", re.IGNORECASE)
_NAMED = re.compile(rf"(?:{_WITH_SCHEME}|(?<![\w@./-]){_SITE}(?:[/\\]{_REST})?)", re.IGNORECASE)
"""As ADDRESS, and sites alone: "example.com" in a question lets an answer link there."""
_LINK = re.compile(rf"\[([^\[\]]*)\]\(\s*<?\s*({ADDRESS.pattern})\s*>?[^()\s]*\s*\)", re.IGNORECASE)
_BRACKETED = re.compile(rf"<\s*({ADDRESS.pattern})\s*>", re.IGNORECASE)
_AROUND = ".,;:!?*_~'`’)]}»…"
"""Characters that end a sentence, a quotation or Markdown; at the end of an address they are no part of it."""
_BEGUN = re.compile(r"\[[^\[\]]*\](?:\([^()\s]*)?$|\S*(?:[a-z]:[/\\]|www\.|[\w-]\.[a-z]{2,12}[/\\])\S*$", re.IGNORECASE)
"""The end of a growing text, of which nobody knows yet what address it becomes."""


def addresses_in(texts: Iterable[str]) -> frozenset[str]:
    """Return the addresses and sites that stand in texts, in a form that can be compared."""
    return frozenset(_key(found[0]) for text in texts for found in _NAMED.finditer(_plain(text)))


def without_invented(text: str, given: Iterable[str]) -> str:
    """Return a text with only those addresses that stand in the given texts, or lead to a part of one; idempotent."""
    if ADDRESS.search(_plain(text)) is None:
        return text
    known = addresses_in(given)
    return until_stable(_plain(text), lambda one: _without(one, known))


def growing_without_invented(text: str, given: Iterable[str]) -> str:
    """Return the same of a text that is still being written, without an address that has only begun."""
    return without_invented(_BEGUN.sub("", text), given)


def _plain(text: str) -> str:
    return text if text.isascii() else without_hidden(text)


def _without(text: str, known: Collection[str]) -> str:
    def label(found: Match[str]) -> str:
        return found[0] if _is_known(found[2], known) else found[1]

    def bare(found: Match[str]) -> str:
        address = found[0].rstrip(_AROUND)
        return found[0] if _is_known(address, known) else _LEFT_OUT + found[0][len(address) :]

    def bracketed(found: Match[str]) -> str:
        return found[0] if _is_known(found[1], known) else _LEFT_OUT

    left = ADDRESS.sub(bare, _BRACKETED.sub(bracketed, _LINK.sub(label, text)))
    left = re.sub(rf"([*_~`]+){_LEFT_OUT}\1", _LEFT_OUT, left)
    left = re.sub(rf"[(\[]\s*{_LEFT_OUT}\s*[)\]]", _LEFT_OUT, left)
    return re.sub(rf"[ \t]*{_LEFT_OUT}(?=[ \t]*(?:[.,;:!?)\]\n]|$))|{_LEFT_OUT}[ \t]*", "", left)


_LEFT_OUT = "\x00"
"""Stands for an address until the space around it is closed; no text for Discord has it."""


def _is_known(address: str, known: Collection[str]) -> bool:
    key = _key(address)
    return key in known or any(one.startswith(key) and one[len(key)] in "/?#" for one in known if len(one) > len(key))


def _key(address: str) -> str:
    """Return the address without scheme, www., what follows it in a sentence, and capitals of the site."""
    plain = unicodedata.normalize("NFKC", address).rstrip(_AROUND).replace("\\", "/")
    plain = re.sub(r"^[a-z][a-z0-9+.-]*:/+", "", plain, flags=re.IGNORECASE)
    plain = re.sub(r"^www\.", "", plain, flags=re.IGNORECASE)
    site, slash, rest = plain.partition("/")
    return f"{site.lower()}{slash}{rest}".rstrip("/")
