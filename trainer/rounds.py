"""One round, from the votes to a new version."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from storage.adapters import AdapterStore
from storage.base_model import BaseModel, resolve_base_model
from storage.canaries import release_passed
from storage.coherence_model import resolve_coherence_model
from storage.database import Database, open_database
from storage.errors import RoundConflict, StorageError
from storage.rounds import finish_round, report_progress, require_round
from storage.schema import GateVerdict, RoundStatus
from storage.settings import Settings
from storage.versions import Version, register
from storage.wording import SOURCE_WORDS
from trainer.dpo import MAX_LABEL_NOISE, PreferencePair, train_dpo
from trainer.errors import TrainerError
from trainer.gate import HeldOut, Verdict, decide
from trainer.judge import Judgement, judge
from trainer.kto import RatedAnswer, train_kto
from trainer.pairs import Pair
from trainer.planning import Plan, Single
from trainer.preparation import count_lessons, open_adapter, prepare_round
from trainer.progress import Progress, Report
from trainer.suites import load_suites
from trainer.training import TrainingMetrics

PROGRESS_S = 1.0
FORESEEN = (TrainerError, StorageError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skipped:
    reason: str


@dataclass(frozen=True)
class Rejected:
    """The new version is broken: nothing is published, and no admin can override that."""

    verdict: Verdict
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    reason: str


@dataclass(frozen=True)
class Judged:
    """An adapter whose files are published, and what the gate says of it."""

    digest: str
    base: BaseModel
    plan: Plan
    verdict: Verdict
    metrics: dict[str, Any]


Result = Skipped | Rejected | Failed | Judged


def run_round(settings: Settings, round_id: int) -> None:
    """Run a claimed round in this process; its row says how it ended. One that was ended meanwhile is left alone."""
    with closing(open_database(settings)) as database:
        try:
            result = _train(settings, database, round_id)
            with database.transaction() as session:
                _conclude(session, settings, round_id, result)
        except RoundConflict as conflict:
            log.warning("Nothing is published: %s.", conflict)
        except Exception as error:
            if isinstance(error, FORESEEN):
                log.error("Round %d failed: %s.", round_id, error)
            else:
                log.exception("Round %d failed.", round_id)
            with database.transaction() as session:
                _conclude(session, settings, round_id, Failed(_describe(error)))


def _train(settings: Settings, database: Database, round_id: int) -> Result:
    report = ProgressLog(database, round_id)
    report(Progress("gathering"))
    # What the gate needs is looked for now: a mistake must not come to light after an hour of training.
    load_suites(settings.gate)
    resolve_coherence_model(settings.gate.coherence_model, settings.data.directory, log.info)
    base = resolve_base_model(settings.model.base, settings.data.directory, log.info)
    store = AdapterStore(settings.data.directory / "adapters")
    with database.snapshot() as session:
        round_ = require_round(session, round_id)
    plan = prepare_round(database, settings, round_, base=base, store=store, report=report)
    if not isinstance(plan, Plan):
        return Skipped(plan)
    with store.stage() as staging:
        parent = open_adapter(store, plan.parent, base)
        metrics = _learn(plan, settings, base=base, parent=parent, output=staging, report=report)
        judgement = judge(
            base,
            staging,
            training=settings.training,
            generation=settings.generation,
            gate=settings.gate,
            data_directory=settings.data.directory,
            report=report,
        )
        verdict = decide(
            metrics.train_loss, _held_out(plan, metrics), judgement, settings.gate, seed=settings.training.seed
        )
        measured = _measured(metrics, judgement)
        if not verdict.publishable:
            return Rejected(verdict, measured)
        report(Progress("publishing"))
        return Judged(store.publish(staging), base, plan, verdict, measured)


def _learn(
    plan: Plan, settings: Settings, *, base: BaseModel, parent: Path | None, output: Path, report: Report
) -> TrainingMetrics:
    common: dict[str, Any] = {"base": base, "parent": parent, "output": output, "report": report}
    if plan.train_singles:
        return train_kto(
            _rated(plan.train_singles),
            _rated(plan.validation_singles),
            _texts(plan.holdout),
            _rated(plan.holdout_singles),
            settings=settings.training,
            **common,
        )
    return train_dpo(
        _texts(plan.train),
        _texts(plan.validation),
        _texts(plan.holdout),
        settings=settings.training,
        label_noise=min(plan.label_noise, MAX_LABEL_NOISE),
        **common,
    )


def _texts(pairs: Sequence[Pair]) -> list[PreferencePair]:
    return [
        PreferencePair(
            pair.prompt,
            pair.chosen.text,
            pair.rejected.text,
            pair.weight,
            chosen_is_cut=pair.chosen.is_cut,
            rejected_is_cut=pair.rejected.is_cut,
        )
        for pair in pairs
    ]


def _rated(singles: Sequence[Single]) -> list[RatedAnswer]:
    return [
        RatedAnswer(single.prompt, single.side.text, single.liked, single.weight, is_cut=single.side.is_cut)
        for single in singles
    ]


def _held_out(plan: Plan, metrics: TrainingMetrics) -> list[HeldOut]:
    judged: Sequence[Pair | Single] = plan.holdout or plan.holdout_singles
    return [
        HeldOut(item.prompt, margin, item.weight)
        for item, margin in zip(judged, metrics.holdout_margins, strict=True)
        if margin is not None
    ]


def _measured(metrics: TrainingMetrics, judgement: Judgement) -> dict[str, Any]:
    """Return all numbers by name; JSON has no NaN and PostgreSQL refuses it, so such a number is None."""
    return {name: _json(value) for name, value in (asdict(metrics) | asdict(judgement)).items()}


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {name: _json(part) for name, part in value.items()}
    return [_json(part) for part in value] if isinstance(value, (list, tuple)) else value


def _conclude(session: Session, settings: Settings, round_id: int, result: Result) -> None:
    """End the round; a version's row comes into being in the same transaction, or not at all."""
    match result:
        case Skipped(reason):
            finish_round(session, round_id, RoundStatus.SKIPPED, reason)
        case Failed(reason):
            finish_round(session, round_id, RoundStatus.FAILED, reason)
        case Rejected(verdict, metrics):
            reason = f"the new version is broken and is not kept: {verdict.reason}"
            finish_round(session, round_id, RoundStatus.REJECTED, reason, metrics, gate=_gate(verdict))
        case Judged(verdict=verdict, metrics=metrics):
            version = _register(session, round_id, result)
            released = release_passed(session, version.personality_id, version, settings.release)
            reason = _describe_version(version, result, released)
            finish_round(session, round_id, RoundStatus.PUBLISHED, reason, metrics, gate=_gate(verdict))


def _gate(verdict: Verdict) -> dict[str, Any]:
    return {"verdict": verdict.outcome, "checks": [asdict(check) for check in verdict.checks]}


def _register(session: Session, round_id: int, judged: Judged) -> Version:
    return register(
        session,
        require_round(session, round_id).personality_id,
        digest=judged.digest,
        base_name=judged.base.name,
        base_revision=judged.base.revision,
        parent_id=judged.plan.parent.id if judged.plan.parent else None,
        round_id=round_id,
        metrics=judged.metrics,
        verdict=judged.verdict.outcome,
    )


def _describe_version(version: Version, judged: Judged, released: str | None) -> str:
    """Return what it learned and what the gate says; `released` says what was done with it, None that it waits."""
    learned = f"{version.name} learned from {_sources(judged)}"
    match judged.verdict.outcome:
        case GateVerdict.PASS:
            return f"{learned} and passed the gate" + (f"; {released}" if released else ": promote it to let it answer")
        case GateVerdict.FAIL:
            return f"{learned} and did not pass the gate: {judged.verdict.reason}"
        case GateVerdict.NOT_ENOUGH_EVIDENCE:
            return f"{learned}; the gate has not enough evidence: {judged.verdict.reason}"


def _sources(judged: Judged) -> str:
    by_source = judged.plan.evidence["pairs_by_source"]
    whole = count_lessons(judged.metrics["pairs"], judged.metrics["objective"])
    parts = [f"{count} from {SOURCE_WORDS[source]}" for source, count in by_source.items() if len(by_source) > 1]
    others = [
        f"{judged.metrics[name]} {what}"
        for name, what in (("holdout_pairs", "held out"), ("left_out", "left out as longer than training.max_tokens"))
        if judged.metrics[name]
    ]
    return whole + (f" ({', '.join(parts + others)})" if parts or others else "")


def _describe(error: Exception) -> str:
    """Return a sentence for the admins; what we did not foresee is told by its kind alone."""
    if isinstance(error, FORESEEN):
        return str(error)
    if isinstance(error, MemoryError):
        return "memory ran out: lower training.batch_size or training.max_tokens, or choose a smaller model.base"
    return f"an unexpected error ({type(error).__name__}): the trainer's log has the details"


class ProgressLog:
    """Writes a round's progress to its row: every phase, and within a phase about once a second.

    Raises RoundConflict where the round does not run any more, which ends its training.
    """

    def __init__(self, database: Database, round_id: int) -> None:
        self._database = database
        self._round_id = round_id
        self._phase = ""
        self._next_write = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.phase == self._phase and time.monotonic() < self._next_write:
            return
        self._phase = progress.phase
        self._next_write = time.monotonic() + PROGRESS_S
        try:
            with self._database.transaction() as session:
                report_progress(session, self._round_id, asdict(progress))
        except DBAPIError as error:
            log.warning("Progress could not be noted (%s); the round goes on.", error.orig)
