"""Checks remote servers: whether they answer, which model they serve, and whether they load versions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bot.engine.remote.adapter_loading import NO_ROUTE, NO_UPDATES, is_file_of, lacks
from bot.engine.remote.replicas import Replica, names_in, problem_of, require_health, unknown_model
from bot.engine.remote.server import Refused, Server, ServerError, open_session
from reactune.doctor.findings import Problem
from storage.adapters.folder_store import AdapterRef
from storage.settings.sections import RemoteSettings, Settings
from storage.wording import count


def examine_servers(settings: Settings, champions: Sequence[AdapterRef]) -> str:
    """Return a phrase about each server; raises Problem if one of them needs the operator.

    `champions` are the current champions: llama.cpp servers must have been started with them.
    """
    working, problems = asyncio.run(_examine(settings, champions))
    if problems:
        raise Problem("; ".join(problems + working))
    return "; ".join(working)


async def _examine(settings: Settings, champions: Sequence[AdapterRef]) -> tuple[list[str], list[str]]:
    """Return a phrase for each working server, and one for each problem."""
    key = settings.remote_api_key
    async with open_session(settings.remote, key.get_secret_value().strip() if key else None) as session:
        servers = [Server(url, session, settings.remote) for url in settings.remote.servers]
        found = await asyncio.gather(
            *(_look(server, settings.remote, champions) for server in servers), return_exceptions=True
        )
    working = [one for one in found if isinstance(one, str)]
    errors = [one for one in found if isinstance(one, BaseException)]
    for error in errors:
        if not isinstance(error, ServerError):
            raise error
    return working, [problem_of(error) for error in errors if isinstance(error, ServerError)]


async def _look(server: Server, settings: RemoteSettings, champions: Sequence[AdapterRef]) -> str:
    await require_health(Replica(server))
    models = names_in(await server.get("/v1/models"))
    wanted = settings.model or (models[0] if models else "")
    if wanted not in models and settings.kind == "vllm":
        raise ServerError(server.url, unknown_model(wanted, models))
    return f"{server.url} serves {wanted or 'an unnamed model'}, {await _versions(server, settings, champions)}"


async def _versions(server: Server, settings: RemoteSettings, champions: Sequence[AdapterRef]) -> str:
    if settings.kind == "openai":
        return "base model only"
    if settings.kind == "vllm":
        return await _loads_versions(server)
    listed = await server.get("/lora-adapters") or []
    for champion in champions:
        if not any(is_file_of(champion, entry) for entry in listed):
            raise lacks(server.url, champion)
    return f"with {count(len(listed), 'adapter')}"


async def _loads_versions(server: Server) -> str:
    """Raise ServerError unless the server can load versions; one that can rejects unloading a nameless version."""
    try:
        await server.post("/v1/unload_lora_adapter", {"lora_name": ""}, 5.0)
    except Refused as error:
        if error.says == NO_ROUTE:
            raise ServerError(server.url, NO_UPDATES) from error
    return "loads versions"
