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
from storage.errors import SettingsError
from storage.personalities.card_files import CARD_SUFFIX, TAVERN_SUFFIXES, write_card_file
from storage.personalities.personalities import personality_named
from storage.releases.versions import read_alias, version_named
from storage.wording import BASE_NAME


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
    version: Annotated[str, typer.Option(help="Version to export (default: the champion).")] = "",
    as_json: AsJson = False,
) -> None:
    """Export a personality's adapter as a PEFT folder, which peft and transformers can load, or its card."""
    if target.suffix in TAVERN_SUFFIXES:
        raise SettingsError(f"{target} is no name for it: a card is exported as a {CARD_SUFFIX} file")
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
