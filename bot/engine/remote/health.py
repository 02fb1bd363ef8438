"""Looks at servers from time to time: who is well, what they list, and who has come back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from tenacity import AsyncRetrying, retry_if_result, wait_random_exponential

from bot.engine.remote.adapter_loading import Versions
from bot.engine.remote.errors import Overloaded, Refused, ServerError, Unreachable
from bot.engine.remote.replicas import Replica
from storage.settings.sections import KEY_VARIABLE, RemoteSettings

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
NEEDS_KEY = frozenset({401, 403})


class HealthWatch:
    def __init__(self, settings: RemoteSettings, versions: Versions, on_change: Callable[[Replica], None]) -> None:
        """`on_change` is told of a server that is lost or found."""
        self._settings = settings
        self._versions = versions
        self._on_change = on_change

    async def watch(self, replica: Replica) -> None:
        """Look again and again; at a lost server soon at first, then less and less often."""
        interval_s = self._settings.health_interval_s
        until_found = AsyncRetrying(
            retry=retry_if_result(lambda _: replica.problem is not None),
            wait=wait_random_exponential(FIRST_PAUSE_S, max=interval_s),
        )
        while True:
            await asyncio.sleep(interval_s)
            # One that is answering is well, and may be too busy to say so.
            if replica.problem is not None or time.perf_counter() - replica.heard_at >= interval_s:
                await until_found(self.look, replica)

    async def look(self, replica: Replica) -> None:
        """Ask once, and say in the log what has changed."""
        before = replica.problem
        try:
            replica.found(await self._list_models(replica))
        except Overloaded:
            replica.found(replica.models)
        except ServerError as error:
            replica.lost(problem_of(error))
        self._versions.noticed(replica)
        if replica.problem != before:
            self._tell(replica)
            self._on_change(replica)

    async def _list_models(self, replica: Replica) -> tuple[str, ...]:
        """Return the names of its models; raises ServerError where it is not well, or lacks ours."""
        await require_health(replica)
        models = names_in(await replica.server.get("/v1/models"))
        wanted = self._settings.model
        # Others list what they like: llama.cpp a path, gateways and transformers not all that they answer as.
        if self._settings.kind == "vllm" and wanted and wanted not in models:
            raise ServerError(replica.server.url, unknown_model(wanted, models))
        return models

    def _tell(self, replica: Replica) -> None:
        if replica.problem is None:
            log.info("%s answers, as %s.", replica.server.url, ", ".join(replica.models) or "a model without a name")
        else:
            log.warning("%s.", replica.problem)


async def require_health(replica: Replica) -> None:
    """Raise ServerError where the server says that it is not; not every server says so."""
    try:
        await replica.server.get("/health")
    except Refused as error:
        if error.status in NEEDS_KEY:
            raise


def problem_of(error: ServerError) -> str:
    """Return the error with what to do."""
    if isinstance(error, Refused) and error.status in NEEDS_KEY:
        return f"{error}; put its key into the variable {KEY_VARIABLE}, in the environment or in .env"
    if isinstance(error, Unreachable):
        return f"{error}; start it, or correct remote.servers"
    return str(error)


def unknown_model(wanted: str, models: Sequence[str]) -> str:
    return f"lists {', '.join(models) or 'no model'}, not remote.model = {wanted!r}: set that to one of them"


def names_in(listed: Any) -> tuple[str, ...]:
    """Return the ids of /v1/models."""
    models = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(models, list):
        return ()
    return tuple(str(model["id"]) for model in models if isinstance(model, dict) and "id" in model)
