"""`reactune personality`: list, show, picture, export and import personalities."""

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
    PersonalityName,
    operating,
    operator_action,
    operator_name,
    read_settings,
    record_command,
    resolve_base,
    show,
    show_plain,
    with_cards,
)
from storage.adapters.stores import open_store
from storage.database.columns import LARGEST_ID
from storage.database.database import Database, open_database
from storage.errors import CardError, SettingsError
from storage.insights.taste_report import read_answering_now
from storage.personalities.card_files import CARD_SUFFIX, TAVERN_SUFFIXES, write_card_file
from storage.personalities.cards import format_card
from storage.personalities.personalities import list_personalities, personality_named
from storage.releases.versions import name_of, read_alias, version_named
from storage.settings.sections import Settings
from storage.wording import BASE_NAME

if TYPE_CHECKING:
    from storage.models.personality_imports import ImportedPersonality

personality = typer.Typer(no_args_is_help=True, help="List, show, picture, export or import personalities.")
LorebookTo = Annotated[
    int | None,
    typer.Option(min=1, max=LARGEST_ID, help="ID of the server that gets a SillyTavern card's lorebook as a document."),
]
File = Annotated[Path | None, typer.Argument(help="PNG, JPEG, GIF or WebP file.")]
Remove = Annotated[bool, typer.Option("--remove", help="Show the bot's picture again.")]


@personality.command("list")
def list_all_personalities(config: Config = None, as_json: AsJson = False) -> None:
    """List the personalities and their versions in use."""
    settings = read_settings(config)
    with with_cards(settings) as session:
        found = [(p, read_answering_now(session, p.id, settings)) for p in list_personalities(session)]
    lines = [f"- **{p.name}** · in use: {now.in_short} · {p.card.description or 'no description'}" for p, now in found]
    data = [{"name": p.name, "in_use": name_of(now.champion), "card": p.card.as_dict()} for p, now in found]
    show({"personalities": data}, "\n".join(lines), as_json)


@personality.command("show")
def show_personality(name: PersonalityName, config: Config = None, as_json: AsJson = False) -> None:
    """Show a personality's card as a TOML file."""
    settings = read_settings(config)
    with with_cards(settings) as session:
        found = personality_named(session, name)
        now = read_answering_now(session, found.id, settings)
    data = {"name": found.name, "in_use": name_of(now.champion), "card": found.card.as_dict()}
    show_plain(data, f"# in use: {now.in_short}\n{format_card(found.card)}", as_json)


@personality.command("export")
def export_personality(
    name: PersonalityName,
    target: Annotated[
        Path,
        typer.Argument(
            help="New folder for the adapter, the card and a model card; or a new .toml file for the card alone."
        ),
    ],
    *,
    config: Config = None,
    version: Annotated[str, typer.Option(help="Version to export (default: the one in use).")] = "",
    as_json: AsJson = False,
) -> None:
    """Export a personality's adapter as a PEFT folder, which peft and transformers can load, or its card."""
    if target.suffix in TAVERN_SUFFIXES:
        raise SettingsError(f"{target} is not a name for it: a card is exported as a {CARD_SUFFIX} file")
    if version and target.suffix == CARD_SUFFIX:
        raise SettingsError(f"{target} is a card, which has no version: name a folder, or leave out --version")
    if target.suffix == CARD_SUFFIX:
        _export_card(config, name, target, as_json)
    else:
        _export_version(config, name, target, version, as_json)


def _export_card(config: Path | None, name: str, path: Path, as_json: bool) -> None:
    with with_cards(read_settings(config)) as session:
        card = personality_named(session, name).card
    write_card_file(card, path)
    record_command(config, name, operator_action("personality export", f"file: {path.name}"))
    show({"personality": name, "file": str(path)}, f"Wrote the card of **{name}** to {path}.", as_json)


def _export_version(config: Path | None, name: str, folder: Path, version: str, as_json: bool) -> None:
    from storage.models.personality_files import export_version, read_provenance

    settings = read_settings(config)
    with with_cards(settings) as session:
        found = personality_named(session, name)
        wanted = version_named(session, found.id, version) if version else read_alias(session, found.id).version
        if wanted is None:
            subject = BASE_NAME if version else f"the version in use of {name} is {BASE_NAME}, which"
            raise SettingsError(
                f"{subject} has no adapter to export: choose a version with --version, or train one "
                "(`reactune personality show` prints the card)"
            )
        origin = read_provenance(session, found, wanted, settings)
    base = resolve_base(settings)
    export_version(open_store(settings), base, origin, folder)
    exported = origin.versions[0]
    record_command(config, name, operator_action("personality export", f"version: {exported.name}"))
    data = {"personality": name, "version": exported.name, "folder": str(folder), "digest": exported.digest}
    show(data, f"Exported **{name} {exported.name}** to {folder}. README.md there describes it.", as_json)


@personality.command("import")
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
    """Import a card or an adapter, and return it with sentences about it; `server` gets a card's lorebook."""
    from bot.text.rounds import describe_import
    from bot.text.sanitize import escape_inline
    from storage.models.personality_imports import ImportRequest, import_personality_file

    store, base = open_store(settings), resolve_base(settings)
    with with_cards(settings):
        pass  # the file may be a new version of one of the cards' personalities
    with contextlib.closing(open_database(settings)) as database:
        request = ImportRequest(operator_name(), settings.model.base, name)
        imported = import_personality_file(database, store, base, path, request)
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
        adding = add_lorebook(library, imported, guild_id=server, added_by=operator_name())
        return asyncio.run(adding)


@personality.command("picture")
def picture_personality(
    name: PersonalityName, file: File = None, *, remove: Remove = False, config: Config = None, as_json: AsJson = False
) -> None:
    """Set the picture beside a personality's messages in Discord."""
    from storage.operations.audit import audited
    from storage.personalities.pictures import ONE_COLOUR, clean_picture, set_picture

    if (file is None) != remove:
        raise SettingsError("name either a picture's file or --remove")
    picture = clean_picture(_read(file)) if file else None
    if file and picture is None:
        raise CardError(ONE_COLOUR)
    with with_cards(read_settings(config)):
        pass  # the personality may be new in a file
    command = operator_action("personality picture", f"file: {file.name}" if file else "removed")
    with operating(config, name, command) as (database, action, personality_id):
        changed = database.call(audited(action, set_picture), personality_id, picture)
    became = "is beside the messages of" if picture else "was removed from"
    said = f"The picture {became} **{name}**." if changed else f"Nothing changed: **{name}** appears like that already."
    show({"personality": name, "has_picture": picture is not None, "changed": changed}, said, as_json)


def _read(path: Path) -> bytes:
    from storage.personalities.pictures import MAX_PICTURE_FILE_BYTES

    try:
        if path.stat().st_size > MAX_PICTURE_FILE_BYTES:
            raise CardError(f"{path} is larger than {MAX_PICTURE_FILE_BYTES // 1_000_000} MB: make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise CardError(f"{path} cannot be read ({error.strerror}): check the path") from error
