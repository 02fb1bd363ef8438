"""What `reactune doctor` says of remote servers: who answers, as what, and whether versions get in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bot.engine.remote.adapter_loading import NO_ROUTE, NO_UPDATES, is_file_of, lacks
from bot.engine.remote.replicas import Replica, names_in, problem_of, require_health, unknown_model
from bot.engine.remote.server import Refused, Server, ServerError, open_session
from reactune.doctor.checks import Unwell
from storage.adapters.folder_store import AdapterRef
from storage.settings.sections import RemoteSettings, Settings
from storage.wording import count


def examine_servers(settings: Settings, champions: Sequence[AdapterRef]) -> str:
    """Return a sentence on each server; raises Unwell where one of them needs the operator.

    `champions` are the versions that answer now: llama.cpp's servers must have been started with them.
    """
    told, problems = asyncio.run(_examine(settings, champions))
    if problems:
        raise Unwell("; ".join(problems + told))
    return "; ".join(told)


async def _examine(settings: Settings, champions: Sequence[AdapterRef]) -> tuple[list[str], list[str]]:
    """Return what is well, and what is not."""
    key = settings.remote_api_key
    async with open_session(settings.remote, key.get_secret_value().strip() if key else None) as session:
        servers = [Server(url, session, settings.remote) for url in settings.remote.servers]
        found = await asyncio.gather(
            *(_look(server, settings.remote, champions) for server in servers), return_exceptions=True
        )
    told = [one for one in found if isinstance(one, str)]
    errors = [one for one in found if isinstance(one, BaseException)]
    for error in errors:
        if not isinstance(error, ServerError):
            raise error
    return told, [problem_of(error) for error in errors if isinstance(error, ServerError)]


async def _look(server: Server, settings: RemoteSettings, champions: Sequence[AdapterRef]) -> str:
    await require_health(Replica(server))
    models = names_in(await server.get("/v1/models"))
    wanted = settings.model or (models[0] if models else "")
    if wanted not in models and settings.kind == "vllm":
        raise ServerError(server.url, unknown_model(wanted, models))
    return f"{server.url} answers as {wanted or 'what it likes'}, {await _versions(server, settings, champions)}"


async def _versions(server: Server, settings: RemoteSettings, champions: Sequence[AdapterRef]) -> str:
    if settings.kind == "openai":
        return "the base alone"
    if settings.kind == "vllm":
        return await _takes_versions(server)
    listed = await server.get("/lora-adapters") or []
    for champion in champions:
        if not any(is_file_of(champion, entry) for entry in listed):
            raise lacks(server.url, champion)
    return f"with {count(len(listed), 'adapter')}"


async def _takes_versions(server: Server) -> str:
    """Say so; to unload a version without a name is refused, by a server that could unload one."""
    try:
        await server.post("/v1/unload_lora_adapter", {"lora_name": ""}, 5.0)
    except Refused as error:
        if error.says == NO_ROUTE:
            raise ServerError(server.url, NO_UPDATES) from error
    return "takes versions"
