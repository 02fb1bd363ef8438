"""`reactune personality import`: a card in any format, or an adapter as a new version."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reactune.shared import (
    AsJson,
    Config,
    operator_action,
    operator_name,
    progress,
    read_settings,
    record_command,
    show,
    with_cards,
)
from storage.adapters.stores import open_store
from storage.database.database import Database, open_database
from storage.database.ids import LARGEST_ID
from storage.settings.sections import Settings

if TYPE_CHECKING:
    from storage.models.personality_imports import ImportedPersonality

LorebookTo = Annotated[
    int | None,
    typer.Option(min=1, max=LARGEST_ID, help="ID of the server that gets a SillyTavern card's lorebook as a document."),
]


def import_personality(
    path: Annotated[
        Path, typer.Argument(help="Card (.toml), SillyTavern card (.json, .png), exported folder, or zip file of one.")
    ],
    config: Config = None,
    name: Annotated[str, typer.Option(help="Name of the personality (default: the card's or the file's name).")] = "",
    server: LorebookTo = None,
    as_json: AsJson = False,
) -> None:
    """Import a card, or an adapter as a new version, which an admin can then promote."""
    settings = read_settings(config)
    imported, text = import_from_file(settings, path, name=name, server=server)
    record_command(config, imported.personality.name, operator_action("personality import", f"file: {path.name}"))
    version = imported.version
    data = {
        "personality": imported.personality.name,
        "version": version.name if version else None,
        "digest": version.digest if version else None,
        "notes": imported.notes,
    }
    show(data, text, as_json)


def import_from_file(
    settings: Settings, path: Path, *, name: str = "", server: int | None = None
) -> tuple[ImportedPersonality, str]:
    """Import a card or an adapter, and return it with what there is to say; `server` gets a card's lorebook."""
    from bot.text.rounds import describe_import
    from bot.text.sanitize import escape_inline
    from storage.models.base_model import resolve_base_model
    from storage.models.personality_imports import import_personality_file

    store = open_store(settings)
    with progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)
    with with_cards(settings):
        pass  # the file may be a new version of one of the cards' personalities
    with contextlib.closing(open_database(settings)) as database:
        imported = import_personality_file(
            database,
            store,
            base,
            path,
            name=name,
            model_base=settings.model.base,
            by=operator_name(),
        )
        if imported.lorebook:
            kept = _keep_lorebook(database, settings, imported, server)
            imported = replace(imported, notes=(*imported.notes, kept))
    return imported, "\n".join([describe_import(imported), *map(escape_inline, imported.notes)])


def _keep_lorebook(database: Database, settings: Settings, imported: ImportedPersonality, server: int | None) -> str:
    """Add the lorebook to a server's documents, and return a sentence that says so."""
    from bot.knowledge.library import Library
    from bot.knowledge.lorebook import add_lorebook, count_entries

    if server is None:
        again = f"--name {imported.personality.name} and --server with the ID of the server that gets it"
        return f"The lorebook ({count_entries(len(imported.lorebook))}) was left out: repeat with {again}."
    with contextlib.closing(Library(database, settings.knowledge)) as library:
        adding = add_lorebook(library, settings.knowledge, imported, guild_id=server, added_by=operator_name())
        return asyncio.run(adding)
