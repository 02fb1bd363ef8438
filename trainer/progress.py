"""Progress of rounds: each round writes it to its row, and the trainer serves all rounds' progress as metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.settings.sections import MetricsSettings
from storage.training.rounds import OPEN, RoundNumbers, read_numbers, report_progress

PROGRESS_S = 1.0

log = logging.getLogger(__name__)


class Phase(StrEnum):
    """A round's current activity, in words that people read."""

    GATHERING = "Preparing the training data"
    WAITING = "Waiting until the bot leaves the GPU"
    SAMPLING = "Drawing answers for the taste to rank"
    LOADING = "Loading the model"
    REFERENCE = "Scoring answers before training"
    TRAINING = "Training the new version"
    VALIDATING = "Choosing the strength of the new version"
    ANSWERING = "Answering test messages with the new version"
    ANSWERING_MEMBERS = "Answering members' messages with the new version"
    COHERENCE = "Judging the coherence of the answers"
    DIVERGENCE = "Measuring the distance from the base model"
    BASE_ANSWERING = "Answering test messages with the base model"
    BASE_ANSWERING_MEMBERS = "Answering members' messages with the base model"
    BASE_COHERENCE = "Judging the coherence of the base model's answers"
    BEFORE = "Answering the same messages with the version in use"
    PUBLISHING = "Saving the new version"


@dataclass(frozen=True)
class RoundProgress:
    phase: Phase
    step: int = 0
    steps: int = 0
    """Steps of the phase; 0 if unknown."""
    loss: float | None = None
    seconds_left: float | None = None


ReportProgress = Callable[[RoundProgress], None]
Advance = Callable[[float], None]
"""Called with the number of completed steps, which can be fractional."""


def begin_phase(report: ReportProgress, phase: Phase, steps: int) -> Advance:
    """Report that the phase begins, and return a function that reports its completed steps."""
    report(RoundProgress(phase, 0, steps))
    reported = 0

    def advance(done: float) -> None:
        nonlocal reported
        if int(done) > reported:
            reported = int(done)
            report(RoundProgress(phase, reported, steps))

    return advance


def after_others(advance: Advance, others: int) -> Advance:
    """Return an `Advance` for a part of the phase that begins when `others` of its steps are done."""
    return lambda done: advance(others + done)


def keep_quiet(_done: float) -> None:
    """An `Advance` that reports nothing."""


class ProgressLog:
    """Writes a round's progress to its row: each new phase, and within a phase about once a second.

    Raises RoundConflict if the round is no longer running, which ends its training.
    """

    def __init__(self, database: Database, round_id: int) -> None:
        self._database = database
        self._round_id = round_id
        self._phase: Phase | None = None
        self._next_write = 0.0

    def __call__(self, progress: RoundProgress) -> None:
        if progress.phase == self._phase and time.monotonic() < self._next_write:
            return
        self._phase = progress.phase
        self._next_write = time.monotonic() + PROGRESS_S
        try:
            with self._database.transaction() as session:
                report_progress(session, self._round_id, asdict(progress))
        except FAILURES as error:
            log.warning("Progress could not be stored (%s); the round continues.", explain(error))


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
        "reactune_round_progress_ratio", "Share of the running round's current phase that is done.", numbers.progress
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
                "No metrics: %s port %d cannot be opened (%s). Another trainer may use it: set metrics.trainer_port "
                "to a free one, or to 0 for no metrics.",
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
