"""The trainer's Prometheus metrics, read from the database at each scrape, so that a restart loses none."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from storage.adapters import open_store
from storage.adapters.folder_store import AdapterRef, AdapterStore
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.database.enums import TrainingSource
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.hardware import require_quantization
from storage.personalities.cards import settings_of
from storage.personalities.personalities import load_cards, read_personality
from storage.settings.sections import MetricsSettings, Settings
from storage.training.rounds import OPEN, RoundNumbers, read_numbers, require_round
from trainer.data.dataset import TrainingSet, held_out, prepare_examples, training_set_of
from trainer.data.votes import prepare_votes
from trainer.evaluation.evaluate import Judges, evaluate, load_judges
from trainer.evaluation.gate import Verdict, decide
from trainer.evaluation.sampling import open_adapter
from trainer.progress import Phase, ProgressLog, Report, RoundProgress
from trainer.rounds.distributed import train_on_all
from trainer.training.train import train_adapter

log = logging.getLogger(__name__)


class RoundsCollector(Collector):
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
    since = numbers.running_since
    running_s = (utc_now() - since).total_seconds() if since else 0.0
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
    server = None
    if settings.trainer_port:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(RoundsCollector(database))
        try:
            server, thread = start_http_server(settings.trainer_port, settings.address, registry)
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
        if server is not None:
            server.shutdown()
            server.server_close()
            thread.join()


@dataclass(frozen=True)
class Skipped:
    reason: str


@dataclass(frozen=True)
class Rejected:
    """The new version is broken: it is not published, and no admin can override that."""

    verdict: Verdict
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """An adapter whose files are published, with the gate's verdict."""

    digest: str
    base: BaseModel
    training_set: TrainingSet
    verdict: Verdict
    metrics: dict[str, Any]


Result = Skipped | Rejected | Judged


def produce_version(settings: Settings, database: Database, round_id: int) -> Result:
    """Choose what the round learns from, train, judge, and publish the adapter's files unless it is broken."""
    report = ProgressLog(database, round_id)
    report(RoundProgress(Phase.GATHERING))
    # Load now what the gate needs: a mistake must not show up only after an hour of training.
    judges = load_judges(settings.gate, settings.data.directory)
    require_quantization(settings.training.quantization)
    base = resolve_base_model(settings.model.base, settings.data.directory, log.info)
    store = open_store(settings)
    with database.transaction() as session:
        load_cards(session, settings)
        round_ = require_round(session, round_id)
        personality = read_personality(session, round_.personality_id)
    settings = settings_of(settings, personality.card)
    if round_.learns_from is TrainingSource.EXAMPLES:
        prepared = prepare_examples(database, settings, round_, base)
    else:
        plan = prepare_votes(database, settings, round_, base=base, store=store, report=report)
        prepared = plan if isinstance(plan, str) else training_set_of(plan, settings.training)
    if isinstance(prepared, str):
        return Skipped(prepared)
    return _train(prepared, judges, settings, base=base, store=store, report=report)


def _train(
    prepared: TrainingSet, judges: Judges, settings: Settings, *, base: BaseModel, store: AdapterStore, report: Report
) -> Rejected | Judged:
    with store.stage() as staging:
        parent = open_adapter(store, prepared.continuation.parent, base)
        train = partial(
            train_adapter,
            prepared.recipe,
            prepared.split,
            prepared.settings,
            base=base,
            parent=parent.path if parent else None,
            output=staging,
        )
        metrics = train_on_all(train, settings, report)
        evaluation = evaluate(base, AdapterRef(store.seal(staging), staging), judges, settings=settings, report=report)
        verdict = decide(
            metrics.train_loss,
            held_out(prepared.split.holdout, metrics.holdout_margins),
            evaluation,
            settings.gate,
            seed=settings.training.seed,
            evidence=prepared.evidence,
        )
        measured = _json(asdict(metrics) | asdict(evaluation))
        if not verdict.publishable:
            return Rejected(verdict, measured)
        report(RoundProgress(Phase.PUBLISHING))
        return Judged(store.publish(staging), base, prepared, verdict, measured)


def _json(value: Any) -> Any:
    """Return the value without NaN: JSON has none and PostgreSQL refuses it, so it becomes None."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {name: _json(part) for name, part in value.items()}
    return [_json(part) for part in value] if isinstance(value, (list, tuple)) else value
