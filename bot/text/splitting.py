"""Splits an answer into Discord messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from io import BytesIO

import discord

MAX_MESSAGE_CHARS = 2_000  # Discord's limit; it counts code points, as len() does
MIN_LIMIT_CHARS = 64  # has room for a reopened and closed code block
LONGEST_GRAPHEME_CHARS = 32

_CLOSING = "\n```"
_FENCE = re.compile("`{3,}")
_LANGUAGE = re.compile(r"[\w+#.-]{1,20}(?=\n)")
_BOUNDARIES = (
    re.compile(r"\n\s*\n"),  # paragraph
    re.compile(r"\n"),
    re.compile(r"[.!?…][\"'”’)\]*_]*\s|[。！？]"),  # sentence
    re.compile(r"\s"),
)

CUT = "\n… the rest is too long for a file on Discord"


def split_message(text: str, limit: int = MAX_MESSAGE_CHARS) -> list[str]:
    """Return `text` as parts of 1 to `limit` characters, none of them blank; blank text has no parts.

    A code block that is split, or never closed, is closed in its part and reopened with its language in the next.
    While a text grows at its end, parts are only added and only the last one changes, so a streaming answer edits only
    its last message. Whitespace at a cut is lost, all other text is kept. Raises ValueError for a limit below
    MIN_LIMIT_CHARS.
    """
    if limit < MIN_LIMIT_CHARS:
        raise ValueError(f"a limit of {limit} characters leaves no room for a code block")
    parts: list[str] = []
    prefix, rest = "", text.strip()
    while rest:
        cut = _cut(rest, prefix, limit)
        body, rest = rest[:cut], rest[cut:]
        reopening = _reopening(body, prefix)
        if reopening:
            # Removes only the whitespace of the cut: the indentation of the next line is code.
            parts.append(prefix + (body[:-1] if body[-1].isspace() else body) + _CLOSING)
        else:
            parts.append(prefix + body.rstrip())
            rest = rest.lstrip()
        prefix = reopening
    return parts


def _cut(rest: str, prefix: str, limit: int) -> int:
    """Return the number of characters of `rest` in the next part.

    It depends only on the characters up to one beyond the limit, never on how many follow, so finished parts do not
    change while the text grows.
    """
    room = limit - len(prefix)
    if prefix or _FENCE.search(rest, 0, room):
        room -= len(_CLOSING)
    if len(rest) <= room:
        return len(rest)
    window = rest[: room + 1]
    return next((cut for cut in _boundaries(window) if _leaves_whole_blocks(window, cut, prefix)), _hard_cut(window))


def _boundaries(window: str) -> Iterator[int]:
    """Yield the cuts in the second half of `window`, best first; the last character counts only as whitespace."""
    for boundary in _BOUNDARIES:
        cuts = [match.end() for match in boundary.finditer(window, len(window) // 2)]
        yield from (cut for cut in reversed(cuts) if cut < len(window) or window[-1].isspace())


def _leaves_whole_blocks(window: str, cut: int, prefix: str) -> bool:
    """Return whether a code block that is cut has a line of code on both sides."""
    body = window[:cut]
    if not _reopening(body, prefix):
        return True
    if window[cut:].lstrip().startswith("`"):
        return False
    runs = list(_FENCE.finditer(body))
    code = body[runs[-1].end() :].partition("\n")[2] if runs else body
    return bool(code.strip())


def _reopening(body: str, prefix: str) -> str:
    """Return the fence line that continues the code block open at the end of `body`, or "" outside of one."""
    for run in _FENCE.finditer(body):
        language = _LANGUAGE.match(body, run.end())
        prefix = "" if prefix else f"```{language[0] if language else ''}\n"
    return prefix


def _hard_cut(window: str) -> int:
    """Return the last cut that does not split a grapheme or a fence; a very long one is split anyway."""
    room = len(window) - 1
    lowest = max(room - LONGEST_GRAPHEME_CHARS, room // 2)
    return next((cut for cut in range(room, lowest, -1) if not _joined(window, cut)), room)


def _joined(window: str, cut: int) -> bool:
    before, after = window[cut - 1], window[cut]
    return (
        _extends(after)
        or before == "\u200d"  # zero width joiner, as in family emoji
        or before == after == "`"
        or (_is_flag_half(after) and _flag_halves_before(window, cut) % 2 == 1)
    )


def _extends(char: str) -> bool:
    """Approximate Grapheme_Extend of Unicode Standard Annex 29, without its rules for decomposed Hangul."""
    is_mark = unicodedata.category(char).startswith("M")
    return is_mark or char == "\u200d" or "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f"


def _is_flag_half(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _flag_halves_before(window: str, cut: int) -> int:
    start = cut
    while start and _is_flag_half(window[start - 1]):
        start -= 1
    return cut - start


def fit_lines(lines: Sequence[str], last: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Return the lines if they fit; else as many whole lines as fit above `last`, where `{left}` is the number left.

    If even the first line does not fit, it is cut.
    """
    text = "\n".join(lines)
    if len(text) <= limit:
        return text
    room = limit - len(last.format(left=len(lines))) - 1
    kept, used = 0, -1
    while used + 1 + len(lines[kept]) <= room:
        used += 1 + len(lines[kept])
        kept += 1
    shown = "\n".join(lines[:kept]) or lines[0][:room]
    return f"{shown}\n{last.format(left=len(lines) - kept)}"


async def answer_in_full(
    interaction: discord.Interaction, lines: Sequence[str], whole_text: str, filename: str
) -> None:
    """Answer a deferred command privately: the lines that fit, and the whole text as a file if some do not."""
    shown = fit_lines(lines, "-# … {left} more: the attached file has everything.")
    file = discord.utils.MISSING
    if shown != "\n".join(lines):
        file = discord.File(_encode(whole_text, interaction.filesize_limit), filename)
    await interaction.followup.send(shown, file=file, ephemeral=True)


def _encode(text: str, limit_bytes: int) -> BytesIO:
    content = text.encode()
    if len(content) > limit_bytes:
        content = content[: limit_bytes - len(CUT.encode())].rsplit(b"\n", 1)[0] + CUT.encode()
    return BytesIO(content)
