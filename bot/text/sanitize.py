"""Makes untrusted text safe to show on Discord: of a model, a document or a member.

It does not rely on how a client separates code from prose: clients differ, and one may link what another shows as code.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

from discord.utils import escape_markdown

from storage.settings.sections import OutputSettings

NO_INVITE = "(invite removed)"
MENTIONED = {"@": "@somebody", "#": "#channel"}

# The flags of England, Scotland and Wales contain hidden letters; any other run of these letters is a hidden message.
_HIDDEN_IN_FLAGS = re.compile(r"(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f)")
# Direction marks, blank letters, tags, and variation selectors that emoji do not use.
_HIDDEN = re.compile(
    "[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Some scripts and emoji need joiners, but only between two visible characters.
_LOOSE_JOINERS = re.compile(r"(?<!\S)[\u200c\u200d]+|[\u200c\u200d]+(?=[\s\u200c\u200d]|$)")
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")

_LINK = re.compile(r"\](?=\()")
_LINK_IN_CODE = re.compile(r"\](?=\(\s*<?\s*[a-z\\]+:[\\/])", re.IGNORECASE)

_DISCORD = r"(?:discord(?:app)?\s?\.\s?com[/\\]+(?:#[/\\]+)?invite|discord\s?\.\s?gg|dsc\s?\.\s?gg|discord\s?\.\s?me)"
_INVITE = re.compile(rf"(?:https?:[/\\]+)?(?:[\w-]{{1,63}}\.){{0,5}}{_DISCORD}[/\\]+[^\s()<>\[\]]+", re.IGNORECASE)
_DISCORD_NAME = re.compile("discord|dsc", re.IGNORECASE)

_MENTION = re.compile(r"<(?=@[!&]?\d|#\d)([@#])[!&]?(\d+)>?")
_CHANNEL = re.compile(r"(<#\d+>)")
_COMMAND = re.compile(r"<(/[^\n:<>]{1,100}):\d+>?")
_PLACE = re.compile(r"<id:(\w+)>")
_OWN_EMOJI = re.compile(r"<a?(:\w{2,32}:)\d+>")
_EVERYONE = re.compile(r"@(?=everyone|here)", re.IGNORECASE)

_LEAD = r"^(?P<lead>[ \t]*(?:(?:>{1,3}|[*+-]|\d{1,9}[.)])[ \t]+)*)"
_SMALL = re.compile(rf"{_LEAD}(?=-#)", re.MULTILINE)
_LOUD = re.compile(rf"{_LEAD}(?=#{{1,6}}(?:[ \t]|$)|>>>)", re.MULTILINE)
_BLOCK = re.compile(r"(^```[\w+#.-]*\n.*?(?:^```[ \t]*$|\Z))", re.MULTILINE | re.DOTALL)


def sanitize_markdown(text: str, settings: OutputSettings) -> str:
    """Return the text without hidden characters, mentions, invites, masked links, headings and small print.

    Idempotent. Plain text is unchanged, and so is code, unless it has a link, a mention or small print.
    """
    return until_stable(text, lambda one: _clean(one, settings))


def sanitize_reason(text: str) -> str:
    """Return an admin's reason so that it can be shown in any server."""
    return sanitize_markdown(text, OutputSettings())


def sanitize_sentence(text: str) -> str:
    """Return one of the bot's sentences that may quote untrusted text; channels in it are still links."""
    return "".join(part if _CHANNEL.fullmatch(part) else sanitize_reason(part) for part in _CHANNEL.split(text))


def quote_plainly(text: str) -> str:
    """Return untrusted text on one line for a terminal or a picture; it names no member and no server's own emoji."""
    return _one_line(_OWN_EMOJI.sub(r"\1", _MENTION.sub(lambda found: MENTIONED[found[1]], text)))


def escape_inline(text: str) -> str:
    """Return untrusted text, such as a title or a note, on one line that is shown as written, without Markdown."""
    words = _one_line(text)
    return re.sub(r"(?<!\\)-#", r"\-#", escape_markdown(_LINK.sub("] ", words), ignore_links=False))


def _one_line(text: str) -> str:
    return until_stable(text, lambda one: _without_mentions(_without_invites(" ".join(without_hidden(one).split()))))


def until_stable(text: str, clean: Callable[[str], str]) -> str:
    """Clean until nothing changes: removing one thing can join the two halves of another."""
    before = None
    while text != before:
        before, text = text, clean(text)
    return text


def _clean(text: str, settings: OutputSettings) -> str:
    text = without_hidden(text)
    if not settings.allow_invites:
        text = _without_invites(text)
    text = _without_mentions(text)
    text = _SMALL.sub(r"\g<lead>\\", text)
    parts = _BLOCK.split(text)  # prose and code by turns
    parts[::2] = [_clean_prose(part, settings) for part in parts[::2]]
    parts[1::2] = [_clean_code(part, settings) for part in parts[1::2]]
    return "".join(parts)


def _clean_prose(text: str, settings: OutputSettings) -> str:
    if not settings.allow_masked_links:
        text = _LINK.sub("] ", text)
    return _LOUD.sub(r"\g<lead>\\", text)


def _clean_code(text: str, settings: OutputSettings) -> str:
    # `handlers[i](x)` stays, because it is code; a link is not.
    return text if settings.allow_masked_links else _LINK_IN_CODE.sub("] ", text)


def without_hidden(text: str) -> str:
    parts = _HIDDEN_IN_FLAGS.split(_LINE_ENDS.sub("\n", text))
    shown = "".join(part if _HIDDEN_IN_FLAGS.fullmatch(part) else _HIDDEN.sub("", part) for part in parts)
    return shown if shown.isascii() else _LOOSE_JOINERS.sub("", shown)


def _without_mentions(text: str) -> str:
    text = _MENTION.sub(r"\1\2", text)
    text = _PLACE.sub(r"\1", _COMMAND.sub(r"\1", text))
    return _EVERYONE.sub("@ ", text)


def _without_invites(text: str) -> str:
    if _DISCORD_NAME.search(text):
        text = _INVITE.sub(NO_INVITE, text)
    return text if _is_as_read(text) else re.sub(r"\S+", lambda word: _without_encoded_invite(word[0]), text)


def _is_as_read(text: str) -> bool:
    """Return whether the text has nothing that a browser decodes or normalises in an address."""
    return text.isascii() and "%" not in text


def _without_encoded_invite(word: str) -> str:
    """Return the word, or a notice if browsers would read it as an invite."""
    if _is_as_read(word):
        return word
    read = unicodedata.normalize("NFKC", unquote(word)).replace("\u3002", ".")
    return NO_INVITE if _INVITE.search(read) else word
