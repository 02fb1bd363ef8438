"""Checks of the models: the base, the engine that serves it, and champions."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from bot.operations.alerts import FALLBACK
from reactune.doctor.findings import Problem
from reactune.doctor.servers import examine_server
from reactune.shared import notes, reading
from storage.adapters.folder_store import AdapterRef
from storage.adapters.stores import open_store
from storage.database.database import open_database
from storage.models.adapter_checks import require_base
from storage.models.base_model import (
    HUB_ID,
    BaseModel,
    require_full_weights,
    require_loadable,
    resolve_base_model,
    window_of,
)
from storage.models.bundled import resolve_coherence_model
from storage.models.hardware import describe_serving_format
from storage.models.openvino.support import UnsupportedModel
from storage.models.openvino.verifier import Verifier, prefers_graphs
from storage.operations.alerts import open_alert
from storage.personalities import personalities
from storage.releases.versions import Version, read_alias
from storage.runtime.processes import is_alive, worker_name
from storage.runtime.shards import shards_of
from storage.settings.sections import Settings


def check_base_model(settings: Settings) -> str:
    base = find_base(settings)
    if settings.model.engine != "remote":
        require_loadable(base.path)
    return f"{base.name} ({base.architecture}, revision {base.revision})"


def find_base(settings: Settings) -> BaseModel:
    """Return the base model; with a new data folder it is converted first, which takes a while."""
    return resolve_base_model(settings.model.base, settings.data.directory, _say)


def _say(sentence: str) -> None:
    notes.print(sentence, markup=False, highlight=False)


def check_engine(settings: Settings) -> str:
    """Describe the engine without loading the model."""
    base = find_base(settings)
    window = window_of(base.path, settings.model)
    limit = f"; conversations are cut to the base model's {window} tokens"
    return _describe_engine(base, settings) + (limit if window < settings.model.context_tokens else "")


def _describe_engine(base: BaseModel, settings: Settings) -> str:
    if settings.model.engine == "remote":
        folder = settings.data.directory  # the files themselves are not checked here
        adapters = [AdapterRef(version.digest, folder) for _, version in _champions(settings) if version is not None]
        return examine_server(settings, adapters)
    require_full_weights(base.path)
    transformers = f"transformers, {describe_serving_format(settings.model)}"
    if not prefers_graphs(settings.model):
        return transformers
    verifier = Verifier(base, settings.data.directory, settings.model)
    try:
        verdict = verifier.verdict
        reason = verdict.refused if verdict else ""
    except UnsupportedModel as error:
        verdict, reason = None, str(error)
    if reason and settings.model.engine == "openvino":
        raise Problem(f'OpenVINO cannot run this base model ({reason}): set model.engine = "auto"')
    if reason:
        return f"{transformers}, more slowly, because OpenVINO cannot run this base model ({reason})"
    _require_no_fallback(settings)
    if verdict is None:
        return "OpenVINO; the next start first checks it against transformers"
    return f"OpenVINO, {verdict.describe()}; to measure again, delete {verifier.file}"


def _require_no_fallback(settings: Settings) -> None:
    """Raise Problem if a running bot of this data folder reports that another engine answers instead of OpenVINO."""
    worker = worker_name(settings.data.directory)
    with reading(settings) as session:
        runs = any(is_alive(session, name, worker) for name in shards_of(settings.discord).names)
        alert = open_alert(session, worker, FALLBACK) if runs else None
    if alert is not None:
        raise Problem(f"{alert.message}; {alert.remedy}")


def _champions(settings: Settings) -> list[tuple[str, Version | None]]:
    """Return each personality's name and champion."""
    with closing(open_database(settings)) as database, database.transaction() as session:
        personalities.ensure_personality(session)
        return [(p.name, read_alias(session, p.id).version) for p in personalities.list_personalities(session)]


def check_coherence_model(settings: Settings) -> str:
    name = settings.gate.coherence_model
    if HUB_ID.fullmatch(name) and not Path(name).expanduser().is_dir():
        return f"{name}, which the first round downloads from the Hub (not checked)"
    model = resolve_coherence_model(name, settings.data.directory, _say)
    return f"{model.name} (revision {model.revision})" if model else "the base model itself"


def check_personalities(settings: Settings) -> str:
    with closing(open_database(settings)) as database, database.transaction() as session:
        personalities.ensure_personality(session)
        problems = personalities.load_cards(session, settings)
        known = [personality.name for personality in personalities.list_personalities(session)]
    if problems:
        raise Problem("; ".join(problems))
    return f"{', '.join(known)}; cards in {settings.personalities.directory}"


def check_champions(settings: Settings) -> str:
    return "; ".join(f"{name}: {_describe_champion(settings, name, found)}" for name, found in _champions(settings))


def _describe_champion(settings: Settings, name: str, version: Version | None) -> str:
    if version is None:
        return "base, no adapter"
    if version.trained_on_deleted_data:
        raise Problem(
            f"{version.name} of {name} was trained on data that was deleted since: run "
            f"`reactune train --personality {name}`, which learns without it, then promote the result"
        )
    folder = open_store(settings).path(version.digest)
    require_base(folder, find_base(settings))
    return f"{version.name}, files intact"
