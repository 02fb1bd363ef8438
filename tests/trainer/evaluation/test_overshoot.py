"""An adapter whose answers go beyond what people liked is made weaker."""

from __future__ import annotations

import numpy as np
import pytest

from storage.settings.sections import GenerationSettings
from storage.taste.liked import liked_style
from storage.taste.measures import measure_style
from trainer.evaluation.overshoot import Overshoot, StyleBound

ASKS, TELLS = "We like tea. Do you like it?", "Do you like it? We like tea."
LIKED = liked_style(np.array([measure_style(answer) for answer in [ASKS] * 23 + [TELLS] * 77]), np.ones(100))
BOUND = StyleBound(LIKED, ("<|user|>Tea?<|bot|>",), GenerationSettings(), seed=1, most=1.0)


class Adapter:
    """Ends so many of 100 answers with a question, by strength."""

    def __init__(self, questions: dict[float, int]) -> None:
        self._questions = {0.0: 18} | questions
        self.asked: list[float] = []

    def answer(self, strength: float) -> list[str]:
        self.asked.append(strength)
        questions = self._questions[strength]
        return [ASKS] * questions + [TELLS] * (100 - questions)


@pytest.mark.parametrize(
    ("questions", "first", "strength", "asked"),
    [
        ({1.0: 60}, 1.0, 1.0, [0.0, 1.0]),
        ({1.0: 81, 0.75: 60}, 1.0, 0.75, [0.0, 1.0, 0.75]),
        ({1.0: 90, 0.75: 81, 0.5: 60}, 1.0, 0.5, [0.0, 1.0, 0.75, 0.5]),
        ({1.5: 90, 0.75: 60}, 1.5, 0.75, [0.0, 1.5, 0.75]),
        ({0.5: 90, 0.25: 40}, 0.5, 0.25, [0.0, 0.5, 0.25]),
        ({1.0: 99, 0.75: 99, 0.5: 95, 0.25: 90}, 1.0, 0.25, [0.0, 1.0, 0.75, 0.5, 0.25]),
    ],
)
def test_the_largest_strength_that_stays_within_what_people_liked_is_taken(questions, first, strength, asked):
    adapter = Adapter(questions)
    found, lowered_for = BOUND.find_strength(first, adapter.answer)
    assert (found, adapter.asked) == (strength, asked)
    assert lowered_for == (None if found == first else "question at the end")


def test_only_what_chance_does_not_explain_is_beyond_the_limit():
    """70 % of answers end with a question, 1.1 standard deviations too many: of 24, this could be chance."""
    few = Overshoot.measure([ASKS] * 17 + [TELLS] * 7, [ASKS] * 4 + [TELLS] * 20, LIKED)
    many = Overshoot.measure([ASKS] * 900 + [TELLS] * 100, [ASKS] * 4 + [TELLS] * 20, LIKED)
    assert few.farthest[0].distance > 1
    assert few.beyond(1.0) == []
    assert "question at the end" in [excess.measure for excess in many.beyond(1.0)]
