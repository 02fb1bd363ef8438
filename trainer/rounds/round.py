"""A round, from what people said to a new version. It runs in its own process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from functools import partial

from storage.adapters.folder_store import AdapterRef
from storage.adapters.stores import open_store
from storage.database.database import Database, open_database
from storage.database.enums import PairSource, TrainingSource
from storage.errors import LeaseExpired, RoundConflict
from storage.models.hardware import free_unused_models
from storage.personalities.cards import settings_of
from storage.personalities.personalities import read_personality
from storage.runtime.processes import HEARTBEAT_S
from storage.settings.sections import ReleaseSettings, Settings
from storage.training.rounds import memory_failures, require_round
from trainer.data.dataset import prepare_examples, training_set_of
from trainer.data.flattery import pairs_against_flattery
from trainer.data.plan import TrainingPlan
from trainer.data.prepare import prepare_votes
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import EvaluationModels, evaluate, load_evaluation_models
from trainer.evaluation.results import Evaluation
from trainer.evaluation.sampling import Serving, open_adapter
from trainer.gpu_room import shares_gpu
from trainer.progress import Phase, ProgressLog, ReportProgress, RoundProgress
from trainer.round_context import RoundContext
from trainer.rounds.distributed import train_on_all
from trainer.rounds.ending import FORESEEN, Failed, Judged, Rejected, Result, Skipped, end_leased_round, end_round
from trainer.rounds.judging import RoundJudge, ask_before
from trainer.rounds.readiness import other_base, plan_memory, ready_base
from trainer.training.rows import PreferencePair
from trainer.training.train import TrainingJob, TrainingMetrics, train_adapter

RETRY_S = 1.0
RENEWAL_S = 3 * HEARTBEAT_S

Train = Callable[[TrainingJob, ReportProgress], TrainingMetrics]
Evaluate = Callable[[Serving, AdapterRef, EvaluationModels, ServedContext, ReportProgress], Evaluation]

log = logging.getLogger(__name__)


def run_round(
    settings: Settings, round_id: int, *, train: Train = train_adapter, evaluate: Evaluate = evaluate
) -> None:
    """Run a claimed round in this process and record its end in its row, unless it was ended elsewhere."""
    with closing(open_database(settings)) as database:
        try:
            result = produce_version(settings, database, round_id, train, evaluate)
            _conclude_when_leased(database, settings.release, round_id, result)
        except RoundConflict as conflict:
            log.warning("The round stops and publishes nothing: %s.", conflict)
        except Exception as error:
            if isinstance(error, FORESEEN):
                log.error("Round %d failed: %s.", round_id, error)
            else:
                log.exception("Round %d failed.", round_id)
            with suppress(RoundConflict):  # a commit may have succeeded although its answer was lost
                database.call(end_round, settings.release, round_id, Failed.by(error))


def produce_version(settings: Settings, database: Database, round_id: int, train: Train, evaluate: Evaluate) -> Result:
    """Make a version and publish its files, unless there is nothing to learn or the version is broken.

    Tests give other functions than `train_adapter` and `evaluate`, which take minutes on a real base.
    """
    report = ProgressLog(database, round_id)
    report(RoundProgress(Phase.GATHERING))

    # 1) Read what is fixed. The gate's models are loaded first: a mistake must not show up after an hour of training.
    models = load_evaluation_models(settings.gate, settings.data.directory)
    base = ready_base(settings, engine_leaves=shares_gpu(database, settings.training.processes))
    store = open_store(settings)
    with database.transaction() as session:
        round_ = require_round(session, round_id)
        refusal = other_base(session, base.model)
        personality = read_personality(session, round_.personality_id)
        failures = memory_failures(session, personality.id)
    if refusal:
        return Skipped(refusal)
    own = settings_of(settings, personality.card)
    context = RoundContext(personality.id, base, own, database, store, report, personality, failures)

    # 2) Draw answers, collect what people said and plan the pairs; or take the card's examples.
    if round_.learns_from is TrainingSource.EXAMPLES:
        prepared = prepare_examples(context, round_)
    else:
        plan = prepare_votes(context, round_)
        prepared = plan if isinstance(plan, str) else training_set_of(plan, own.training, _of_our_own(context, plan))
    if isinstance(prepared, str):
        return Skipped(prepared)

    # 3) Make room, read what the version is judged by, and plan the memory.
    context.make_room()
    served = ServedContext.read(context, prepared.learns_from)
    prepared = plan_memory(prepared, base, failures)

    with ExitStack() as stages:
        # 4) Train.
        staging = stages.enter_context(store.stage())
        adapter = open_adapter(store, prepared.start.starter, base.model)
        starter = adapter.path if adapter else None
        options = own.model.template_options
        job = TrainingJob(prepared.recipe, prepared.split, prepared.settings, base.model, staging, starter, options)
        metrics = train_on_all(partial(train, job), settings, report)

        # 5) Judge, at a lower strength if it goes too far.
        serving = context.serving
        judge = RoundJudge(
            serving, own.gate, prepared.learns_from, store, lambda one: evaluate(serving, one, models, served, report)
        )
        kept = judge.mend(judge.judge(staging, metrics), starter, stages)
        numbers = kept.numbers | {"memory": {"plan": asdict(prepared.recipe.plan), "failures": failures}}
        if not kept.verdict.publishable:
            return Rejected(kept.verdict, numbers)

        # 6) Publish the adapter's files. Its row follows when the round ends.
        report(RoundProgress(Phase.PUBLISHING))
        digest = store.publish(kept.staging)

    # 7) Ask what answers now the same messages, to show both side by side.
    before = ask_before(context, served.examples, [message for message, _ in kept.evaluation.everyday])
    return Judged(digest, base.model, prepared, kept.verdict, numbers | before)


def _of_our_own(context: RoundContext, plan: TrainingPlan) -> tuple[PreferencePair, ...]:
    """Return pairs against flattery if the taste ranked answers: what it likes may go along with flattery."""
    if PairSource.TASTE not in plan.learned_from["pairs_by_source"]:
        return ()
    context.make_room()
    pairs = pairs_against_flattery(context.serving, context.serving.open(None), context.report)
    free_unused_models()
    return pairs


def _conclude_when_leased(database: Database, release: ReleaseSettings, round_id: int, result: Result) -> None:
    """End the round while its lease is valid; an expired lease gets a moment to be renewed.

    A lease expires if the database was unreachable or the host slept.
    """
    give_up_at = time.monotonic() + RENEWAL_S
    while True:
        try:
            # Retried if the database is unreachable: an hour of training would be lost.
            database.call(end_leased_round, release, round_id, result)
            return
        except LeaseExpired:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(RETRY_S)
