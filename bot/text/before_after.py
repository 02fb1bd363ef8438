"""The same messages before and after a round or a promotion, for Discord and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import discord

from bot.localization.sentences import gettext
from bot.text.sanitize import escape_inline, quote_plainly
from storage.releases.before_after import BeforeAfter
from storage.wording import gettext_noop

ANSWER_CHARS = 240
"""Of a longer answer, its first words; both fit into a field of Discord, also if every character is escaped."""
TITLE = gettext_noop("The same messages, before and after")
CHOICE = gettext_noop("Always the same messages, chosen by nobody. One answer each, as a member would get it.")


def before_after_embeds(found: BeforeAfter | None) -> list[discord.Embed]:
    """Return one embed, or none if there is nothing to show."""
    if found is None:
        return []
    embed = discord.Embed(title=gettext(TITLE))
    for message, answers in _rows(found, escape_inline):
        embed.add_field(name=message, value="\n".join(answers), inline=False)
    return [embed.set_footer(text=gettext(CHOICE))]


def before_after_text(found: BeforeAfter | None) -> str:
    """Return the same as paragraphs to add to a text for a terminal; empty if there is nothing to show."""
    if found is None:
        return ""
    parts = ["", f"**{gettext(TITLE)}**"]
    for message, answers in _rows(found, str):
        parts.append("\n".join([f"“{message}”", *(f"- {answer}" for answer in answers)]))
    return "\n\n".join([*parts, gettext(CHOICE)])


def _rows(found: BeforeAfter, escaped: Callable[[str], str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each message with what both said."""
    for one in found.answers:
        sides = ((found.before, one.before), (found.after, one.after))
        yield one.message, [f"**{name}:** {escaped(_cut(answer))}" for name, answer in sides]


def _cut(answer: str) -> str:
    """Return the answer on one line, cut after a word if it is long."""
    line = quote_plainly(answer) or gettext("empty answer")
    if len(line) <= ANSWER_CHARS:
        return line
    whole_words, _space, _rest = line[:ANSWER_CHARS].rpartition(" ")
    return f"{whole_words or line[:ANSWER_CHARS]} …"
