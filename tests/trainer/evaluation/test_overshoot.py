"""How far a version's answers go beyond those that members liked."""

from __future__ import annotations

import numpy as np

from storage.style import measure_style
from storage.taste.liked import liked_style
from trainer.evaluation.results import Overshoot

ASKS, TELLS = "We like tea. Do you like it?", "Do you like it? We like tea."
LIKED = liked_style(np.array([measure_style(answer) for answer in [ASKS] * 23 + [TELLS] * 77]), np.ones(100))


def test_only_what_chance_does_not_explain_is_beyond_the_limit():
    """70 % of answers end with a question, 1.1 standard deviations too many: of 24, this could be chance."""
    few = Overshoot.measure([ASKS] * 17 + [TELLS] * 7, [ASKS] * 4 + [TELLS] * 20, LIKED)
    many = Overshoot.measure([ASKS] * 900 + [TELLS] * 100, [ASKS] * 4 + [TELLS] * 20, LIKED)
    assert few.farthest[0].distance > 1
    assert few.beyond(1.0) == []
    assert "question at the end" in [excess.measure for excess in many.beyond(1.0)]
