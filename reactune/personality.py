"""`reactune personality`: list, show, export and import personalities."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from reactune.shared import (
    AsJson,
    Config,
    PersonalityName,
    operator_action,
    operator_name,
    progress,
    read_settings,
    record_command,
    show,
    show_plain,
    with_cards,
)
from storage.adapters.stores import open_store
from storage.database.database import open_database
from storage.errors import SettingsError
from storage.personalities.personalities import list_personalities, personality_named
from storage.releases.versions import read_alias, version_named
from storage.wording import BASE_NAME

personality = typer.Typer(no_args_is_help=True, help="List, show, export or import personalities.")


@personality.command("list")
def list_all_personalities(config: Config = None, as_json: AsJson = False) -> None:
    """List the personalities and their champions."""
    with with_cards(read_settings(config)) as session:
        found = [(p, read_alias(session, p.id).target) for p in list_personalities(session)]
    lines = [f"- **{p.name}** · champion {target} · {p.card.description or 'no description'}" for p, target in found]
    data = [{"name": p.name, "champion": target, "card": p.card.as_dict()} for p, target in found]
    show({"personalities": data}, "\n".join(lines), as_json)


@personality.command("show")
def show_personality(name: PersonalityName, config: Config = None, as_json: AsJson = False) -> None:
    """Show a personality's card as a TOML file."""
    from storage.personalities.cards import format_card

    with with_cards(read_settings(config)) as session:
        found = personality_named(session, name)
        champion = read_alias(session, found.id).target
    data = {"name": found.name, "champion": champion, "card": found.card.as_dict()}
    show_plain(data, format_card(found.card), as_json)


@personality.command("export")
def export_personality(
    name: PersonalityName,
    folder: Annotated[Path, typer.Argument(help="New folder for the adapter, the card and a model card.")],
    config: Config = None,
    version: Annotated[str, typer.Option(help="Version to export (default: the champion).")] = "",
    as_json: AsJson = False,
) -> None:
    """Export a personality's adapter as a PEFT folder, which peft and transformers can load."""
    from storage.models.base_model import resolve_base_model
    from storage.models.personality_files import export_version, read_provenance

    settings = read_settings(config)
    with with_cards(settings) as session:
        found = personality_named(session, name)
        wanted = version_named(session, found.id, version) if version else read_alias(session, found.id).version
        if wanted is None:
            subject = BASE_NAME if version else f"the champion of {name} is {BASE_NAME}, which"
            raise SettingsError(
                f"{subject} has no adapter to export: choose a version with --version, or train one "
                "(`reactune personality show` prints the card)"
            )
        origin = read_provenance(session, found, wanted, settings)
    with progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)
    export_version(open_store(settings), base, origin, folder)
    exported = origin.versions[0]
    record_command(config, name, operator_action("personality export", f"version: {exported.name}"))
    data = {"personality": name, "version": exported.name, "folder": str(folder), "digest": exported.digest}
    show(data, f"Exported **{name} {exported.name}** to {folder}. README.md there describes it.", as_json)


@personality.command("import")
def import_personality(
    path: Annotated[Path, typer.Argument(help="Card (.toml), exported folder, or zip file of one.")],
    config: Config = None,
    name: Annotated[str, typer.Option(help="Name of the personality (default: the file's or folder's name).")] = "",
    as_json: AsJson = False,
) -> None:
    """Import a card, or an adapter as a new version, which an admin can then promote."""
    from bot.text.rounds import describe_import
    from storage.models.base_model import resolve_base_model
    from storage.models.personality_files import import_personality_file

    settings = read_settings(config)
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
            name=name or path.name.removesuffix(path.suffix),
            model_base=settings.model.base,
            by=operator_name(),
        )
    record_command(config, imported.personality.name, operator_action("personality import", f"file: {path.name}"))
    version = imported.version
    data = {
        "personality": imported.personality.name,
        "version": version.name if version else None,
        "digest": version.digest if version else None,
    }
    show(data, describe_import(imported), as_json)
