"""Progress of a round: its phases, and the functions by which they report their steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """A round's current activity."""

    GATHERING = "gathering the training data"
    WAITING = "waiting for the GPU"
    SAMPLING = "drawing answers to rank"
    LOADING = "loading the model"
    REFERENCE = "scoring answers before training"
    TRAINING = "training"
    VALIDATING = "choosing the strength"
    JUDGING = "loading the models that judge"
    """Begins each judgement: a version that fails is judged again at a lower strength."""
    ANSWERING = "answering test messages"
    ANSWERING_MEMBERS = "answering members' messages"
    COHERENCE = "judging coherence"
    DIVERGENCE = "measuring the distance from the base"
    BASE_ANSWERING = "answering test messages with the base"
    BASE_ANSWERING_MEMBERS = "answering members' messages with the base"
    BASE_COHERENCE = "judging the base's coherence"
    PUBLISHING = "saving"
    BEFORE = "answering with the version in use"


@dataclass(frozen=True)
class RoundProgress:
    phase: Phase
    step: int = 0
    steps: int = 0
    """Steps of the phase; 0 if unknown."""
    loss: float | None = None


ReportProgress = Callable[[RoundProgress], None]
Advance = Callable[[float], None]
"""Called with the number of completed steps, which can be fractional."""


def begin_phase(report: ReportProgress, phase: Phase, steps: int, done: int = 0) -> Advance:
    """Report that the phase begins, or goes on if `done` steps are completed; return a function that reports more."""
    report(RoundProgress(phase, done, steps))
    reported = done

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
