"""The bench that finds out what a ❤️ means."""

from __future__ import annotations

import pytest

from tests.benchmarks import hearts


def test_a_few_votes_say_little() -> None:
    found = hearts.run(taste="question", votes=5)
    assert len(found["rows"]) == hearts.SERVERS
    assert found["summary"]["heart_weight"] == pytest.approx(1.0, abs=0.3)


@pytest.mark.bench
@pytest.mark.parametrize("heart", [1.0, 2.0])
def test_it_is_found_out_what_a_heart_means(heart: float) -> None:
    summary = hearts.run(taste="question", votes=400, heart=heart)["summary"]
    assert summary["heart_weight"] == pytest.approx(heart, abs=0.4)
    assert summary["within_interval_share"] >= 0.75
