"""What is measured only where somebody reads the numbers: statements, and the moments of a scrape."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from bot.engine import engine_state
from bot.metrics import Metrics

if TYPE_CHECKING:
    from bot.app import ReactuneBot
    from bot.health import Gateway

BEGAN = "reactune_began"


def measure(bot: ReactuneBot, gateway: Gateway) -> None:
    """Let the bot's numbers hold what its parts say at the moment of a scrape, and time its statements."""
    metrics = bot.metrics
    metrics.queue_length.set_function(lambda: bot.engine.waiting)
    metrics.engine_ready.set_function(lambda: not engine_trouble(bot))
    metrics.resident_versions.set_function(lambda: engine_state(bot.engine).resident_versions)
    metrics.gateway_connected.set_function(lambda: gateway.is_connected)
    metrics.gateway_latency.set_function(lambda: bot.latency if gateway.is_connected else math.nan)
    time_statements(bot.database.engine, metrics)


def engine_trouble(bot: ReactuneBot) -> str:
    """Return why the model cannot answer; empty where it can."""
    if not hasattr(bot, "loading") or not bot.loading.done():
        return "the model loads"
    return engine_state(bot.engine).trouble


def time_statements(engine: Engine, metrics: Metrics) -> None:
    """Observe each statement of the engine, and count its errors by kind."""

    def before(connection: Connection, *_: Any) -> None:
        connection.info[BEGAN] = time.perf_counter()

    def after(connection: Connection, *_: Any) -> None:
        began = connection.info.pop(BEGAN, None)
        if began is not None:  # a statement may have been under way when this was attached
            metrics.statement.observe(time.perf_counter() - began)

    def fail(context: ExceptionContext) -> None:
        metrics.database_errors.labels(type(context.sqlalchemy_exception or context.original_exception).__name__).inc()

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", fail)
