"""`reactune model prune` and `gguf`: files of versions."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from reactune.console import AsJson, Config, Personality, VersionName, progress, read_settings, show
from reactune.operator import look_up, operator_action
from storage.adapters import open_store
from storage.database.database import open_database
from storage.errors import SettingsError
from storage.models.adapter_checks import require_base
from storage.operations.audit import record_action
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.releases.versions import version_named


def prune_models(
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete adapter files as privacy.withdraw_adapters and training.keep_versions say."""
    from storage.models.withdrawal import choose_withdrawals, withdraw_adapters

    settings = read_settings(config)
    with contextlib.closing(open_database(settings)) as database:
        if dry_run:
            with database.snapshot() as session:
                gone = choose_withdrawals(session, settings)
        else:
            gone = withdraw_adapters(database, open_store(settings), settings)
            with database.transaction() as session:
                for one in gone:
                    audited_action = operator_action("model prune", one.version.name, one.because)
                    record_action(session, replace(audited_action, personality_id=one.version.personality_id))
    verb = "Would delete" if dry_run else "Deleted"
    lines = [f"- {verb} the files of {g.personality} **{g.version.name}**: {g.because}." for g in gone]
    removed = [
        {"personality": g.personality, "version": g.version.name, "digest": g.version.digest, "because": g.because}
        for g in gone
    ]
    show({"removed": removed, "dry_run": dry_run}, "\n".join(lines) or "Nothing to delete.", as_json)


def write_model_gguf(
    version: VersionName,
    folder: Annotated[Path, typer.Argument(help="Folder for the file, which is named after the version.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Write a version as a GGUF file for llama.cpp's server."""
    from storage.adapters.folder_store import AdapterRef
    from storage.models.base_model import resolve_base_model
    from storage.models.gguf import gguf_name, write_gguf

    settings = read_settings(config)
    found = look_up(config, personality, lambda session, id_: version_named(session, id_, version))
    if found is None:
        raise SettingsError("the base model has no adapter to write: name a version, such as v3")
    adapter = AdapterRef(found.digest, open_store(settings).path(found.digest))
    with progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)
    require_base(adapter.path, base)
    file = folder / gguf_name(adapter)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_gguf(adapter, base, file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}): choose another folder") from error
    data = {"version": found.name, "digest": found.digest, "file": str(file)}
    text = f"Wrote **{found.name}** to {file}. Start llama-server with `--lora {file} --lora-init-without-apply`."
    show(data, text, as_json)
