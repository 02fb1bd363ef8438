"""As many answers are begun at once as the machine has shown that it can begin without a long wait."""

from __future__ import annotations

import pytest

from bot.chat.candidates import Pace
from bot.engine import Completion, Finish

CHARS, CHOSEN_CHARS = 400, 160
FIRST_S = 0.2


@pytest.fixture(autouse=True)
def _candidates_take_no_time() -> None:
    """These take some."""


def answer(
    pace: Pace, begun: int, *, further: float, chars: int = CHARS, char_s: float = 0.01, first_s: float = FIRST_S
) -> float:
    """Note an answer, of which each further candidate slows all down by that share; return how long it took."""
    together = min(chars, CHOSEN_CHARS) if begun > 1 else 0
    first_s *= begun
    chosen_s = first_s + (CHOSEN_CHARS if begun > 1 else 0) * char_s * (1 + further * (begun - 1))
    total_s = chosen_s + (chars - together) * char_s
    pace.note(begun, chosen_s, together, Completion("x" * chars, Finish.STOP, 50, chars // 4, 0.0, first_s, total_s))
    return total_s


def test_before_anything_is_known_four_are_begun() -> None:
    assert Pace().most == 4


@pytest.mark.parametrize(("further", "fewest"), [(0.15, 4), (0.3, 3), (0.5, 3), (0.8, 2)])
def test_an_answer_takes_at_most_half_as_long_again_as_alone(further: float, fewest: int) -> None:
    pace = Pace()
    alone_s = answer(pace, 1, further=further)
    for _ in range(10):
        begun = min(4, pace.most)
        took_s = answer(pace, begun, further=further)
    assert took_s <= 1.5 * alone_s
    assert begun >= fewest, "as many as that allows"


def test_half_a_second_is_no_wait() -> None:
    pace = Pace()
    for _ in range(10):
        answer(pace, min(4, pace.most), further=0.5, char_s=0.001, first_s=0.03)
    assert pace.most >= 4


def test_short_answers_wait_for_the_other_candidates_and_count_too() -> None:
    pace = Pace()
    for _ in range(10):
        answer(pace, 1, further=0.3, chars=40)
        answer(pace, min(4, pace.most), further=0.3, chars=40)
    assert pace.most == 1


@pytest.mark.parametrize(("further", "begun"), [(0.02, [4, 4, 1, 4, 4, 4]), (1.0, [4, 4, 1, 4, 1, 1])])
def test_where_all_answers_are_short_one_alone_shows_how_long_it_takes(further: float, begun: list[int]) -> None:
    pace, seen = Pace(), []
    for _ in begun:
        seen.append(min(4, pace.most))
        answer(pace, seen[-1], further=further, chars=CHOSEN_CHARS, char_s=0.1)
    assert seen == begun


def test_where_four_prompts_cannot_be_read_in_time_soon_fewer_are_begun() -> None:
    pace, seen = Pace(), []
    for _ in range(7):
        seen.append(begun := min(4, pace.most))
        if begun > 2:
            pace.note(begun, 120.0, 0, Completion("", Finish.TIMEOUT, 0, 0, 0.0, None, 120.0))
        else:
            answer(pace, begun, further=1.0, first_s=40.0)
    assert seen == [4, 4, 1, 4, 1, 1, 1]


def test_where_candidates_take_as_long_as_whole_answers_only_one_is_begun() -> None:
    pace = Pace()
    for _ in range(3):
        answer(pace, min(4, pace.most), further=3.0)
    assert pace.most == 1


def test_an_hour_with_busy_cores_is_forgotten() -> None:
    pace = Pace()
    for _ in range(3):
        answer(pace, 4, further=3.0)
    for _ in range(30):
        answer(pace, 1, further=0.1)
    assert pace.most == 4


def test_an_answer_without_words_teaches_nothing() -> None:
    pace = Pace()
    pace.note(4, 9.0, 0, Completion("", Finish.TIMEOUT, 50, 0, 0.0, None, 9.0))
    assert pace.most == 4
