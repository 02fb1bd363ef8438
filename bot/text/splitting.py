"""Splits an answer into Discord messages."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import discord

from bot.localization.sentences import gettext
from storage.wording import gettext_noop

MAX_MESSAGE_CHARS = 2_000  # Discord's limit; it counts code points, as len() does
MIN_LIMIT_CHARS = 64  # has room for a reopened and closed code block
LONGEST_GRAPHEME_CHARS = 32

_QUOTE, _SPOILER, _CODE_END = "> ", "||", "\n```"
_MARKS = re.compile(r"`{3,}|\|\|")
# In prose, a backslash or `code` makes plain text of marks.
_MARKS_IN_PROSE = re.compile(r"\\.|`{3,}|(`{1,2}).*?[^`]\1(?!`)|\|{2,}", re.DOTALL)
_LANGUAGE = re.compile(r"[\w+#.-]{1,20}(?=\n)")
_BOUNDARIES = (
    re.compile(r"\n\s*\n"),  # paragraph
    re.compile(r"\n"),
    re.compile(r"[.!?…][\"'”’)\]*_]*\s|[。！？]"),  # sentence
    re.compile(r"\s"),
)
_LIST_OR_QUOTE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]|>)|[ \t]{2,}\S")
_LINK_OR_EMPHASIS = re.compile(
    r"\[[^\[\]\n]*(?:\Z|\] ?\([^()\n]*(?:\)|\Z))"
    r"|(?<![\w\\*_~`])([*_~`]{1,3})(?![\s*_~`])[^\n]+?(?:\1|\Z)"
)

CUT = gettext_noop("… the rest is too long for a file on Discord")


def split_message(text: str, limit: int = MAX_MESSAGE_CHARS) -> list[str]:
    """Return `text` as parts of 1 to `limit` characters, none of them blank; blank text has no parts.

    A code block or a spoiler that is split, or never closed, is closed in its part and reopened in the next one; a
    quoted line that is split goes on as a quote. Lists, quotes, code blocks, links and emphasis are split only if the
    second half of a part has no better place. While a text grows at its end, parts are only added and only the last one
    changes, so a streaming answer edits only its last message. Whitespace at a cut is lost, all other text is kept.
    Raises ValueError for a limit below MIN_LIMIT_CHARS.
    """
    if limit < MIN_LIMIT_CHARS:
        raise ValueError(f"a limit of {limit} characters leaves no room for a code block")
    parts: list[str] = []
    before, rest = _NOTHING, text.strip()
    while rest:
        cut = _cut(rest, before, limit)
        body, rest = rest[:cut], rest[cut:]
        after = _open_after(body, before, rest)
        if after.fence:
            # Removes only the whitespace of the cut: the indentation of the next line is code.
            body = body[:-1] if body[-1].isspace() else body
        else:
            body, rest = body.rstrip(), rest.lstrip()
        parts.append(before.opening + body + after.closing)
        before = after
    return parts


def escape_lone_pipes(text: str) -> str:
    """Return a whole text in which a last `||` is no spoiler if nothing closes it and a space follows, as in a || b."""
    marks = list(_marks(text, _NOTHING))
    if not marks or not marks[-1].after.is_spoiler:
        return text
    pipes = next(mark for mark in reversed(marks) if text[mark.start] == "|")
    is_word_next = bool(text[pipes.end : pipes.end + 1].strip())
    escaped = "\\|" * (pipes.end - pipes.start)
    return text if is_word_next else text[: pipes.start] + escaped + text[pipes.end :]


# What is open at a place of a text


@dataclass(frozen=True)
class _Open:
    """Markdown that is open at a cut and must be opened again after it."""

    is_quote: bool = False
    is_spoiler: bool = False
    fence: str = ""
    """The line that opens the code block."""

    @property
    def opening(self) -> str:
        return (_QUOTE if self.is_quote else "") + (_SPOILER if self.is_spoiler else "") + self.fence

    @property
    def closing(self) -> str:
        return (_CODE_END if self.fence else "") + (_SPOILER if self.is_spoiler else "")


_NOTHING = _Open()
_LONGEST_CLOSING = _CODE_END + _SPOILER


@dataclass(frozen=True)
class _Mark:
    """A fence, or the pipes of a spoiler."""

    start: int
    end: int
    after: _Open


def _marks(text: str, before: _Open) -> Iterator[_Mark]:
    """Yield the marks of a text before which something is open."""
    at = 0
    while found := (_MARKS if before.fence or before.is_spoiler else _MARKS_IN_PROSE).search(text, at):
        at = found.end()
        after = _open_after_mark(found, before)
        if after != before:
            yield _Mark(found.start(), at, after)
        before = after


def _open_after_mark(mark: re.Match[str], before: _Open) -> _Open:
    if mark[0].startswith("```"):
        language = _LANGUAGE.match(mark.string, mark.end())
        return replace(before, fence="" if before.fence else f"```{language[0] if language else ''}\n")
    if not mark[0].startswith(_SPOILER):
        return before
    if before.is_spoiler:  # ends at the next two pipes, also within code
        return replace(before, is_spoiler=False, fence="")
    return before if before.fence else replace(before, is_spoiler=True)


def _open_after(body: str, before: _Open, rest: str) -> _Open:
    """Return the Markdown that is open between `body` and `rest`."""
    after = before
    for mark in _marks(body, before):
        after = mark.after
    at_cut = body[len(body.rstrip()) :] + rest[: len(rest) - len(rest.lstrip())]
    line = f"{_QUOTE if before.is_quote else ''}{body}".rpartition("\n")[2]
    goes_on = bool(rest) and not after.fence and "\n" not in at_cut
    return replace(after, is_quote=goes_on and line.startswith(_QUOTE))


# Where to cut


def _cut(rest: str, before: _Open, limit: int) -> int:
    """Return the number of characters of `rest` in the next part.

    It depends only on the characters up to one beyond the limit, never on how many follow, so finished parts do not
    change while the text grows.
    """
    room = limit - len(before.opening)
    if before != _NOTHING or _MARKS.search(rest, 0, room):
        room -= len(_LONGEST_CLOSING)
    return len(rest) if len(rest) <= room else _Window(rest[: room + 1], before).best_cut()


class _Window:
    """The text that fits into a part and one more character, which counts only as whitespace."""

    def __init__(self, text: str, before: _Open) -> None:
        self._text = text
        self._before = before
        self._marks = list(_marks(text, before))
        self._spans = [found.span() for found in _LINK_OR_EMPHASIS.finditer(text)]

    def best_cut(self) -> int:
        """Return the cut that tears least, at the greatest pause, and of several the last one."""
        best: dict[int, int] = {}
        for cut in self._pauses():
            if self._is_clean(cut):
                best.setdefault(self._torn(cut), cut)
            if 0 in best:
                break
        return best[min(best)] if best else self._hard_cut()

    def _pauses(self) -> Iterator[int]:
        """Yield the cuts in the second half: the greatest pauses first and, among equal pauses, the last cut first."""
        for boundary in _BOUNDARIES:
            cuts = [found.end() for found in boundary.finditer(self._text, len(self._text) // 2)]
            yield from (cut for cut in reversed(cuts) if cut < len(self._text) or self._text[-1].isspace())

    def _torn(self, cut: int) -> int:
        """Return the damage of the cut: 0 none, 1 a list or quote, 2 a code block, 3 a spoiler, link or emphasis."""
        _, open_ = self._last_mark(cut)
        if open_.is_spoiler or self._is_in_span(cut):
            return 3
        return 2 if open_.fence else int(self._is_in_list_or_quote(cut))

    def _is_in_span(self, cut: int) -> bool:
        place = bisect_right(self._spans, cut, key=lambda span: span[0]) - 1
        start, end = self._spans[place] if place >= 0 else (cut, cut)
        return start < cut < end

    def _is_in_list_or_quote(self, cut: int) -> bool:
        said = self._text[:cut].rstrip()
        line = said.rpartition("\n")[2]
        next_line = self._text[cut:].lstrip("\n").partition("\n")[0]
        is_within_line = "\n" not in self._text[len(said) : cut]
        return bool(_LIST_OR_QUOTE.match(line)) and (is_within_line or bool(_LIST_OR_QUOTE.match(next_line)))

    def _is_clean(self, cut: int) -> bool:
        """Return whether a code block or a spoiler that is cut has words on both sides."""
        opened, open_ = self._last_mark(cut)
        if not (open_.fence or open_.is_spoiler):
            return True
        said = self._text[opened:cut]
        words = said.partition("\n")[2] if open_.fence and opened else said
        return bool(words.strip()) and not self._text[cut:].lstrip().startswith(("`", "|"))

    def _last_mark(self, cut: int) -> tuple[int, _Open]:
        """Return the end of the last mark before the cut, or 0, and the Markdown that is open after it."""
        place = bisect_right(self._marks, cut, key=lambda mark: mark.end) - 1
        return (self._marks[place].end, self._marks[place].after) if place >= 0 else (0, self._before)

    def _hard_cut(self) -> int:
        """Return the last cut that splits no grapheme, fence or spoiler's pipes; a very long one is split anyway."""
        room = len(self._text) - 1
        cuts = range(room, max(room - LONGEST_GRAPHEME_CHARS, room // 2), -1)
        whole = [cut for cut in cuts if not _joined(self._text, cut)]
        return next((cut for cut in whole if self._is_clean(cut)), whole[0] if whole else room)


def _joined(window: str, cut: int) -> bool:
    before, after = window[cut - 1], window[cut]
    return (
        _extends(after)
        or before == "\u200d"  # zero width joiner, as in family emoji
        or before == after in ("`", "|")
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
    interaction: discord.Interaction,
    lines: Sequence[str],
    whole_text: str,
    filename: str,
    view: discord.ui.View | None = None,
) -> None:
    """Fill a deferred private answer: the lines that fit, and the whole text as a file if some do not."""
    shown = fit_lines(lines, "-# " + gettext("… {left} more: the attached file has everything."))
    files: list[discord.File] = []
    if shown != "\n".join(lines):
        files = [discord.File(_encode(whole_text, interaction.filesize_limit), filename)]
    await interaction.edit_original_response(content=shown, attachments=files, view=view)


def _encode(text: str, limit_bytes: int) -> BytesIO:
    content = text.encode()
    if len(content) > limit_bytes:
        cut = f"\n{gettext(CUT)}".encode()
        content = content[: limit_bytes - len(cut)].rsplit(b"\n", 1)[0] + cut
    return BytesIO(content)
