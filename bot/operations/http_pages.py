"""The pages for operators over HTTP: numbers, and whether all is well."""

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
    """Serve /metrics, /health and /health/live on this loop; None where the port is not to be had."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_request: web.Request) -> web.Response:
        found = await examine()
        return web.json_response(found.as_dict(), status=200 if found.is_ready else 503)

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"live": True})  # the loop that answers is the bot's

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/health", health), web.get("/health/live", live)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.address, settings.port).start()
    except OSError as error:
        await runner.cleanup()
        log.warning(
            "No metrics and no /health: %s port %d cannot be opened (%s). Another bot may have it: set metrics.port to "
            "a free one, or to 0 for none.",
            settings.address,
            settings.port,
            error.strerror,
        )
        return None
    log.info("Metrics and health are on http://%s:%d.", settings.host, settings.port)
    return runner
