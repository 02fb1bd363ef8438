"""Metrics of all rounds for Prometheus, read from the database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.settings.sections import MetricsSettings
from storage.training.rounds import OPEN, RoundNumbers, read_numbers

log = logging.getLogger(__name__)


class RoundsCollector(Collector):
    """Reads the database at each scrape, so that a restart loses nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterable[Metric]:
        try:
            with self._database.snapshot() as session:
                numbers = read_numbers(session)
        except FAILURES as error:
            log.warning("This scrape has no metrics of rounds: the database is unreachable (%s).", explain(error))
            return []
        return list(_families(numbers))

    def describe(self) -> Iterable[Metric]:
        return []  # otherwise registering would read the database


def _families(numbers: RoundNumbers) -> Iterator[Metric]:
    rounds = CounterMetricFamily("reactune_rounds", "Rounds that ended, by outcome.", labels=["outcome"])
    for status, number in numbers.by_status.items():
        if status not in OPEN:
            rounds.add_metric([status], number)
    yield rounds
    took = numbers.took_time, numbers.seconds
    yield SummaryMetricFamily("reactune_round_seconds", "How long rounds took.", *took)
    waiting = sum(numbers.by_status[status] for status in OPEN) - (numbers.running_since is not None)
    yield GaugeMetricFamily("reactune_rounds_waiting", "Rounds that were requested and are waiting.", waiting)
    running_s = (utc_now() - numbers.running_since).total_seconds() if numbers.running_since else 0.0
    yield GaugeMetricFamily(
        "reactune_round_running_seconds", "Seconds since the running round started; 0 without one.", running_s
    )
    yield GaugeMetricFamily(
        "reactune_round_progress_ratio", "Share of the running round that is done.", numbers.progress
    )
    if numbers.last_published_at:
        yield GaugeMetricFamily(
            "reactune_round_last_success_timestamp_seconds",
            "When a round last published a version.",
            numbers.last_published_at.timestamp(),
        )


@contextmanager
def served_metrics(settings: MetricsSettings, database: Database) -> Iterator[None]:
    """Serve /metrics in a separate thread, unless the port is 0 or cannot be opened."""
    serving = None
    if settings.trainer_port:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(RoundsCollector(database))
        try:
            serving = start_http_server(settings.trainer_port, settings.address, registry)
        except OSError as error:
            log.warning(
                "No metrics: %s port %d cannot be opened (%s). Another trainer may use it: set metrics.port so "
                "that the next port is free too, or to 0 for no metrics.",
                settings.address,
                settings.trainer_port,
                error.strerror,
            )
    try:
        yield
    finally:
        if serving is not None:
            server, thread = serving
            server.shutdown()
            server.server_close()
            thread.join()
