"""Lorebooks: an imported one becomes a document of its personality, and such documents become one to export."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import accumulate

from sqlalchemy.orm import Session

from bot.guards.error_handler import member_message
from bot.knowledge.extraction import Block, MediaType, parse_markdown
from bot.knowledge.library import Library, Source, require_length
from bot.localization.sentences import gettext, ngettext
from storage.database.enums import DocumentKind
from storage.knowledge.documents import Document, written_for
from storage.models.personality_imports import ImportedPersonality
from storage.personalities.cards import LorebookEntry
from storage.settings.sections import KnowledgeSettings

KEYS = ", "
LOWEST_HEADING = 6
MAX_EXPORTED_ENTRIES = 1_000
MAX_EXPORTED_CHARS = 400_000
"""So that a card with its lorebook is small enough to be read again."""


async def add_lorebook(
    library: Library, settings: KnowledgeSettings, imported: ImportedPersonality, *, guild_id: int, added_by: str
) -> str:
    """Add the lorebook as a document that only its personality quotes; return a sentence, also if that fails."""
    try:
        document = await _add(library, settings, imported, guild_id=guild_id, added_by=added_by)
    except Exception as error:
        return f"{gettext('The lorebook was not added.')} {member_message(error)}"
    return gettext(
        "The lorebook ({entries}) became document {id} ({passages}) of the server, which only {name} quotes.",
        entries=count_entries(len(imported.lorebook)),
        id=str(document.id),
        passages=ngettext("{count} passage", "{count} passages", document.chunks),
        name=imported.personality.name,
    )


def count_entries(number: int) -> str:
    return ngettext("{count} entry", "{count} entries", number)


def describe_lorebook(number: int, left_out: int) -> str:
    """Return what an exported card holds beside itself, to follow its name; empty if it is nothing."""
    held = gettext("with {entries} of documents that only it quotes", entries=count_entries(number)) if number else ""
    more = gettext("(a card has no room for {entries} more)", entries=count_entries(left_out)) if left_out else ""
    return "".join(f" {part}" for part in (held, more) if part)


async def _add(
    library: Library, settings: KnowledgeSettings, imported: ImportedPersonality, *, guild_id: int, added_by: str
) -> Document:
    require_length(sum(len(entry.content) for entry in imported.lorebook), settings)  # before it is parsed
    blocks = await asyncio.to_thread(lambda: list(_blocks(imported.lorebook)))
    return await library.add(
        Source(DocumentKind.TEXT, blocks, MediaType.MARKDOWN),
        guild_id=guild_id,
        personality_id=imported.personality.id,
        title=f"Lorebook of {imported.personality.name}",
        added_by=added_by,
    )


def read_lorebook(session: Session, guild_id: int, personality_id: int) -> tuple[tuple[LorebookEntry, ...], int]:
    """Return the documents that only the personality quotes in the server as entries, and how many have no room."""
    documents = written_for(session, guild_id, personality_id)
    entries = [entry for title, text in documents for entry in parse_lorebook(title, text)]
    sizes = accumulate(len(entry.content) for entry in entries)
    fitting = sum(chars <= MAX_EXPORTED_CHARS for chars in sizes)
    kept = tuple(entries[: min(fitting, MAX_EXPORTED_ENTRIES)])
    return kept, len(entries) - len(kept)


def parse_lorebook(title: str, text: str) -> Iterator[LorebookEntry]:
    """Yield an entry for each highest heading of a document, with its words as keys; without one, the title's."""
    keys, body = title, list[str]()
    for block in (*parse_markdown(text), Block("", level=1)):
        if block.level != 1:
            body.append(f"{'#' * (block.level - 1)} {block.text}" if block.level else block.text)
            continue
        if body:
            yield LorebookEntry(tuple(keys.split(KEYS)), "\n\n".join(body))
        keys, body = block.text, list[str]()


def _blocks(entries: Sequence[LorebookEntry]) -> Iterator[Block]:
    """Yield a heading with the keys of each entry, and its content below."""
    for entry in entries:
        yield Block(KEYS.join(entry.keys), level=1)
        for block in parse_markdown(entry.content):
            yield Block(block.text, min(block.level + 1, LOWEST_HEADING) if block.level else 0)
