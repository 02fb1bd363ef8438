"""One round, from the votes to a new version."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from storage.adapters import AdapterStore, require_base
from storage.base_model import BaseModel, resolve_base_model
from storage.database import Database, open_database
from storage.errors import RoundConflict, StorageError
from storage.evidence import read_corrections, read_replies
from storage.personalities import hold_personality
from storage.rounds import (
    ManifestPair,
    Round,
    digest_manifest,
    find_round,
    finish_round,
    report_progress,
    set_manifest,
)
from storage.schema import RoundRow, RoundStatus, Split
from storage.settings import Settings
from storage.versions import Version, read_alias, register
from trainer.dpo import DpoMetrics, PreferencePair, Progress, train_dpo
from trainer.errors import TrainerError
from trainer.gate import decide
from trainer.judge import Judgement, judge
from trainer.pairs import Pair, build_pairs, newest_pairs, split_holdout
from trainer.schedule import SCHEDULE

PROGRESS_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a round trains on, as its manifest says."""

    train: list[Pair]
    holdout: list[Pair]
    parent: Version | None


@dataclass(frozen=True)
class Skipped:
    reason: str


@dataclass(frozen=True)
class Rejected:
    reason: str
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    reason: str


@dataclass(frozen=True)
class Passed:
    """An adapter that the gate let through; its files are published."""

    digest: str
    base: BaseModel
    plan: Plan
    metrics: dict[str, Any]


Result = Skipped | Rejected | Failed | Passed


def run_round(settings: Settings, round_id: int) -> None:
    """Run a claimed round in this process; its row says how it ended. One that was ended meanwhile is left alone."""
    with closing(open_database(settings)) as database:
        try:
            result = _train(settings, database, round_id)
            with database.transaction() as session:
                _conclude(session, round_id, result)
        except RoundConflict as conflict:
            log.warning("Nothing is published: %s.", conflict)
        except Exception as error:
            log.exception("Round %d failed.", round_id)
            with database.transaction() as session:
                _conclude(session, round_id, Failed(_describe(error)))


def _train(settings: Settings, database: Database, round_id: int) -> Result:
    report = ProgressLog(database, round_id)
    report(Progress("gathering"))
    base = resolve_base_model(settings.model.base, settings.data.directory, log.info)
    with database.transaction() as session:
        plan = plan_round(session, settings, base, round_id)
    if isinstance(plan, Skipped):
        return plan
    store = AdapterStore(settings.data.directory / "adapters")
    parent = _folder(store, plan.parent, base)
    with store.stage() as staging:
        metrics = train_dpo(
            _texts(plan.train),
            _texts(plan.holdout),
            base=base,
            parent=parent,
            output=staging,
            settings=settings.training,
            report=report,
        )
        judgement = judge(base, staging, training=settings.training, generation=settings.generation, report=report)
        verdict = decide(metrics, judgement, settings.gate)
        measured = _measured(metrics, judgement)
        if not verdict.passed:
            return Rejected("; ".join(verdict.reasons), measured)
        report(Progress("publishing"))
        return Passed(store.publish(staging), base, plan, measured)


def plan_round(session: Session, settings: Settings, base: BaseModel, round_id: int) -> Plan | Skipped:
    """Choose the pairs and write the manifest, or say why there is nothing to do.

    A deletion comes before this transaction, or finds the pairs in the manifest.
    """
    round_ = find_round(session, round_id)
    assert round_ is not None, f"round {round_id} was claimed"
    hold_personality(session, round_.personality_id)
    evidence = (round_.personality_id, settings.privacy, base.revision)
    found = build_pairs(read_replies(session, *evidence), read_corrections(session, *evidence))
    training = settings.training
    if len(found) < training.min_pairs:
        return Skipped(_too_few(len(found), settings))
    train, holdout = split_holdout(newest_pairs(found, training.max_pairs), training.holdout_share, training.seed)
    manifest = [*_lines(train, Split.TRAIN), *_lines(holdout, Split.HOLDOUT)]
    used = _settings_of_round(settings)
    earlier = _trained_before(session, round_, manifest, used) if round_.requested_by == SCHEDULE else None
    if earlier is not None:
        return Skipped(f"no new votes or corrections since round {earlier}, which trained on the same pairs")
    parent = read_alias(session, round_.personality_id).version
    set_manifest(session, round_id, manifest, parent_version_id=parent.id if parent else None, settings=used)
    return Plan(train, holdout, parent)


def _too_few(found: int, settings: Settings) -> str:
    reason = (
        f"{_pairs(found)}, {settings.training.min_pairs} needed: suggest better answers, or ask for another answer and "
        "vote, so that one is preferred to the other"
    )
    if settings.privacy.discord_training_permission:
        return f"{reason}; live chat counts where everybody quoted has opted in"
    return f"{reason}; live chat does not count (privacy.discord_training_permission = false)"


def _lines(pairs: list[Pair], split: Split) -> list[ManifestPair]:
    return [
        ManifestPair(
            source=pair.source,
            split=split,
            weight=pair.weight,
            rejected_reply_id=pair.rejected_reply_id,
            chosen_reply_id=pair.chosen_reply_id,
            correction_id=pair.correction_id,
        )
        for pair in pairs
    ]


def _settings_of_round(settings: Settings) -> dict[str, Any]:
    """Return what decides a round's result beside its pairs and its parent."""
    return {
        "base": settings.model.base,
        "training": settings.training.model_dump(mode="json", exclude={"schedule", "min_pairs", "niceness"}),
        "gate": settings.gate.model_dump(mode="json"),
    }


def _trained_before(session: Session, round_: Round, manifest: list[ManifestPair], used: dict[str, Any]) -> int | None:
    """Return the last trained round's id where it had the same pairs and settings.

    Without this, a quiet server would train on the same votes every night, each time from the version before.
    """
    last = session.scalar(
        select(RoundRow)
        .where(
            RoundRow.personality_id == round_.personality_id,
            RoundRow.status.in_((RoundStatus.PUBLISHED, RoundStatus.REJECTED)),
        )
        .order_by(RoundRow.id.desc())
        .limit(1)
    )
    if last is None or last.manifest_digest != digest_manifest(manifest) or last.settings != used:
        return None
    return last.id


def _folder(store: AdapterStore, version: Version | None, base: BaseModel) -> Path | None:
    """Return the verified files of the parent, or None for the base model; raises AdapterError."""
    if version is None:
        return None
    folder = store.path(version.digest)
    require_base(folder, base)
    return folder


def _texts(pairs: list[Pair]) -> list[PreferencePair]:
    return [
        PreferencePair(
            pair.prompt,
            pair.chosen,
            pair.rejected,
            pair.weight,
            chosen_is_cut=pair.chosen_is_cut,
            rejected_is_cut=pair.rejected_is_cut,
        )
        for pair in pairs
    ]


def _measured(metrics: DpoMetrics, judgement: Judgement) -> dict[str, Any]:
    """Return all numbers by name; JSON has no NaN and PostgreSQL refuses it, so such a number is None."""
    numbers = asdict(metrics) | asdict(judgement)
    return {name: None if number is None or not isfinite(number) else number for name, number in numbers.items()}


def _conclude(session: Session, round_id: int, result: Result) -> None:
    """End the round; a version's row comes into being in the same transaction, or not at all."""
    match result:
        case Skipped(reason):
            finish_round(session, round_id, RoundStatus.SKIPPED, reason)
        case Failed(reason):
            finish_round(session, round_id, RoundStatus.FAILED, reason)
        case Rejected(reason, metrics):
            finish_round(session, round_id, RoundStatus.REJECTED, reason, metrics)
        case Passed():
            version = _register(session, round_id, result)
            finish_round(session, round_id, RoundStatus.PUBLISHED, _success(version, result.metrics), result.metrics)


def _register(session: Session, round_id: int, passed: Passed) -> Version:
    round_ = find_round(session, round_id)
    assert round_ is not None, f"round {round_id} was claimed"
    return register(
        session,
        round_.personality_id,
        digest=passed.digest,
        base_name=passed.base.name,
        base_revision=passed.base.revision,
        parent_id=passed.plan.parent.id if passed.plan.parent else None,
        round_id=round_id,
        metrics=passed.metrics,
    )


def _success(version: Version, metrics: dict[str, Any]) -> str:
    others = [
        f"{metrics[name]} {what}"
        for name, what in (("holdout_pairs", "held out"), ("left_out", "left out as longer than training.max_tokens"))
        if metrics[name]
    ]
    pairs = _pairs(metrics["pairs"]) + (f" ({', '.join(others)})" if others else "")
    return f"{version.name} learned from {pairs} and passed the gate: promote it to let it answer"


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"


def _describe(error: Exception) -> str:
    """Return a sentence for the admins; what we did not foresee is told by its kind alone."""
    if isinstance(error, (TrainerError, StorageError)):
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
