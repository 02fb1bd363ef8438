"""Rounds that take no time: a trainer that writes a few numbers, and a judge that finds every version sound."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NoReturn

from storage.adapters.folder_store import AdapterRef
from storage.settings.sections import Settings
from tests.storage.adapters.test_folder_store import fill
from tests.trainer.judgements import JUDGEMENT
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import EvaluationModels
from trainer.evaluation.results import Evaluation
from trainer.evaluation.sampling import Serving
from trainer.progress import Phase, ReportProgress, RoundProgress
from trainer.rounds.distributed import set_up_child
from trainer.rounds.round import run_round
from trainer.training.train import TrainingJob, TrainingMetrics


def train_quickly(job: TrainingJob, report: ReportProgress) -> TrainingMetrics:
    report(RoundProgress(Phase.TRAINING, 0, 1))
    pairs = len(job.split.train)
    fill(job.output, value=float(pairs), base=job.base.name)
    return TrainingMetrics(
        objective=job.recipe.objective,
        train_loss=0.5,
        steps=1,
        pairs=pairs,
        validation_pairs=0,
        validation_accuracy=None,
        validation_margin=None,
        strength=1.0,
        lowered_for=None,
        left_out=0,
        seconds=0.0,
        loss_curve=(0.5,),
        epochs_trained=1.0,
    )


def approve(
    _serving: Serving, _adapter: AdapterRef, _models: EvaluationModels, context: ServedContext, _report: ReportProgress
) -> Evaluation:
    return replace(JUDGEMENT, real_messages=len(context.messages))


def answer_hello(
    serving: Serving, adapter: AdapterRef, models: EvaluationModels, context: ServedContext, report: ReportProgress
) -> Evaluation:
    """Approve of the version, and say that it answers "Hello." to "Hi": then what answers now is asked too."""
    return replace(approve(serving, adapter, models, context, report), everyday=(("Hi", "Hello."),))


def run_quickly(settings: Settings, round_id: int, log_level: int) -> None:
    """Run a round in its own process."""
    set_up_child(settings, "round", log_level)
    run_round(settings, round_id, train=train_quickly, evaluate=approve)


def run_saying_hello(settings: Settings, round_id: int, log_level: int) -> None:
    """Run a round in its own process whose version answers "Hello."."""
    set_up_child(settings, "round", log_level)
    run_round(settings, round_id, train=train_quickly, evaluate=answer_hello)


def train_endlessly(_job: TrainingJob, report: ReportProgress) -> NoReturn:
    while True:
        report(RoundProgress(Phase.TRAINING, 1, 2))
        time.sleep(0.02)


def run_endlessly(settings: Settings, round_id: int, log_level: int) -> None:
    """Run a round in its own process that trains until it is ended."""
    set_up_child(settings, "round", log_level)
    run_round(settings, round_id, train=train_endlessly)
