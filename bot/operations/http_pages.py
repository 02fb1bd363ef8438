"""Pages for operators over HTTP: metrics and health."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from bot.operations.health import Health
from storage.settings.sections import MetricsSettings

log = logging.getLogger(__name__)

Examine = Callable[[], Awaitable[Health]]


async def open_pages(settings: MetricsSettings, registry: CollectorRegistry, examine: Examine) -> web.AppRunner | None:
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
