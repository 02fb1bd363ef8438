"""The progress of a whole round: a bar that never goes back, and the time that is left."""

from __future__ import annotations

import pytest

from trainer.progress import HALF_LIFE_S, Forecast, Phase, RoundProgress, Stage, Took

JUDGEMENT = (
    (Phase.JUDGING, 5.0, 0),
    (Phase.ANSWERING, 40.0, 100),
    (Phase.COHERENCE, 10.0, 50),
    (Phase.DIVERGENCE, 5.0, 50),
)
ROUND = (
    (Phase.GATHERING, 4.0, 0),
    (Phase.SAMPLING, 60.0, 200),
    (Phase.LOADING, 3.0, 0),
    (Phase.TRAINING, 50.0, 30),
    *JUDGEMENT,
    (Phase.PUBLISHING, 1.0, 0),
    (Phase.BEFORE, 6.0, 3),
)
USUAL = {phase: Took(seconds, steps) for phase, seconds, steps in ROUND}
Phases = tuple[tuple[Phase, float, int], ...]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def played(
    phases: Phases, usual: dict[Phase, Took] = USUAL
) -> tuple[Forecast, list[tuple[float, float, float, Stage]]]:
    """Return the forecast after a round with these phases, and (seconds so far, left, share, step) of each report."""
    clock = Clock()
    forecast = Forecast(usual, clock=clock)
    seen = []
    for phase, seconds, steps in phases:
        for step in range(steps + 1):
            forecast.advance(RoundProgress(phase, step, steps))
            seen.append((clock.now - 100.0, forecast.seconds_left, forecast.share, forecast.stage))
            clock.now += seconds / (steps or 1) if step < max(steps, 1) else 0.0
    return forecast, seen


@pytest.mark.parametrize("pace", [0.2, 1.0, 5.0])
def test_the_time_left_is_right_within_a_third_at_any_pace(pace: float) -> None:
    phases = tuple((phase, seconds * pace, steps) for phase, seconds, steps in ROUND)
    whole = sum(seconds for _, seconds, _ in phases)
    _, seen = played(phases)
    begun = [(passed, left) for passed, left, _, _ in seen if whole / 4 < passed < 0.95 * whole]
    assert all(abs(passed + left - whole) < whole / 3 for passed, left in begun)


@pytest.mark.parametrize("pace", [0.4, 3.0])
def test_another_load_from_training_on_is_noticed_soon(pace: float) -> None:
    usual = {phase: Took(4.0 * seconds, steps) for phase, seconds, steps in ROUND}
    since = ROUND.index((Phase.TRAINING, 50.0, 30))
    slowed = [(phase, 4.0 * pace * seconds, steps) for phase, seconds, steps in ROUND[since:]]
    phases = (*((phase, 4.0 * seconds, steps) for phase, seconds, steps in ROUND[:since]), *slowed)
    before, whole = (sum(seconds for _, seconds, _ in some) for some in (phases[:since], phases))
    _, seen = played(phases, usual)
    later = [(passed, left) for passed, left, _, _ in seen if before + 2 * HALF_LIFE_S < passed < 0.9 * whole]
    assert len(later) > 20
    assert all(abs(passed + left - whole) < (whole - passed) / 3 for passed, left in later)


def test_training_that_stops_early_makes_nothing_else_look_fast() -> None:
    early = (*ROUND[:3], (Phase.TRAINING, 15.0, 9), *ROUND[4:])
    _, seen = played(early)
    before_judging = sum(seconds for _, seconds, _ in early[:4])
    left = next(left for passed, left, _, stage in seen if passed >= before_judging and stage is Stage.TESTING)
    assert left == pytest.approx(67.0, rel=0.2)


def test_the_bar_reaches_its_end_without_going_back_even_if_a_version_is_judged_again() -> None:
    twice = (*ROUND[:-2], *JUDGEMENT, *ROUND[-2:])
    _, seen = played(twice)
    shares = [share for _, _, share, _ in seen]
    stages = [list(Stage).index(stage) for _, _, _, stage in seen]
    assert shares == sorted(shares)
    assert stages == sorted(stages)
    assert shares[-1] == 1.0


def test_a_second_judgement_is_expected_to_take_as_long_as_the_first() -> None:
    _, seen = played((*ROUND[:-2], *JUDGEMENT[:1]))
    left = seen[-1][1]
    assert left == pytest.approx(60.0 + 7.0, abs=10.0)


def test_a_phase_with_fewer_steps_than_usual_takes_less() -> None:
    short = (ROUND[0], (Phase.SAMPLING, 6.0, 20), *ROUND[2:])
    whole = sum(seconds for _, seconds, _ in short)
    _, seen = played(short)
    passed, left, _, _ = next(one for one in seen if one[3] is Stage.DRAWING)
    assert passed + left == pytest.approx(whole, rel=0.1)


def test_the_next_round_learns_what_each_phase_took() -> None:
    forecast, _ = played((*ROUND[:-2], *JUDGEMENT, *ROUND[-2:]))
    took = forecast.took()
    assert took[Phase.SAMPLING] == Took(60.0, 200)
    assert took[Phase.ANSWERING] == Took(40.0, 100)  # of one judgement
    assert took[Phase.BEFORE].steps == 3
