"""Cuts a document into passages: a short one into its lines, a longer one by paragraphs, then by tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from bot.knowledge.extraction import Block, write_row
from storage.knowledge.documents import NewChunk

PATH = " › "
CHUNK_TOKENS = 160
"""Maximum length of a passage: the sentence encoder reads 256, and fewer leave room for its title."""
OVERLAP_TOKENS = 32
"""Tokens repeated from the previous passage: about two sentences, so that "it" has its meaning."""
SHORT_CHARS = 8_000
"""Documents up to this length, about a hundred lines, are cut by line: rules, prices and dates are one fact a line."""
MAX_LINE_CHARS = 160
"""Maximum length of a line; longer ones are cut into their sentences."""
WRAPPED_CHARS = 60
"""Minimum length of a line that an editor wrapped."""
MAX_LEAD_CHARS = 60
"""Maximum length of a heading; a longer paragraph of one line isn't a heading, even if it looks like one."""
MAX_HEADING_SHARE = 0.5
"""Share of a passage that headings may take; longer paths of headings lose their start."""

CountTokens = Callable[[str], int]
"""Counts the tokens of a text; a space between two words must end a token."""

_ITEM = re.compile(r"\s*(?:[-*+•]|\d+[.)])\s")
_TABLE_RULE = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*")
_QUESTION = re.compile(r"\?[*_\"”)]*$")
_PARAGRAPH = re.compile(r"\n\s*\n")
# Each keeps the whitespace that follows, so that the joined parts are the text again.
_CUTS = (
    re.compile(r".*?(?:\n+|$)", re.DOTALL),
    re.compile(r".*?(?:[.!?…。！？]+[\"'”’)\]*_]*(?:\s+|$)|$)", re.DOTALL),
    re.compile(r"\s*\S+\s*"),
)


def cut_into_chunks(
    title: str,
    blocks: Sequence[Block],
    count_tokens: CountTokens,
    *,
    chunk_tokens: int = CHUNK_TOKENS,
    overlap_tokens: int = OVERLAP_TOKENS,
    short_chars: int = SHORT_CHARS,
) -> list[NewChunk]:
    """Return the passages in order, each of at most `chunk_tokens`, its title and headings included.

    A passage never spans two sections. Of a short document, each line is a passage. If a passage of a longer one
    continues a paragraph, it repeats the last `overlap_tokens` of the previous passage.
    """
    chunks: list[NewChunk] = []
    is_short = sum(len(block.text) for block in blocks) <= short_chars
    sections = _sections(title, list(_with_leads(blocks)) if is_short else blocks)
    for path, texts in sections:
        heading = _fit_heading(path, count_tokens, int(chunk_tokens * MAX_HEADING_SHARE))
        room = chunk_tokens - count_tokens(heading)
        overlap = min(overlap_tokens, room // 2)
        wholes = [[line] for text in texts for line in lines_of(text)] if is_short else [texts]
        chunks += [NewChunk(heading, text) for whole in wholes for text in _pack(whole, count_tokens, room, overlap)]
    return chunks


def lines_of(text: str) -> list[str]:
    """Return the facts of a text: its lines and rows, wrapped ones joined again, long ones cut into sentences."""
    return [line for paragraph in _PARAGRAPH.split(text) for line in _lines_of_paragraph(paragraph)]


def _lines_of_paragraph(paragraph: str) -> Iterator[str]:
    written = [line.strip() for line in paragraph.splitlines() if line.strip()]
    if len(written) > 2 and "|" in written[0] and _TABLE_RULE.fullmatch(written[1]):
        yield from _rows_of(written)
        return
    items: list[list[str]] = []
    for line in written:
        if not items or _ITEM.match(line):
            items.append([])
        items[-1].append(line)
    lines = [line for item in items for line in ([" ".join(item)] if _is_wrapped(item) else item)]
    for line in _with_answers(lines):
        yield from [line] if len(line) <= MAX_LINE_CHARS else _sentences_of(line)


def _with_answers(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines; a question, as in a list of frequent ones, is on one line with its answer."""
    asked = ""
    for line in lines:
        if _QUESTION.search(line):
            asked = f"{asked} {line}".strip()
        else:
            yield f"{asked} {line}".strip()
            asked = ""
    if asked:
        yield asked


def _rows_of(table: Sequence[str]) -> Iterator[str]:
    names, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    yield from (write_row(names, row) for row in rows)


def _is_wrapped(lines: Sequence[str]) -> bool:
    """Return whether an editor, not the writer, broke one long line into these."""
    follows = (below[0].islower() and above[-1] not in ".!?:;…" for above, below in pairwise(lines))
    return all(len(line) >= WRAPPED_CHARS for line in lines[:-1]) and any(follows)


def _sentences_of(line: str) -> list[str]:
    return [sentence.strip() for sentence in _CUTS[1].findall(line) if sentence.strip()]


def _with_leads(blocks: Sequence[Block]) -> Iterator[Block]:
    """Yield the blocks; a line that stands alone above several, or ends with a colon above others, becomes a heading.

    Texts without Markdown have such headings.
    """
    lowest = 0
    for block, below in pairwise([*blocks, Block("")]):
        lines = block.text.splitlines()
        if block.level:
            lowest = block.level
            yield block
        elif len(lines) == 1 and not below.level and _leads(lines[0], below.text.splitlines()):
            yield Block(lines[0].rstrip(": "), lowest + 1)
        elif len(lines) > 1 and _is_lead(lines[0]) and (lines[0].rstrip().endswith(":") or _ITEM.match(lines[1])):
            yield Block(lines[0].rstrip(": "), lowest + 1)
            yield Block("\n".join(lines[1:]))
        else:
            yield block


def _leads(line: str, below: Sequence[str]) -> bool:
    return bool(below) and (_QUESTION.search(line) is not None or (len(below) > 1 and _is_lead(line)))


def _is_lead(line: str) -> bool:
    return len(line) <= MAX_LEAD_CHARS and not re.search(r"[.;,!?]|:.", line.strip()) and not _ITEM.match(line)


def _sections(title: str, blocks: Sequence[Block]) -> Iterator[tuple[str, list[str]]]:
    """Yield each section's path of headings and its texts."""
    path: list[Block] = []
    body: list[str] = []
    for block in (*blocks, Block("", level=1)):  # closes the last section
        if not block.level:
            body.append(block.text)
            continue
        deeper = path and block.level > path[-1].level
        if path and not body and not deeper:
            body.append(path[-1].text)  # a heading without text is all that can be found
        if body:
            yield PATH.join([title, *(above.text for above in path)]), body
        body = []
        path = [above for above in path if above.level < block.level] + [block]


def _fit_heading(heading: str, count_tokens: CountTokens, room: int) -> str:
    """Return as many of the last words of the heading as fit."""
    words = heading.split()
    while len(words) > 1 and count_tokens(" ".join(words)) > room:
        words = words[1:]
    return " ".join(words) if count_tokens(" ".join(words)) <= room else ""


def _pack(blocks: Sequence[str], count_tokens: CountTokens, room: int, overlap: int) -> Iterator[str]:
    """Yield the blocks in order, as texts of at most `room` tokens."""
    packed, used = "", 0
    for block in blocks:
        for position, text in enumerate(_split(block, count_tokens, room - overlap)):
            tokens = count_tokens(text)
            if packed and used + tokens > room:
                yield packed.strip()
                packed = _tail(packed, count_tokens, overlap) if position else ""  # it continues a paragraph
                used = count_tokens(packed)
            packed += text
            used += tokens
        packed += "\n\n"
    if packed.strip():
        yield packed.strip()


def _split(text: str, count_tokens: CountTokens, room: int) -> Iterator[str]:
    """Yield the text in parts that fit: lines, else sentences, else words, else halves of words."""
    if count_tokens(text) <= room:
        yield text
        return
    for cut in _CUTS:
        parts = [part for part in cut.findall(text) if part]
        if len(parts) > 1:
            for part in parts:
                yield from _split(part, count_tokens, room)
            return
    if len(text) == 1:
        yield text
        return
    middle = len(text) // 2
    yield from _split(text[:middle], count_tokens, room)
    yield from _split(text[middle:], count_tokens, room)


def _tail(text: str, count_tokens: CountTokens, overlap: int) -> str:
    """Return the last words of the text, unchanged, that fit into `overlap` tokens."""
    kept, used = "", 0
    for word in reversed(_CUTS[-1].findall(text)):
        used += count_tokens(word)
        if used > overlap:
            break
        kept = word + kept
    return kept
