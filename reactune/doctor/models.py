"""Checks of the models: the base, its chat template and memory, the engine or server that serves it, and rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bot.engine.remote.adapter_loading import NO_ROUTE, NO_UPDATES, is_file_of, version_missing
from bot.engine.rendering import require_first_prompt, unknown_options
from bot.errors import EngineStopped
from bot.model_server import Refused, Server, ServerError, connect, problem_of, served_models
from bot.operations.alerts import FALLBACK
from bot.text.status import describe_spend
from reactune.doctor.findings import Hint, Problem
from reactune.models import Machine
from reactune.shared import notes, reading
from storage.adapters.folder_store import AdapterRef
from storage.adapters.stores import open_store
from storage.database.columns import utc_now
from storage.database.database import open_database
from storage.models.adapter_checks import require_base
from storage.models.base_model import (
    HUB_ID,
    BaseModel,
    quantization_of,
    require_full_weights,
    require_loadable,
    resolve_base_model,
    window_of,
)
from storage.models.bundled import resolve_coherence_model
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.models.hardware import describe_serving_format, describe_training_format, describe_unlike
from storage.models.layer_names import LayerNames, has_experts
from storage.models.memory import answering_bytes
from storage.models.openvino.support import UnsupportedModel
from storage.models.openvino.verifier import Verifier, is_served_as_graph, prefers_graphs
from storage.models.shape import shape_of
from storage.operations.alerts import open_alert
from storage.operations.token_spend import is_used_up, spent_on
from storage.personalities import personalities
from storage.releases.versions import Version, read_alias
from storage.runtime.processes import is_alive, worker_name
from storage.runtime.schedules import parse_schedule
from storage.runtime.shards import shards_of
from storage.settings.sections import RemoteSettings, Settings
from storage.wording import count, format_bytes
from trainer.base import RoundBase
from trainer.errors import TooLittleMemory
from trainer.gpu_room import shares_gpu
from trainer.rounds.readiness import check_round_memory, memory_of_round


def check_base_model(settings: Settings) -> str:
    base = find_base(settings)
    if settings.model.engine != "remote":
        require_loadable(base.path)
    return f"{base.name} ({base.architecture}, revision {base.revision})"


def find_base(settings: Settings) -> BaseModel:
    """Return the base model; with a new data folder it is converted first, which takes a while."""
    return resolve_base_model(settings.model.base, settings.data.directory, notes.print)


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
        return _examine_server(settings, adapters)
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
    model = resolve_coherence_model(name, settings.data.directory, notes.print)
    return f"{model.name} (revision {model.revision})" if model else "the base model itself"


def check_personalities(settings: Settings) -> str:
    with closing(open_database(settings)) as database, database.transaction() as session:
        personalities.ensure_personality(session)
        cards, problems = personalities.read_cards(session, settings)
        known = [personality.name for personality in personalities.list_personalities(session)]
        new = [name for name in cards if personalities.find_personality(session, name) is None]
    if problems:
        raise Problem("; ".join(problems))
    return f"{', '.join(known + new)}; cards in {settings.personalities.directory}"


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


def check_chat_template(settings: Settings) -> str:
    """Describe the base's chat template."""
    base = find_base(settings)
    chat = load_chat_format(base.path, settings.model.template_options)
    try:
        require_first_prompt(chat, window_of(base.path, settings.model), settings)
    except EngineStopped as error:
        raise Problem(str(error)) from error
    found = "; ".join((_describe_roles(chat), _describe_thinking(chat, settings)))
    if chat.unknown_options:
        raise Hint(f"{found}; {unknown_options(chat)}")
    if chat.opens_thought and not chat.knows_thinking:
        raise Hint(found)
    return found


def _describe_roles(chat: ChatFormat) -> str:
    refused = "begins the first message, because the template refuses it"
    system = refused if chat.folds_system else "has its own turn"
    return f"the system prompt {system}; answers end with {chat.ends[chat.end_of_turn]}"


def _describe_thinking(chat: ChatFormat, settings: Settings) -> str:
    if not chat.thinks:
        return "thinking is off" if chat.knows_thinking else "it does not ask the model to think"
    why = "" if chat.knows_thinking else ", which its template cannot switch off"
    most = settings.generation.max_thought_tokens
    return f"the model thinks before each answer{why}: up to generation.max_thought_tokens = {most} tokens, never shown"


def check_memory(settings: Settings) -> str:
    """Compare the memory that answering needs with the free memory of this machine, or its container."""
    if settings.model.engine == "remote":
        return "another machine holds the model"
    base, machine = find_base(settings), Machine.here(settings.data.directory)
    memory = machine.memory
    try:
        shape = shape_of(base.path)
        needed = answering_bytes(shape, settings, as_graph=is_served_as_graph(shape.config, settings.model))
    except KeyError as error:
        raise Hint(f"what {base.name} needs cannot be estimated, because its config.json lacks {error}") from error
    if needed > memory.free:
        raise Problem(
            f"{format_bytes(memory.free)} of {memory.kind} free, but answering needs about "
            f"{format_bytes(needed)}: stop other programs, raise the container's limit, lower generation.batch_size or "
            "model.context_tokens, or choose a smaller model.base (see `reactune models`; a running bot already uses "
            "its share)"
        )
    return f"answering needs about {format_bytes(needed)} of {memory.kind}, {format_bytes(memory.free)} free"


def check_training(settings: Settings) -> str:
    training = settings.training
    parse_schedule("training.schedule", training.schedule)
    way = describe_training_format(training)
    base = find_base(settings)
    if method := quantization_of(base.path):
        raise Hint(
            f"no rounds: the weights of {base.name} are quantised already ({method}); set model.base to the model that "
            "they were made from"
        )
    together = f", {training.processes} processes" if training.processes > 1 else ""
    experts = LayerNames(base.path).left_out if has_experts(base.path) else ""
    parts = [way + together, experts, describe_unlike(settings), f"a round {_describe_memory(settings, base)}"]
    return "; ".join(filter(None, parts))


def _describe_memory(settings: Settings, base: BaseModel) -> str:
    training = settings.training
    with closing(open_database(settings)) as database:
        engine_leaves = shares_gpu(database, training.processes)
    memory = memory_of_round(training, engine_leaves=engine_leaves)
    try:
        needs = check_round_memory(RoundBase(base, settings.model), training, memory)
    except TooLittleMemory as error:
        raise Problem(str(error)) from error
    return f"{needs} when the bot's engine has stepped aside" if engine_leaves else needs


def _examine_server(settings: Settings, champions: Sequence[AdapterRef]) -> str:
    """Return a phrase about the model server; raises Problem if it needs the operator.

    `champions` are the current champions: llama.cpp's server must have been started with them.
    """
    try:
        return asyncio.run(_describe_server(settings, champions))
    except ServerError as error:
        raise Problem(problem_of(error)) from error


async def _describe_server(settings: Settings, champions: Sequence[AdapterRef]) -> str:
    remote = settings.remote
    async with connect(remote.url, settings.remote_api_key, remote) as server:
        models = await served_models(server, remote)
        model = remote.model or next(iter(models), "an unnamed model")
        return f"{server.url} serves {model}, {await _versions(server, remote, champions)}"


async def _versions(server: Server, settings: RemoteSettings, champions: Sequence[AdapterRef]) -> str:
    if settings.kind == "openai":
        return "base model only"
    if settings.kind == "vllm":
        return await _loads_versions(server)
    listed = await server.get("/lora-adapters") or []
    for champion in champions:
        if not any(is_file_of(champion, entry) for entry in listed):
            raise version_missing(server.url, champion)
    return f"with {count(len(listed), 'adapter')}"


async def _loads_versions(server: Server) -> str:
    """Raise ServerError unless the server can load versions; one that can rejects unloading a nameless version."""
    try:
        await server.post("/v1/unload_lora_adapter", {"lora_name": ""}, 5.0)
    except Refused as error:
        if error.message == NO_ROUTE:
            raise ServerError(server.url, NO_UPDATES) from error
    return "loads versions"


def check_spending(settings: Settings) -> str:
    with reading(settings) as session:
        spent = spent_on(session, utc_now().date())
    described = describe_spend(spent, settings.remote)
    if is_used_up(spent, settings.remote):
        raise Problem(
            f"{described}: the bot does not answer before midnight UTC; to continue now, raise remote.tokens_per_day "
            "and restart the bot"
        )
    return described
