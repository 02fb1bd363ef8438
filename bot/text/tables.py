"""Shows Markdown tables, which Discord does not render: as aligned columns or, if they are wide, row by row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len

from bot.text.sanitize import sanitize_markdown
from storage.settings.sections import OutputSettings

MAX_WIDTH = 40
"""Width of aligned columns, in cells: Discord wraps longer lines of code on phones, and in embeds everywhere."""
MAX_GROWTH = 3
"""Most that a table may grow, as a factor: one with a long heading above many short rows stays as written."""
GAP = "  "
NO_WORDS = "–"

_DELIMITER_ROW = re.compile(r"^[ \t]*[|:-][ \t|:-]*$", re.MULTILINE)
_FENCE_OR_SPOILER = re.compile(r"```|\|\|")
_FENCE = re.compile("`{3,}")
_BROKEN_BY_CODE = re.compile(r"```|https?://")  # an address in code is no link
_EMPHASIS = re.compile(r"[\\*_~`]")
_BETWEEN_WORDS = re.compile(r"[\s|\\]")
_markdown = MarkdownIt("zero").enable(["table", "fence", "backticks", "emphasis", "strikethrough", "escape"])


def show_tables(text: str, output: OutputSettings) -> str:
    """Return a sanitized text with its tables as code blocks of aligned columns, or as lists; every cell is kept.

    A table in a code block, with a spoiler or with more cells than headings stays as it is.
    """
    if not _DELIMITER_ROW.search(text):
        return text
    lines = text.split("\n")
    shown: list[str] = []
    done = 0
    for table in _tables(text):
        written = "\n".join(lines[table.start : table.end])
        is_in_code = len(_FENCE.findall("\n".join(lines[: table.start]))) % 2 == 1
        if table.rows and not is_in_code and not _FENCE_OR_SPOILER.search(written) and table.has_all_of(lines):
            shown += [*lines[done : table.start], _lay_out(table, written)]
            done = table.end
    # Sanitized again: a cell may now begin a line, where it would be a heading or small print.
    return sanitize_markdown("\n".join([*shown, *lines[done:]]), output)


@dataclass(frozen=True)
class _Table:
    start: int
    end: int
    """The table's range of lines, without `end`."""
    headings: tuple[Token, ...]
    rows: tuple[tuple[Token, ...], ...]
    alignments: tuple[str, ...]

    def has_all_of(self, lines: Sequence[str]) -> bool:
        """Return whether the cells hold all words of the lines: Markdown drops cells beyond the last heading."""
        written = "".join((lines[self.start], *lines[self.start + 2 : self.end]))
        cells = "".join(cell.content for row in (self.headings, *self.rows) for cell in row)
        return _BETWEEN_WORDS.sub("", written) == _BETWEEN_WORDS.sub("", cells)


def _tables(text: str) -> Iterator[_Table]:
    lines = text.split("\n")
    tokens = _markdown.parse(text)
    for position, token in enumerate(tokens):
        if token.type == "table_open" and token.map:
            start, end = token.map
            # Markdown reads a line of prose just after a table as a row of it.
            end = next((line for line in range(start + 2, end) if "|" not in lines[line]), end)
            yield _table(start, end, tokens[position:])


def _table(start: int, end: int, tokens: Sequence[Token]) -> _Table:
    rows: dict[int, list[Token]] = {}
    alignments = []
    for before, token in pairwise(tokens):
        if token.type == "table_close":
            break
        if token.type == "inline" and token.map and token.map[0] < end:
            rows.setdefault(token.map[0], []).append(token)
            if before.type == "th_open":
                alignments.append(str(before.attrs.get("style", "")).removeprefix("text-align:"))
    headings, *others = map(tuple, rows.values())
    return _Table(start, end, headings, tuple(others), tuple(alignments))


def _lay_out(table: _Table, written: str) -> str:
    """Return the table as columns if they are narrow enough, else as lists, or as written if that is far shorter."""
    columns = _as_columns(table)
    fits = max(map(cell_len, columns)) <= MAX_WIDTH and not _BROKEN_BY_CODE.search("\n".join(columns))
    shown = "\n".join(["```", *columns, "```"] if fits else _as_lists(table))
    return shown if len(shown) <= MAX_GROWTH * len(written) else written


def _as_columns(table: _Table) -> list[str]:
    rows = [[_plain(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    headings, *others = [
        GAP.join(_align(*cell) for cell in zip(row, widths, table.alignments, strict=True)).rstrip() for row in rows
    ]
    return [headings, GAP.join("-" * width for width in widths), *others]


def _plain(cell: Token) -> str:
    """Return the cell without Markdown, which code blocks show as written."""
    return "".join(part.content for part in cell.children or ())


def _align(text: str, width: int, alignment: str) -> str:
    missing = width - cell_len(text)
    left = {"right": missing, "center": missing // 2}.get(alignment, 0)
    return " " * left + text + " " * (missing - left)


def _as_lists(table: _Table) -> list[str]:
    """Return a bold line for the first cell of each row, and a list of its other cells with their headings."""
    lines: list[str] = []
    for row in table.rows:
        title, *others = map(_named, table.headings, row)
        lines.append(title if _EMPHASIS.search(title) else f"**{title}**")
        lines += [f"- {said}" for said, cell in zip(others, row[1:], strict=True) if cell.content]
    return lines


def _named(heading: Token, cell: Token) -> str:
    """Return a cell with its heading and Markdown; two pipes in it are not a spoiler."""
    said = cell.content or NO_WORDS
    return (f"{heading.content}: {said}" if heading.content else said).replace("||", r"\|\|")
