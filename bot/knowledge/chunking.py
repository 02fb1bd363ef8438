"""Cuts a document into passages: at headings and paragraphs first, then by tokens, with overlap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from bot.knowledge.extraction import Block
from storage.knowledge.documents import NewChunk

PATH = " › "
MAX_HEADING_SHARE = 0.5
"""Share of a passage that headings may take; longer paths of headings lose their start."""

CountTokens = Callable[[str], int]
"""Counts the tokens of a text; a space between two words must end a token."""

# Each keeps the whitespace that follows, so that the joined parts are the text again.
_CUTS = (
    re.compile(r".*?(?:\n+|$)", re.DOTALL),
    re.compile(r".*?(?:[.!?…。！？]+[\"'”’)\]*_]*(?:\s+|$)|$)", re.DOTALL),
    re.compile(r"\s*\S+\s*"),
)


def cut_into_chunks(
    title: str, blocks: Sequence[Block], count_tokens: CountTokens, *, chunk_tokens: int, overlap_tokens: int
) -> list[NewChunk]:
    """Return the passages in order, each of at most `chunk_tokens`, its title and headings included.

    A passage never spans two sections. If it continues a paragraph, it repeats the last `overlap_tokens` of the
    previous passage.
    """
    chunks: list[NewChunk] = []
    for path, texts in _sections(title, blocks):
        heading = _fit_heading(path, count_tokens, int(chunk_tokens * MAX_HEADING_SHARE))
        room = chunk_tokens - count_tokens(heading)
        overlap = min(overlap_tokens, room // 2)
        chunks += [NewChunk(heading, text) for text in _pack(texts, count_tokens, room, overlap)]
    return chunks


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
