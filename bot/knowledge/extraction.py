"""Extracts the text of an attachment in a separate process, because the file may be damaged or malicious."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, zip_longest
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from bot.errors import UserFacingError
from storage.separate_process import limit_process, run_apart

if TYPE_CHECKING:
    from storage.settings.sections import KnowledgeSettings  # half of the separate process's start otherwise

MAX_UNPACKED_BYTES = 200_000_000
MAX_ZIP_ENTRIES = 5_000
MAX_DOCUMENT_CHARS = 1_000_000
MAX_PAGES = 1_000
PARSE_TIMEOUT_S = 60.0
"""Longest time that reading a file may take: hostile files can keep a parser busy for hours."""
OLD_OFFICE = b"\xd0\xcf\x11\xe0"  # OLE: .doc, and .docx with a password
PARAGRAPH = re.compile(r"\n\s*\n")
LOWEST_HEADING = 6
HTML_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div", "dl", "dt"),
        *("figcaption", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "li", "main", "ol", "p"),
        *("pre", "section", "summary", "table", "tr", "ul"),
    }
)
NUMBER = re.compile(r"\W*\d[\d.,:]*\s*\W?[A-Za-z]{0,3}")
_NAMES = """
name names item items article product title role rank position day date time when where who what price cost fee amount
quantity description note notes category type contact email phone place location channel question answer link
wer was wann wo artikel titel rolle rang tag datum uhrzeit zeit preis kosten betrag gebühr menge beschreibung hinweis
kategorie art kontakt telefon ort raum kanal frage antwort posten
"""
COLUMN_NAMES = frozenset(_NAMES.split())
"""Words that name columns of tables."""
DELIMITERS = ",;\t|"
UNSEEN = ("script", "style", "template", "noscript", "head", "nav", "svg", "iframe")


@dataclass(frozen=True)
class Block:
    """A paragraph, list, table, code block or heading, as written."""

    text: str
    level: int = 0
    """Level of a heading, 1 (highest) to LOWEST_HEADING; 0 for everything else."""

    @property
    def lowered(self) -> Block:
        """The block as it is below another heading."""
        return Block(self.text, min(self.level + 1, LOWEST_HEADING)) if self.level else self


class MediaType(StrEnum):
    TEXT = "text/plain"
    MARKDOWN = "text/markdown"
    PDF = "application/pdf"
    HTML = "text/html"
    CSV = "text/csv"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


SUFFIXES = {
    ".txt": MediaType.TEXT,
    ".md": MediaType.MARKDOWN,
    ".markdown": MediaType.MARKDOWN,
    ".pdf": MediaType.PDF,
    ".html": MediaType.HTML,
    ".htm": MediaType.HTML,
    ".csv": MediaType.CSV,
    ".docx": MediaType.DOCX,
}


class Unreadable(UserFacingError):
    """The attachment cannot be read; the message says why and what to do."""


def media_type_of(filename: str) -> MediaType:
    """Return the file's type by its name; raises Unreadable for unsupported types."""
    found = SUFFIXES.get(PurePath(filename).suffix.lower())
    if found is None:
        raise Unreadable(
            "{filename} is not a supported file type ({types}): convert it, or paste its text",
            filename=filename,
            types=", ".join(SUFFIXES),
        )
    return found


async def extract(
    content: bytes,
    filename: str,
    settings: KnowledgeSettings,
    media_type: MediaType | None = None,
    *,
    enough_chars: int = 0,
    timeout_s: float = PARSE_TIMEOUT_S,
) -> list[Block]:
    """Return the blocks of a file; raises Unreadable for any content that cannot be read.

    Its name says what type it has, unless `media_type` does. Reading stops after `enough_chars`, unless they are 0.
    """
    media_type = media_type or media_type_of(filename)
    if len(content) > settings.max_file_bytes:
        raise too_large(filename, len(content), settings)
    return await asyncio.to_thread(_extract_apart, content, filename, media_type, enough_chars, timeout_s)


def too_large(filename: str, size_bytes: int, settings: KnowledgeSettings) -> Unreadable:
    return Unreadable(
        "{filename} is {size} MB; the limit (knowledge.max_file_bytes) is {limit} MB: split it, or save it without "
        "pictures",
        filename=filename,
        size=round(size_bytes / 1e6, 1),
        limit=round(settings.max_file_bytes / 1e6, 1),
    )


def parse_markdown(text: str) -> list[Block]:
    """Return the blocks of a Markdown text, as written; lists and code are one block each."""
    from markdown_it import MarkdownIt

    text = _clean(text)
    lines = text.split("\n")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    blocks = []
    for token, following in zip(tokens, [*tokens, None][1:], strict=True):
        if token.level or token.map is None or token.type == "hr":
            continue
        if token.type == "heading_open" and following is not None:
            blocks.append(Block(" ".join(following.content.split()), level=int(token.tag[1])))
        else:
            blocks.append(Block("\n".join(lines[token.map[0] : token.map[1]]).strip("\n")))
    return [block for block in blocks if block.text.strip()]


def _extract_apart(
    content: bytes, filename: str, media_type: MediaType, enough_chars: int, timeout_s: float
) -> list[Block]:
    try:
        answer = run_apart("bot.knowledge.extraction", [media_type, str(enough_chars)], content, timeout_s)
    except TimeoutError as error:
        raise Unreadable(
            "{filename} took longer than {seconds} s to read: save it as plain text (.txt)",
            filename=filename,
            seconds=timeout_s,
        ) from error
    except ValueError as error:
        raise Unreadable(
            "{filename} needed too much memory or crashed the reader: save it as .txt or .md", filename=filename
        ) from error
    return blocks_of(answer, filename)


def blocks_of(answer: dict[str, Any], filename: str) -> list[Block]:
    """Return the blocks that the other process found; raises Unreadable for a problem that it met."""
    if "problem" in answer:
        raise Unreadable(answer["problem"], **answer["values"] | {"filename": filename})
    return [Block(text, level) for level, text in answer["blocks"]]


def write_row(names: Sequence[str], row: Sequence[str]) -> str:
    """Return a row of a table as "column: value, …"."""
    named = zip_longest(names[: len(row)], row, fillvalue="")
    return ", ".join(f"{name}: {cell}" if name else cell for name, cell in named if cell)


def _clean(text: str) -> str:
    """Return the text with \\n between lines, without NUL, which PostgreSQL rejects, and without lone surrogates."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return lines.encode("utf-8", "ignore").decode("utf-8")


# The rest runs in the separate process.


def main() -> None:
    """Read a file from standard input, and write its blocks or a problem as JSON."""
    limit_process()
    media_type, enough_chars = sys.argv[1:]
    sys.stdout.write(json.dumps(read_file(MediaType(media_type), sys.stdin.buffer.read(), int(enough_chars))))


def read_file(media_type: MediaType, content: bytes, enough_chars: int = 0) -> dict[str, Any]:
    """Return the blocks of the file's text, or the reason why it cannot be read."""
    try:
        blocks = list(_within(_read(media_type, content), enough_chars))
    except Unreadable as error:
        return _problem(error)
    except MemoryError:
        return _problem(_unreadable("{filename} needs too much memory when unpacked: save it as .txt or .md"))
    except Exception:
        # On damaged files the parsers raise all kinds of errors.
        return _problem(_unreadable("{filename} is damaged or not what its name says: open it and save it again"))
    if not blocks:
        return _problem(_no_text(media_type))
    return {"blocks": [[block.level, block.text] for block in blocks]}


def _unreadable(message: str, **values: object) -> Unreadable:
    """Return the error for a file whose name only the other process knows."""
    return Unreadable(message, filename="the file", **values)


def _problem(error: Unreadable) -> dict[str, Any]:
    return {"problem": error.message, "values": error.values}


def _no_text(media_type: MediaType) -> Unreadable:
    if media_type is MediaType.PDF:
        return _unreadable(
            "{filename} has no text, perhaps because its pages are scans: run text recognition (OCR) first"
        )
    return _unreadable("{filename} has no text")


def _within(blocks: Iterable[Block], enough_chars: int) -> Iterator[Block]:
    """Yield the blocks that are not blank, until they have more than `enough_chars`; raises Unreadable."""
    chars = 0
    for block in blocks:
        text = _clean(block.text).strip("\n")
        if not text.strip():
            continue
        chars += len(text)
        if chars > MAX_DOCUMENT_CHARS and not enough_chars:
            raise _unreadable(
                "{filename} has more than {limit} characters, the limit: split it",
                limit=MAX_DOCUMENT_CHARS,
            )
        yield Block(text, block.level)
        if enough_chars and chars > enough_chars:
            return


def _read(media_type: MediaType, content: bytes) -> Iterable[Block]:
    readers: dict[MediaType, Callable[[], Iterable[Block]]] = {
        MediaType.TEXT: lambda: [Block(part) for part in PARAGRAPH.split(_decode(content))],
        MediaType.MARKDOWN: lambda: parse_markdown(_decode(content)),
        MediaType.PDF: lambda: _read_pdf(content),
        MediaType.HTML: lambda: _read_html(content),
        MediaType.CSV: lambda: _read_csv(_decode(content)),
        MediaType.DOCX: lambda: _read_docx(content),
    }
    return readers[media_type]()


def _decode(content: bytes) -> str:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return _clean(content.decode(encoding))
    except UnicodeDecodeError as error:
        raise _unreadable("{filename} is not UTF-8 text (byte {byte}): save it as UTF-8", byte=error.start) from error


def _read_pdf(content: bytes) -> Iterator[Block]:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted:
        raise _unreadable("{filename} is encrypted: save it without a password")
    if len(reader.pages) > MAX_PAGES:
        raise _unreadable(
            "{filename} has {pages} pages; the limit is {limit}: split it",
            pages=len(reader.pages),
            limit=MAX_PAGES,
        )
    for number, page in enumerate(reader.pages, start=1):
        if text := page.extract_text().strip():
            yield Block(f"page {number}", level=1)
            yield from (Block(part) for part in PARAGRAPH.split(text))


def _read_html(content: bytes) -> Iterator[Block]:
    from bs4 import BeautifulSoup

    soup: Any = BeautifulSoup(content, "html.parser")
    for unseen in soup(UNSEEN):
        unseen.decompose()
    lines = {id(soup): (0, "")}  # bs4 would compare elements by all that is in them
    for element in soup.find_all(True):
        starts_line = element.name in HTML_BLOCKS
        lines[id(element)] = (id(element), element.name) if starts_line else lines[id(element.parent)]
    for (_, tag), strings in groupby(soup.strings, key=lambda string: lines[id(string.parent)]):
        text = "".join(strings)
        text = text if tag == "pre" else " ".join(text.split())
        if re.fullmatch("h[1-6]", tag):
            yield Block(text, level=int(tag.removeprefix("h")))
        else:
            yield Block(f"- {text}" if tag == "li" and text else text)


def _read_csv(text: str) -> Iterator[Block]:
    """Yield each row as "column: value, …" if the first row names the columns, else its values."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    rows = csv.reader(io.StringIO(text), delimiter=max(DELIMITERS, key=first.count))
    cells = [[" ".join(cell.split()) for cell in row] for row in rows if any(cell.strip() for cell in row)]
    names = cells.pop(0) if _has_names(cells) else []
    yield from (Block(write_row(names, row)) for row in cells)


def _has_names(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row of a table names its columns, rather than being data like the rows below."""
    first, *others = rows or [[]]
    if not others or not all(first) or len(set(first)) < len(first) or any(NUMBER.fullmatch(cell) for cell in first):
        return False
    names = [cell.lower() for cell in first]
    if any(word in COLUMN_NAMES for name in names for word in re.findall(r"[^\W_]+", name)):
        return True
    columns = list(zip_longest(*others, fillvalue=""))
    is_counted = any(
        not re.search(r"\d", name) and sum(bool(re.search(r"\d", cell)) for cell in column) > len(others) / 2
        for name, column in zip(names, columns, strict=False)
    )
    return is_counted or (names == list(first) and any(cell[:1].isupper() for row in others for cell in row))


def _read_docx(content: bytes) -> Iterator[Block]:
    if content.startswith(OLD_OFFICE):
        raise _unreadable("{filename} is encrypted or an old .doc file: save it as .docx without a password")
    _refuse_bomb(content)
    from docx import Document
    from docx.table import Table

    for part in Document(io.BytesIO(content)).iter_inner_content():
        if isinstance(part, Table):
            yield Block("\n".join(_row_texts(part.rows)))
        else:
            yield Block(part.text, _level(part.style.name if part.style else None))


def _row_texts(rows: Iterable[Any]) -> Iterator[str]:
    for row in rows:
        # A merged cell appears once per column that it spans.
        yield " | ".join(text for text, _ in groupby(cell.text.strip() for cell in row.cells))


def _level(style: str | None) -> int:
    heading = re.fullmatch(r"Heading ([1-6])", style or "")
    return int(heading[1]) if heading else int(style == "Title")


def _refuse_bomb(content: bytes) -> None:
    """Raise Unreadable for an archive that unpacks to too much; zipfile enforces the sizes that entries declare."""
    entries: Sequence[zipfile.ZipInfo] = zipfile.ZipFile(io.BytesIO(content)).infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES or len(entries) > MAX_ZIP_ENTRIES:
        raise _unreadable(
            "{filename} unpacks to {size} MB, which is too much: save it again without pictures",
            size=round(unpacked / 1e6),
        )


if __name__ == "__main__":
    main()
