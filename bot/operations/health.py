"""The pages /health and /metrics, and their contents."""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import discord
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.operations.metrics import time_statements
from bot.services import Services
from storage.runtime.processes import TRAINER, is_alive
from storage.runtime.shell import as_called
from storage.sentences import Figure, Sentence
from storage.settings.sections import MetricsSettings

log = logging.getLogger(__name__)


DATABASE_TIMEOUT_S = 3.0
GB = 1e9


@dataclass(frozen=True)
class HealthCheck:
    name: str
    ok: bool
    message: str
    needed: bool = True
    """Whether the bot cannot answer messages without this part."""


@dataclass(frozen=True)
class Health:
    checks: tuple[HealthCheck, ...]

    @property
    def is_ready(self) -> bool:
        return all(check.ok for check in self.checks if check.needed)

    @property
    def status(self) -> str:
        """Return ready, degraded (the bot answers, but something else is wrong) or unready."""
        if not self.is_ready:
            return "unready"
        return "ready" if all(check.ok for check in self.checks) else "degraded"

    def as_dict(self) -> dict[str, Any]:
        checks = {check.name: {k: v for k, v in asdict(check).items() if k != "name"} for check in self.checks}
        return {"status": self.status, "live": True, "ready": self.is_ready, "checks": checks}


async def examine_health(services: Services) -> Health:
    settings = services.settings
    disk = await asyncio.to_thread(disk_check, settings.data.directory, settings.alerts.min_free_gb)
    is_connected = services.gateway.is_connected
    connected = HealthCheck("gateway", is_connected, "connected" if is_connected else "not connected to Discord")
    return Health((connected, _engine(services), *await _database(services), disk))


def _engine(services: Services) -> HealthCheck:
    if reason := engine_failure(services):
        return HealthCheck("engine", False, reason)
    state = services.engine.state()
    if state.pause_reason:
        return HealthCheck("engine", False, state.pause_reason, needed=False)
    return HealthCheck("engine", not state.fallback, state.who_answers(), needed=not state.fallback)


async def _database(services: Services) -> tuple[HealthCheck, ...]:
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S):
            has_trainer = await services.database.read(_has_trainer)
    except TimeoutError:
        return (HealthCheck("database", False, f"no answer within {DATABASE_TIMEOUT_S:g} s"),)
    except SQLAlchemyError as error:
        return (HealthCheck("database", False, f"unreachable ({type(error).__name__})"),)
    trainer = "runs" if has_trainer else as_called("no sign of life: `reactune trainer` starts one")
    return HealthCheck("database", True, "answers"), HealthCheck("trainer", has_trainer, trainer, needed=False)


def _has_trainer(session: Session) -> bool:
    session.execute(select(1))
    return is_alive(session, TRAINER)


def disk_check(directory: Path, min_free_gb: float) -> HealthCheck:
    """Check the free space for adapters and an SQLite database."""
    free_gb = shutil.disk_usage(directory).free / GB
    free = Sentence("{free} GB free", free=Figure(free_gb, ".1f"))
    return HealthCheck("disk", free_gb >= min_free_gb, free, needed=False)


def measure(client: discord.Client, services: Services) -> None:
    """Make the gauges read the bot's state at each scrape, and time its statements."""
    metrics, gateway = services.metrics, services.gateway
    metrics.queue_length.set_function(lambda: services.engine.waiting)
    metrics.engine_ready.set_function(lambda: not engine_failure(services))
    metrics.resident_versions.set_function(lambda: services.engine.state().resident_versions)
    metrics.gateway_connected.set_function(lambda: gateway.is_connected)
    metrics.gateway_latency.set_function(lambda: client.latency if gateway.is_connected else math.nan)
    time_statements(services.database.engine, metrics)


def engine_failure(services: Services) -> str:
    """Return the reason why the model cannot answer, or "" if it can."""
    if not services.model_loaded.is_set():
        return "the model is loading"
    return services.engine.state().failure_reason


async def open_pages(
    settings: MetricsSettings, registry: CollectorRegistry, examine: Callable[[], Awaitable[Health]]
) -> web.AppRunner | None:
    """Serve /metrics, /health and /health/live on this loop; return None if the port is not available."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_request: web.Request) -> web.Response:
        found = await examine()
        return web.json_response(found.as_dict(), status=200 if found.is_ready else 503)

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"live": True})  # answered by the bot's event loop

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/health", health), web.get("/health/live", live)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.address, settings.port).start()
    except OSError as error:
        await runner.cleanup()
        log.warning(
            "Metrics and /health are not available: port %d on %s cannot be opened (%s). Another bot may use it: set "
            "metrics.port to a free port, or to 0 for none.",
            settings.port,
            settings.address,
            error.strerror,
        )
        return None
    log.info("Metrics and health: http://%s:%d.", settings.host, settings.port)
    return runner
