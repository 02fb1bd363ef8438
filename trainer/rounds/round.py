"""One round, from votes or examples to a new version."""

from __future__ import annotations

import logging
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from sqlalchemy.orm import Session

from storage.adapters import open_store
from storage.adapters.folder_store import AdapterRef
from storage.conversations.replies import newest_base
from storage.database.database import Database, open_database
from storage.database.engine import FAILURES, explain
from storage.database.enums import GateVerdict, RoundStatus, TrainingSource
from storage.errors import LeaseRanOut, RoundConflict, StorageError
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.coherence_model import resolve_coherence_model
from storage.models.hardware import require_quantization
from storage.personalities.cards import settings_of
from storage.personalities.personalities import read_personality, take_cards
from storage.releases.canaries import release_passed
from storage.releases.versions import Continuation, Version, name_of, register
from storage.runtime.processes import HEARTBEAT_S
from storage.settings.sections import Settings
from storage.training.rounds import finish_round, report_progress, require_lease, require_round
from trainer.data.dataset import TrainingSet
from trainer.data.examples import prepare_examples
from trainer.data.votes import prepare_votes
from trainer.data.votes_preparation import Skip, open_adapter
from trainer.errors import TrainerError
from trainer.evaluation.evaluate import Evaluation, evaluate
from trainer.evaluation.gate import Verdict, decide
from trainer.evaluation.suites import load_suites
from trainer.progress import ReportProgress
from trainer.rounds.distributed import train_on_all
from trainer.training.common import TrainingMetrics

PROGRESS_S = 1.0
RENEWAL_S = 3 * HEARTBEAT_S
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
    material: TrainingSet
    verdict: Verdict
    metrics: dict[str, Any]


Result = Skipped | Rejected | Failed | Judged


def run_round(settings: Settings, round_id: int) -> None:
    """Run a claimed round in this process; its row says how it ended. One that was ended meanwhile is left alone."""
    with closing(open_database(settings)) as database:
        try:
            result = _train(settings, database, round_id)
            _conclude_held(database, settings, round_id, result)
        except RoundConflict as conflict:
            log.warning("Nothing is published: %s.", conflict)
        except Exception as error:
            if isinstance(error, FORESEEN):
                log.error("Round %d failed: %s.", round_id, error)
            else:
                log.exception("Round %d failed.", round_id)
            with suppress(RoundConflict):  # a commit whose answer was lost did happen
                database.call(_conclude, settings, round_id, Failed(_describe(error)))


def _train(settings: Settings, database: Database, round_id: int) -> Result:
    report = ProgressLog(database, round_id)
    report(ReportProgress("gathering"))
    # What the gate needs is looked for now: a mistake must not come to light after an hour of training.
    load_suites(settings.gate)
    require_quantization(settings.training.quantization)
    resolve_coherence_model(settings.gate.coherence_model, settings.data.directory, log.info)
    base = resolve_base_model(settings.model.base, settings.data.directory, log.info)
    store = open_store(settings)
    with database.transaction() as session:
        take_cards(session, settings)
        round_ = require_round(session, round_id)
        personality = read_personality(session, round_.personality_id)
    settings = settings_of(settings, personality.card)
    material: TrainingSet | Skip = (
        prepare_examples(database, settings, round_, base)
        if round_.lesson is TrainingSource.EXAMPLES
        else prepare_votes(database, settings, round_, base=base, store=store, report=report)
    )
    if isinstance(material, str):
        return Skipped(material + _other_base(database, round_.personality_id, base))
    with store.stage() as staging:
        parent = open_adapter(store, material.continuation.parent, base)
        parent_path = parent.path if parent else None
        metrics = train_on_all(material, settings, base=base, parent=parent_path, output=staging, report=report)
        adapter = AdapterRef(store.seal(staging), staging)
        judgement = evaluate(base, adapter, settings=settings, report=report)
        verdict = decide(
            metrics.train_loss,
            material.held_out(metrics),
            judgement,
            settings.gate,
            seed=settings.training.seed,
            witness=material.witness,
        )
        measured = _measured(metrics, judgement)
        if not verdict.publishable:
            return Rejected(verdict, measured)
        report(ReportProgress("publishing"))
        return Judged(store.publish(staging), base, material, verdict, measured)


def _other_base(database: Database, personality_id: int, base: BaseModel) -> str:
    """Return what to add where members talk to a base that is not this trainer's, else nothing."""
    with database.snapshot() as session:
        served = newest_base(session, personality_id)
    if served in (None, base.revision):
        return ""
    return (
        f"; the newest answers are of a base of revision {served}, and this trainer has {base.name} ({base.revision}): "
        "set model.base on its host to what the bot uses"
    )


def _measured(metrics: TrainingMetrics, judgement: Evaluation) -> dict[str, Any]:
    """Return all numbers by name; JSON has no NaN and PostgreSQL refuses it, so such a number is None."""
    return {name: _json(value) for name, value in (asdict(metrics) | asdict(judgement)).items()}


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {name: _json(part) for name, part in value.items()}
    return [_json(part) for part in value] if isinstance(value, (list, tuple)) else value


def _conclude_held(database: Database, settings: Settings, round_id: int, result: Result) -> None:
    """End the round while it is held; a lease that ran out without its database or host gets a moment to be renewed."""
    give_up_at = time.monotonic() + RENEWAL_S
    while True:
        try:
            # Tried again where the database goes away: an hour of training stands behind it.
            database.call(_conclude_if_held, settings, round_id, result)
            return
        except LeaseRanOut:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(PROGRESS_S)


def _conclude_if_held(session: Session, settings: Settings, round_id: int, result: Result) -> None:
    require_lease(session, round_id)
    _conclude(session, settings, round_id, result)


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
    parent = judged.material.continuation.parent
    return register(
        session,
        require_round(session, round_id).personality_id,
        digest=judged.digest,
        base_name=judged.base.name,
        base_revision=judged.base.revision,
        parent_id=parent.id if parent else None,
        round_id=round_id,
        metrics=judged.metrics,
        verdict=judged.verdict.outcome,
    )


def _describe_version(version: Version, judged: Judged, released: str | None) -> str:
    """Return what it learned and what the gate says; `released` says what was done with it, None that it waits."""
    learned = f"{version.name} learned from {judged.material.describe(judged.metrics)}"
    anew = _describe_rebuild(version, judged.material.continuation)
    match judged.verdict.outcome:
        case GateVerdict.PASS:
            next_step = f"; {released}" if released else ": promote it to let it answer"
            return f"{learned} and passed the gate{next_step}{anew}"
        case GateVerdict.FAIL:
            return f"{learned} and did not pass the gate: {judged.verdict.reason}{anew}"
        case GateVerdict.NOT_ENOUGH_EVIDENCE:
            return f"{learned}; the gate has not enough evidence: {judged.verdict.reason}{anew}"


def _describe_rebuild(version: Version, continuation: Continuation) -> str:
    """Say that it takes the place of a champion that learned from deleted data, where it does."""
    if not continuation.unlearned:
        return ""
    champion, parent = continuation.unlearned[0].name, name_of(continuation.parent)
    return (
        f"; it is made anew from {parent}, without the deleted data that {champion} had learned from: "
        f"`/model compare {champion} {version.name}` shows what members lose and gain"
    )


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

    def __call__(self, progress: ReportProgress) -> None:
        if progress.phase == self._phase and time.monotonic() < self._next_write:
            return
        self._phase = progress.phase
        self._next_write = time.monotonic() + PROGRESS_S
        try:
            with self._database.transaction() as session:
                report_progress(session, self._round_id, asdict(progress))
        except FAILURES as error:
            log.warning("Progress could not be noted (%s); the round goes on.", explain(error))
