"""How far a round is, as it reports while it runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum

from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.training.rounds import report_progress

PROGRESS_S = 1.0

log = logging.getLogger(__name__)


class Phase(StrEnum):
    """What a round does now, in words that people read."""

    GATHERING = "Preparing the training data"
    WEIGHING = "Learning which answers members like"
    SAMPLING = "Drawing more answers to rated messages"
    LOADING = "Loading the model"
    REFERENCE = "Scoring answers before training"
    TRAINING = "Training the new version"
    HELD_OUT = "Scoring held-out answers after training"
    ANSWERING = "Answering test messages with the new version"
    COHERENCE = "Judging the coherence of the answers"
    DIVERGENCE = "Measuring the distance from the base model"
    BASE_ANSWERING = "Answering test messages with the base model"
    BASE_COHERENCE = "Judging the coherence of the base model's answers"
    PUBLISHING = "Saving the new version"


@dataclass(frozen=True)
class RoundProgress:
    phase: Phase
    step: int = 0
    steps: int = 0
    """Steps of the phase; 0 if unknown."""
    loss: float | None = None
    seconds_left: float | None = None


Report = Callable[[RoundProgress], None]
Advance = Callable[[float], None]
"""Gets how many steps are done; a part of a step counts as well."""


def begin_phase(report: Report, phase: Phase, steps: int) -> Advance:
    """Report that none of the phase's steps is done, and return a function that reports more."""
    report(RoundProgress(phase, 0, steps))
    reported = 0

    def advance(done: float) -> None:
        nonlocal reported
        if int(done) > reported:
            reported = int(done)
            report(RoundProgress(phase, reported, steps))

    return advance


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
