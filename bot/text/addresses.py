"""Leaves out web addresses that a model made up: those that stand nowhere in its input.

Addresses that lead to nobody stay: of the reader's own network, and those that are reserved for examples. In code and
in quotation marks a sign says that there was an address.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from re import Match

from bot.text.sanitize import until_stable, without_hidden

_SITE = r"(?:[\w-]{1,63}\.){1,8}[a-z]{2,12}(?::\d{1,5})?"
_REST = r"[^\s<>\"“”|]*"
_ENDINGS = "com|net|org|edu|gov|info|biz|io|gg|me|tv|co|app|dev|ai|uk|de|at|ch|eu|fr|es|it|nl|pl|be|us|ru|ly|xyz|link"
_WITH_SCHEME = rf"(?:[a-z][a-z0-9+.-]{{1,15}}:[/\\]{{2,}}|www\.){_REST}"
_LOWER_CASE = rf"(?-i:(?:(?:[^\WA-Z]|-){{1,63}}\.){{1,8}}(?:{_ENDINGS}))"
_WITH_QUERY = rf"(?:[\w-]{{1,63}}\.){{1,8}}(?:{_ENDINGS})(?=[/\\][^\s`]*[?=%])"
_WITH_PATH = rf"(?<![\w@./-])(?:{_LOWER_CASE}|{_WITH_QUERY})[/\\](?![a-z](?:\#|\+\+)){_REST}"
"""Names that are written like sites have capitals, or a language after the slash: "ASP.NET/Blazor", "asp.net/c#"."""
ADDRESS = re.compile(rf"(?:{_WITH_SCHEME}|{_WITH_PATH})", re.IGNORECASE)
_NAMED = re.compile(rf"(?:{_WITH_SCHEME}|(?<![\w@./-]){_SITE}(?:[/\\]{_REST})?)", re.IGNORECASE)
"""Matches ADDRESS and bare sites: "example.com" in a question lets an answer link there."""
_LINK = re.compile(rf"\[([^\[\]]*)\]\(\s*<?\s*({ADDRESS.pattern})\s*>?[^()\s]*\s*\)", re.IGNORECASE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_RESERVED = re.compile(
    r"(?:.+\.)?(?:localhost|local|lan|internal|test|invalid|example|example\.(?:com|net|org|edu))", re.IGNORECASE
)
"""Hosts that nobody outside of the reader's network can own: RFC 2606, 6761, 6762, and ICANN's "internal"."""
_BRACKETED = re.compile(rf"<\s*({ADDRESS.pattern})\s*>", re.IGNORECASE)
_AROUND = ".,;:!?*_~'`’)]}»…"
"""Characters that end a sentence, a quotation or Markdown; at the end of an address they don't belong to it."""
_BEGUN = re.compile(r"\[[^\[\]]*\](?:\([^()\s]*)?$|\S*(?:[a-z]:[/\\]|www\.|[\w-]\.[a-z]{2,12}[/\\])\S*$", re.IGNORECASE)
"""Matches the end of a growing text that may still become an address."""
_BEGUN_CHARS = 200
"""Length of the text's end to search for a begun address: the search takes quadratic time."""


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
    """Do the same for a text that is still being written, and leave out an address that has only begun."""
    before, end = text[:-_BEGUN_CHARS], text[-_BEGUN_CHARS:]
    return without_invented(before + _BEGUN.sub("", end), given)


def _plain(text: str) -> str:
    return text if text.isascii() else without_hidden(text)


def _without(text: str, known: Collection[str]) -> str:
    left, end = "", 0
    for code in _CODE.finditer(text):
        left += _without_in_prose(text[end : code.start()], known) + _replaced(code[0], known, lambda _: PLACEHOLDER)
        end = code.end()
    return left + _without_in_prose(text[end:], known)


def _replaced(text: str, known: Collection[str], by: Callable[[Match[str]], str]) -> str:
    def bare(found: Match[str]) -> str:
        address = found[0].rstrip(_AROUND)
        return found[0] if _may_stay(address, known) else by(found) + found[0][len(address) :]

    return ADDRESS.sub(bare, text)


def _without_in_prose(text: str, known: Collection[str]) -> str:
    def label(found: Match[str]) -> str:
        return found[0] if _may_stay(found[2], known) else found[1]

    def bracketed(found: Match[str]) -> str:
        return found[0] if _may_stay(found[1], known) else _LEFT_OUT

    def sign(found: Match[str]) -> str:
        return PLACEHOLDER if found.string[: found.start()].endswith(_QUOTES) else _LEFT_OUT

    left = _replaced(_BRACKETED.sub(bracketed, _LINK.sub(label, text)), known, sign)
    left = re.sub(rf"([*_~`]+){_LEFT_OUT}\1", _LEFT_OUT, left)
    left = re.sub(rf"[(\[]\s*{_LEFT_OUT}\s*[)\]]", _LEFT_OUT, left)
    return re.sub(rf"[ \t]*{_LEFT_OUT}(?=[ \t]*(?:[.,;:!?)\]\n]|$))|{_LEFT_OUT}[ \t]*", "", left)


_LEFT_OUT = "\x00"
"""Stands for an address until the space around it is closed; no text for Discord has it."""
PLACEHOLDER = "…"
_QUOTES = ('"', "'", "“", "„", "«")


def _may_stay(address: str, known: Collection[str]) -> bool:
    return _is_known(address, known) or _leads_to_nobody(address)


def _leads_to_nobody(address: str) -> bool:
    """Return whether an address belongs to the reader's own network, or to documentation."""
    host = re.split("[/?#]", _key(address))[0].rpartition("@")[2].partition(":")[0]
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return _RESERVED.fullmatch(host) is not None


def _is_known(address: str, known: Collection[str]) -> bool:
    key = _key(address)
    return key in known or any(one.startswith(key) and one[len(key)] in "/?#" for one in known if len(one) > len(key))


def _key(address: str) -> str:
    """Return the address without scheme, www., the punctuation after it, and capitals of the site."""
    plain = unicodedata.normalize("NFKC", address).rstrip(_AROUND).replace("\\", "/")
    plain = re.sub(r"^[a-z][a-z0-9+.-]*:/+", "", plain, flags=re.IGNORECASE)
    plain = re.sub(r"^www\.", "", plain, flags=re.IGNORECASE)
    site, slash, rest = plain.partition("/")
    return f"{site.lower()}{slash}{rest}".rstrip("/")
