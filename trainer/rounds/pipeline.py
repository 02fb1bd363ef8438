"""A round from its data to a judged version: choose the pairs, train, judge, publish."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from storage.adapters.folder_store import AdapterStore
from storage.adapters.stores import open_store
from storage.database.database import Database
from storage.database.enums import TrainingSource
from storage.models.base_model import BaseModel
from storage.personalities.cards import settings_of
from storage.personalities.personalities import load_cards, read_personality
from storage.releases.before_after import EVERYDAY
from storage.settings.sections import Settings
from storage.training.rounds import require_round
from trainer import gpu_room
from trainer.data.dataset import TrainingSet, prepare_examples, training_set_of
from trainer.data.prepare import prepare_votes
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import EvaluationModels, load_evaluation_models
from trainer.evaluation.gate import Verdict
from trainer.evaluation.sampling import open_adapter
from trainer.progress import Phase, ProgressLog, ReportProgress, RoundProgress
from trainer.rounds.before import ask_before
from trainer.rounds.distributed import train_on_all
from trainer.rounds.judging import RoundJudge
from trainer.rounds.readiness import other_base, plan_memory, ready_base
from trainer.training.train import train_adapter

log = logging.getLogger(__name__)


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
    """Choose the training data, train, judge, and publish the adapter's files unless it is broken."""
    report = ProgressLog(database, round_id)
    report(RoundProgress(Phase.GATHERING))
    # Load the gate's models now: a mistake must not show up only after an hour of training.
    models = load_evaluation_models(settings.gate, settings.data.directory)
    base = ready_base(settings, checks_memory=not gpu_room.shares_gpu(database, settings))
    store = open_store(settings)
    with database.transaction() as session:
        load_cards(session, settings)
        round_ = require_round(session, round_id)
        refusal = other_base(session, base)
        personality = read_personality(session, round_.personality_id)
    if refusal:
        return Skipped(refusal)
    settings = settings_of(settings, personality.card)
    if round_.learns_from is TrainingSource.EXAMPLES:
        prepared = prepare_examples(database, settings, round_, base)
    else:
        plan = prepare_votes(database, settings, round_, base=base, store=store, report=report)
        prepared = plan if isinstance(plan, str) else training_set_of(plan, settings.training)
    if isinstance(prepared, str):
        return Skipped(prepared)
    gpu_room.make_room(database, settings, report)
    context = ServedContext.read(database, personality.id, prepared.learns_from, settings, base)
    planned = plan_memory(prepared, settings, base, context.memory_failures)
    judged = _train(planned, models, settings, context, base=base, store=store, report=report)
    if isinstance(judged, Rejected):
        return judged
    messages = [message for message, _answer in judged.metrics[EVERYDAY]]
    before = ask_before(
        database,
        settings,
        personality.id,
        messages,
        base=base,
        store=store,
        memory_failures=context.memory_failures,
        report=report,
    )
    return replace(judged, metrics=judged.metrics | before)


def _train(
    prepared: TrainingSet,
    models: EvaluationModels,
    settings: Settings,
    context: ServedContext,
    *,
    base: BaseModel,
    store: AdapterStore,
    report: ReportProgress,
) -> Rejected | Judged:
    judge = RoundJudge(base, models, context, settings, prepared.learns_from, store, report)
    with ExitStack() as stages:
        staging = stages.enter_context(store.stage())
        starter = open_adapter(store, prepared.start.starter, base)
        starter_path = starter.path if starter else None
        train = partial(
            train_adapter,
            prepared.recipe,
            prepared.split,
            prepared.settings,
            base=base,
            starter=starter_path,
            output=staging,
            template_options=settings.model.template_options,
        )
        trained = judge.judge(staging, train_on_all(train, settings, report))
        kept = judge.mend(trained, starter_path, stages)
        numbers = kept.numbers | {"memory": asdict(prepared.memory) if prepared.memory else None}
        if not kept.verdict.publishable:
            return Rejected(kept.verdict, numbers)
        report(RoundProgress(Phase.PUBLISHING))
        return Judged(store.publish(kept.staging), base, prepared, kept.verdict, numbers)
