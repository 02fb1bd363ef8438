"""The lorebook of an imported card becomes a document that only its personality quotes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from bot.guards.error_handler import member_message
from bot.knowledge.extraction import Block, MediaType, parse_markdown
from bot.knowledge.library import Library, Source, require_length
from bot.localization.sentences import gettext, ngettext
from storage.database.enums import DocumentKind
from storage.knowledge.documents import Document
from storage.models.personality_imports import ImportedPersonality
from storage.personalities.cards import LorebookEntry

KEYS = ", "


async def add_lorebook(library: Library, imported: ImportedPersonality, *, guild_id: int, added_by: str) -> str:
    """Add the lorebook as a document that only its personality quotes; return a sentence, also if that fails."""
    try:
        document = await _add(library, imported, guild_id=guild_id, added_by=added_by)
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


async def _add(library: Library, imported: ImportedPersonality, *, guild_id: int, added_by: str) -> Document:
    require_length(sum(len(entry.content) for entry in imported.lorebook))  # before it is parsed
    blocks = await asyncio.to_thread(lambda: list(_blocks(imported.lorebook)))
    return await library.add(
        Source(DocumentKind.TEXT, blocks, MediaType.MARKDOWN),
        guild_id=guild_id,
        personality_id=imported.personality.id,
        title=f"Lorebook of {imported.personality.name}",
        added_by=added_by,
    )


def _blocks(entries: Sequence[LorebookEntry]) -> Iterator[Block]:
    """Yield a heading with the keys of each entry, and its content below."""
    for entry in entries:
        yield Block(KEYS.join(entry.keys), level=1)
        yield from (block.lowered for block in parse_markdown(entry.content))
