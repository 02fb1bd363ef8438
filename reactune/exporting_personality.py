"""`reactune personality export`: an adapter as a folder, or a card as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reactune.shared import (
    AsJson,
    Config,
    PersonalityName,
    operator_action,
    progress,
    read_settings,
    record_command,
    show,
    with_cards,
)
from storage.adapters.stores import open_store
from storage.database.ids import LARGEST_ID
from storage.errors import SettingsError
from storage.personalities.card_files import CARD_SUFFIXES, TAVERN_SUFFIXES, write_card_file
from storage.personalities.cards import CardFile
from storage.personalities.personalities import personality_named
from storage.personalities.pictures import read_picture
from storage.releases.versions import read_alias, version_named
from storage.wording import BASE_NAME

LorebookFrom = Annotated[
    int | None,
    typer.Option(
        min=1, max=LARGEST_ID, help="ID of a server whose documents, those that only it quotes, become the lorebook."
    ),
]


def export_personality(
    name: PersonalityName,
    target: Annotated[
        Path,
        typer.Argument(
            help="New folder for the adapter, the card and a model card; or a new file for the card alone: .toml, or "
            ".json or .png for SillyTavern."
        ),
    ],
    *,
    config: Config = None,
    version: Annotated[str, typer.Option(help="Version to export (default: the champion).")] = "",
    server: LorebookFrom = None,
    as_json: AsJson = False,
) -> None:
    """Export a personality's adapter as a PEFT folder, which peft and transformers can load, or its card."""
    if server and target.suffix not in TAVERN_SUFFIXES:
        raise SettingsError("only a .json or .png card has a lorebook: name such a file, or leave out --server")
    if version and target.suffix in CARD_SUFFIXES:
        raise SettingsError(f"{target} is a card, which has no version: name a folder, or leave out --version")
    if target.suffix in CARD_SUFFIXES:
        _export_card(config, name, target, server, as_json)
    else:
        _export_version(config, name, target, version, as_json)


def _export_card(config: Path | None, name: str, path: Path, server: int | None, as_json: bool) -> None:
    from bot.knowledge.lorebook import describe_lorebook, read_lorebook

    with with_cards(read_settings(config)) as session:
        found = personality_named(session, name)
        entries, left_out = read_lorebook(session, server, found.id) if server else ((), 0)
        picture = read_picture(session, found.id)
    write_card_file(CardFile(found.card, found.name, entries, picture=picture), path)
    record_command(config, name, operator_action("personality export", f"file: {path.name}"))
    data = {"personality": name, "file": str(path), "lorebook": len(entries), "left_out": left_out}
    show(data, f"Wrote the card of **{name}**{describe_lorebook(len(entries), left_out)} to {path}.", as_json)


def _export_version(config: Path | None, name: str, folder: Path, version: str, as_json: bool) -> None:
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
