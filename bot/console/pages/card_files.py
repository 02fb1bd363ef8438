"""Files of the page of personalities: cards and versions, imported and exported."""

from __future__ import annotations

import asyncio
from pathlib import PurePath

from aiohttp import web

from bot.console.page import Here, get, post
from bot.console.pages.personalities import PAGE
from bot.console.places import home_server, lorebook_server
from bot.errors import UserFacingError
from bot.knowledge.lorebook import add_lorebook
from bot.personalities.card_files import export_card, pack_version
from bot.personalities.selection import require_own
from bot.text.rounds import describe_import
from storage.models.personality_imports import ZIP_SUFFIX, ImportedPersonality, ImportRequest, register_card
from storage.personalities.card_files import CARD_SUFFIX, CARD_SUFFIXES, choose_name, parse_any_card, with_clean_picture

NO_FILE = f"Choose a card: a file whose name ends with {', '.join(CARD_SUFFIXES)}."
CONTENT_TYPES = {CARD_SUFFIX: "application/toml", ZIP_SUFFIX: "application/zip"}


async def import_card(here: Here) -> web.Response:
    """Import a card from a file, for a new personality or an existing one, and describe the result."""
    (filename, content), chosen = here.form.file("file"), here.form.text("name", "")
    if not filename.lower().endswith(CARD_SUFFIXES):
        raise UserFacingError(NO_FILE)
    home = home_server(here)
    parsed = await asyncio.to_thread(parse_any_card, content, filename)
    file = await asyncio.to_thread(with_clean_picture, parsed)
    name = choose_name(file, chosen, filename)
    imported = await here.run_audited(
        here.action("import card", name, personality_id=None, guild_id=home),
        register_card,
        file,
        filename,
        ImportRequest(
            here.visitor.name,
            here.services.settings.model.base,
            chosen,
            home,
            may_change=lambda existing: require_own(here.services, existing, here.visitor.servers),
        ),
    )
    notes = [*imported.notes]
    if imported.lorebook:
        notes.append(await _keep_lorebook(here, imported, home or lorebook_server(here)))
    return here.fill("imported.html", said=describe_import(imported), notes=notes, name=name)


async def _keep_lorebook(here: Here, imported: ImportedPersonality, server_id: int | None) -> str:
    """Add the lorebook to the documents of a server; return a sentence about it."""
    if server_id is None:
        return "The lorebook was left out: import the card again with a name, and choose the server that gets it."
    return await add_lorebook(here.services.library, imported, guild_id=server_id, added_by=here.visitor.name)


async def download_card(here: Here) -> web.Response:
    return _download(*export_card(here.personality))


async def download_version(here: Here) -> web.Response:
    """Return a version as a folder for peft, with the card and its origin."""
    version = here.form.text("version", "")
    async with here.recorded(here.action("export", version)):
        packed = await pack_version(here.services, here.personality, version)
    return _download(*packed)


def _download(name: str, content: bytes) -> web.Response:
    return web.Response(
        body=content,
        content_type=CONTENT_TYPES[PurePath(name).suffix],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


ROUTES = [
    post(f"{PAGE}/import", import_card),
    get(f"{PAGE}/card{CARD_SUFFIX}", download_card),
    get(f"{PAGE}/export", download_version),
]
