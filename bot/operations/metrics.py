"""Metrics for Prometheus. No label contains a member's ID or text."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from bot.vote_queue import StoredVote
from storage.conversations.replies import FinishedReply

ANSWER_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
SHORT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
TOKENS_PER_SECOND = (2, 5, 10, 20, 40, 80, 160, 320, 640)

BEGAN = "reactune_began"


class Metrics:
    """The bot's metrics, in their own registry: one process may run several bots, as in tests.

    Counting costs a microsecond. Gauges that need a look-up are only set up if the metrics page is served.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, CPU and open files, if the system reports them
        build = self._gauge("reactune_build_info", "Always 1; the label has the program's version.", "version")
        build.labels(version("reactune")).set(1)

        self.answers = self._counter("reactune_answers_total", "Answers by how they ended.", "outcome")
        self.answer_tokens = self._counter("reactune_answer_tokens_total", "Tokens of all answers.")
        self.queued = self._histogram("reactune_answer_queued_seconds", "Wait for a free slot.", ANSWER_SECONDS)
        self.first_token = self._histogram(
            "reactune_answer_first_token_seconds", "From the request to the first token.", ANSWER_SECONDS
        )
        self.total = self._histogram("reactune_answer_seconds", "From the request to the last token.", ANSWER_SECONDS)
        self.speed = self._histogram(
            "reactune_answer_tokens_per_second", "Tokens per second of single answers.", TOKENS_PER_SECOND
        )
        self.votes = self._counter("reactune_votes_total", "Stored vote changes: up, down or withdrawn.", "kind")
        self.refusals = self._counter("reactune_refusals_total", "Refused requests, by limit.", "limit")

        self.queue_length = self._gauge("reactune_queue_length", "Answers that wait for a free slot.")
        self.engine_ready = self._gauge(
            "reactune_engine_ready", "1 if the model can answer, or left the GPU to a round."
        )
        self.resident_versions = self._gauge("reactune_engine_resident_versions", "Versions in memory.")
        self.gateway_connected = self._gauge("reactune_gateway_connected", "1 while Discord's gateway is connected.")
        self.gateway_latency = self._gauge("reactune_gateway_latency_seconds", "Round trip of a heartbeat.")

        self.loop_delay = self._histogram(
            "reactune_event_loop_delay_seconds", "Delay of due work in the event loop.", SHORT_SECONDS
        )
        self.statement = self._histogram(
            "reactune_database_statement_seconds",
            "Duration of statements, including waits for SQLite's lock.",
            SHORT_SECONDS,
        )
        self.database_errors = self._counter("reactune_database_errors_total", "Database errors.", "kind")

    def count_answer(self, finished: FinishedReply) -> None:
        self.answers.labels(finished.outcome).inc()
        self.answer_tokens.inc(finished.answer_tokens)
        if finished.queued_s is not None:
            self.queued.observe(finished.queued_s)
        if finished.first_token_s is not None:
            self.first_token.observe(finished.first_token_s)
        if finished.total_s is not None:
            self.total.observe(finished.total_s)
            generating_s = finished.total_s - (finished.first_token_s or 0.0)
            if finished.answer_tokens > 1 and generating_s > 0:
                self.speed.observe(finished.answer_tokens / generating_s)

    def count_vote(self, vote: StoredVote) -> None:
        self.votes.labels(vote.kind).inc()

    def count_refusal(self, limit: str) -> None:
        """Count a refused request; `limit` is the name of the limit, such as cooldown."""
        self.refusals.labels(limit).inc()

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(name, help_, labels, registry=self.registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(name, help_, labels, registry=self.registry)

    def _histogram(self, name: str, help_: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, help_, registry=self.registry, buckets=buckets)


def time_statements(engine: Engine, metrics: Metrics) -> None:
    """Observe each statement of the engine, and count its errors by kind."""

    def before(connection: Connection, *_: Any) -> None:
        connection.info[BEGAN] = time.perf_counter()

    def after(connection: Connection, *_: Any) -> None:
        began = connection.info.pop(BEGAN, None)
        if began is not None:  # a statement may have been running when this was attached
            metrics.statement.observe(time.perf_counter() - began)

    def fail(context: ExceptionContext) -> None:
        metrics.database_errors.labels(type(context.sqlalchemy_exception or context.original_exception).__name__).inc()

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", fail)
