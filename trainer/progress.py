"""Progress of a round: its phases, the functions that report their steps, and their log with a forecast of the end."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.database.enums import TrainingSource
from storage.training.rounds import last_alike, report_progress, require_round
from storage.wording import gettext_noop

PROGRESS_S = 1.0
TOOK = "took"
SURE_AFTER_S = 3.0
"""Seconds of work after which a round's own pace counts as much as the usual one."""
HALF_LIFE_S = 60.0
"""Age at which work counts half in a round's pace: other programs may have started or ended since.

In simulated rounds whose load doubled or halved, the median error of the time left fell from 24 to 12 % and from 47 to
21 %; with a steady load it stayed at 6 %. Half a minute or two minutes are about as good.
"""

log = logging.getLogger(__name__)


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


class Stage(StrEnum):
    """A step of a round, in words that people read."""

    PREPARING = "Preparing the training data"
    DRAWING = "Writing answers and ordering them"
    TRAINING = "Training the new version"
    TESTING = "Testing the new version"
    SAVING = "Saving it, with answers from before and after"


WAITING = gettext_noop("Waiting until the bot leaves the GPU")
ORDER = list(Stage)
STAGES = {
    Phase.GATHERING: Stage.PREPARING,
    Phase.SAMPLING: Stage.DRAWING,
    Phase.LOADING: Stage.TRAINING,
    Phase.REFERENCE: Stage.TRAINING,
    Phase.TRAINING: Stage.TRAINING,
    Phase.VALIDATING: Stage.TRAINING,
    Phase.JUDGING: Stage.TESTING,
    Phase.ANSWERING: Stage.TESTING,
    Phase.ANSWERING_MEMBERS: Stage.TESTING,
    Phase.COHERENCE: Stage.TESTING,
    Phase.DIVERGENCE: Stage.TESTING,
    Phase.BASE_ANSWERING: Stage.TESTING,
    Phase.BASE_ANSWERING_MEMBERS: Stage.TESTING,
    Phase.BASE_COHERENCE: Stage.TESTING,
    Phase.PUBLISHING: Stage.SAVING,
    Phase.BEFORE: Stage.SAVING,
}
KEPT = frozenset({Phase.BASE_ANSWERING, Phase.BASE_COHERENCE})
"""Not repeated in later judgements and rounds: what they find is kept."""


class Took(NamedTuple):
    seconds: float
    steps: int = 0
    """0 if its steps are unknown."""


TESTS = {
    Phase.JUDGING: Took(5.0),
    Phase.ANSWERING: Took(95.0, 120),
    Phase.COHERENCE: Took(30.0, 168),
    Phase.DIVERGENCE: Took(10.0, 24),
    Phase.BASE_ANSWERING: Took(95.0, 120),
    Phase.BASE_COHERENCE: Took(30.0, 168),
    Phase.PUBLISHING: Took(1.0),
    Phase.BEFORE: Took(8.0, 3),
}
USUAL = {
    TrainingSource.VOTES: {
        Phase.GATHERING: Took(12.0),
        Phase.SAMPLING: Took(128.0, 256),
        Phase.LOADING: Took(5.0),
        Phase.REFERENCE: Took(15.0, 45),
        Phase.TRAINING: Took(150.0, 26),
        Phase.VALIDATING: Took(10.0, 40),
    }
    | TESTS,
    TrainingSource.EXAMPLES: {
        Phase.GATHERING: Took(12.0),
        Phase.LOADING: Took(5.0),
        Phase.TRAINING: Took(200.0, 54),
    }
    | TESTS,
}
"""About what phases take with the bundled base on two cores, guessed from the whole times of 19 rounds.

A machine's own rounds take its place.
"""
JUDGEMENTS = {TrainingSource.VOTES: 1, TrainingSource.EXAMPLES: 2}
"""The usual number of judgements: 11 of 16 versions from votes passed the first one, and none of 3 from examples."""


class Forecast:
    """Predicts the end of a round from the time that its phases usually take, and from its own pace."""

    def __init__(
        self, usual: Mapping[Phase, Took], judgements: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`usual` has what each phase takes, with one judgement; `judgements` is their usual number."""
        self._usual = usual
        self._usual_judgements = judgements
        self._clock = clock
        self._began = self._reported = clock()
        self._now = RoundProgress(Phase.GATHERING)
        self._took: dict[Phase, float] = defaultdict(float)
        self._begun: dict[Phase, int] = defaultdict(int)
        """Steps of each phase that were begun, of all its judgements."""
        self._recent: dict[Phase, tuple[float, float]] = {}
        """{phase: (seconds, steps done in them)}, where older ones count less."""
        self._judgements = 0
        self.stage = Stage.PREPARING
        self.share = 0.0
        """Done share of the round's time; it never falls, even if a version is judged again."""

    def advance(self, progress: RoundProgress) -> None:
        now = self._clock()
        if progress.phase is Phase.WAITING:
            self._reported = now
            return
        passed, before = now - self._reported, self._now
        self._took[before.phase] += passed
        begins = progress.phase is not before.phase or not progress.step
        # A phase that ends early, as training does, has not done its other steps.
        self._note_recent(passed, 0 if begins else progress.step - before.step)
        self._begun[progress.phase] += progress.steps - (0 if begins else before.steps)
        self._judgements += progress.phase is Phase.JUDGING
        self._now, self._reported = progress, now
        self.stage = max(self.stage, STAGES[progress.phase], key=ORDER.index)
        elapsed = now - self._began
        self.share = max(self.share, elapsed / (elapsed + self.seconds_left) if elapsed else 0.0)

    @property
    def seconds_left(self) -> float:
        pace, stage = self._pace(), ORDER.index(self.stage)
        phases = {*self._usual, self._now.phase}
        return sum(self._left_of(phase, pace) for phase in phases if ORDER.index(STAGES[phase]) >= stage)

    def took(self) -> dict[Phase, Took]:
        """Return the time of each phase so far, per judgement."""
        judgements = max(1, self._judgements)
        shares = {phase: judgements if _is_repeated(phase) else 1 for phase in self._took}
        return {
            phase: Took(round(seconds / shares[phase], 1), round(self._begun[phase] / shares[phase]))
            for phase, seconds in self._took.items()
        }

    def _note_recent(self, passed: float, steps: int) -> None:
        fade = 0.5 ** (passed / HALF_LIFE_S)
        self._recent = {phase: (fade * seconds, fade * done) for phase, (seconds, done) in self._recent.items()}
        seconds, done = self._recent.get(self._now.phase, (0.0, 0.0))
        self._recent[self._now.phase] = seconds + passed, done + steps

    def _pace(self) -> float:
        """Return how slow this round's recent steps were: their time divided by the usual time."""
        rated = [(self._usual[phase], recent) for phase, recent in self._recent.items() if phase in self._usual]
        known = [(usual, recent) for usual, recent in rated if usual.steps and usual.seconds]
        expected = sum(usual.seconds / usual.steps * done for usual, (_, done) in known)
        took = sum(seconds for _, (seconds, _) in known)
        return (SURE_AFTER_S + took) / (SURE_AFTER_S + expected)

    def _left_of(self, phase: Phase, pace: float) -> float:
        usual, took = self._usual.get(phase, Took(0.0)), self._took.get(phase, 0.0)
        times = max(self._usual_judgements, self._judgements) if _is_repeated(phase) else 1
        begun = self._begun.get(phase, 0)
        to_begin = 0 if begun and times == 1 else max(0, times * usual.steps - begun)
        if phase is not self._now.phase or not self._now.steps:
            if usual.steps:
                return usual.seconds * pace * to_begin / usual.steps
            return max(0.0, times * usual.seconds * pace - took)
        seconds, done = self._recent.get(phase, (0.0, 0.0))
        own, share = seconds / done if done else 0.0, self._now.step / self._now.steps
        rate = usual.seconds / usual.steps * pace if usual.steps else own
        return (self._now.steps - self._now.step) * (share * own + (1 - share) * rate) + to_begin * rate


def _is_repeated(phase: Phase) -> bool:
    return STAGES[phase] is Stage.TESTING and phase not in KEPT


class ProgressLog:
    """Writes a round's progress to its row: each new phase, and within a phase about once a second.

    Raises RoundConflict if the round is no longer running, which ends its training.
    """

    def __init__(self, database: Database, round_id: int) -> None:
        self._database = database
        self._round_id = round_id
        self._phase: Phase | None = None
        self._next_write = 0.0
        self._learns_from, usual = database.fetch(_read_usual, round_id)
        self._forecast = Forecast(usual, JUDGEMENTS[self._learns_from])

    def __call__(self, progress: RoundProgress) -> None:
        self._forecast.advance(progress)
        if progress.phase == self._phase and time.monotonic() < self._next_write:
            return
        self._phase = progress.phase
        self._next_write = time.monotonic() + PROGRESS_S
        try:
            with self._database.transaction() as session:
                report_progress(session, self._round_id, asdict(progress) | self._for_people(progress))
        except FAILURES as error:
            log.warning("Progress could not be stored (%s); the round continues.", explain(error))

    def _for_people(self, progress: RoundProgress) -> dict[str, Any]:
        forecast = self._forecast
        stages = [one for one in Stage if one is not Stage.DRAWING or self._learns_from is TrainingSource.VOTES]
        return {
            "doing": WAITING if progress.phase is Phase.WAITING else forecast.stage,
            "stage": stages.index(forecast.stage) + 1,
            "stages": len(stages),
            "share": round(forecast.share, 3),
            "seconds_left": round(forecast.seconds_left, 1),
            TOOK: forecast.took(),
        }


def _read_usual(session: Session, round_id: int) -> tuple[TrainingSource, dict[Phase, Took]]:
    """Return what the round learns from, and what each phase took in the last such round of this machine."""
    round_ = require_round(session, round_id)
    earlier = last_alike(session, round_)
    took = earlier.progress.get(TOOK, {}) if earlier else {}
    known = {Phase(phase): Took(*numbers) for phase, numbers in took.items() if phase in list(Phase)}
    return round_.learns_from, {phase: took for phase, took in known.items() if phase not in KEPT} or USUAL[
        round_.learns_from
    ]
