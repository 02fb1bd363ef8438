"""The bench that finds out what a weak vote means."""

from __future__ import annotations

import pytest

from tests.benchmarks import weak


def test_a_few_votes_say_nothing_of_weak_ones() -> None:
    found = weak.run(taste="question", votes=5)
    assert {row["server"] for row in found["rows"]} == {"nothing", "worth", "bought"}
    assert found["summary"]["weight_worth"] == 0


@pytest.mark.bench
def test_it_is_found_out_what_going_on_means() -> None:
    summary = weak.run(taste="warm", votes=40)["summary"]
    assert summary["weight_nothing"] == pytest.approx(0, abs=0.1)
    assert summary["weight_worth"] == pytest.approx(0.3, abs=0.2)
    assert summary["weight_bought"] == 0
    assert summary["log_loss_both_worth"] < summary["log_loss_votes_worth"]
    assert summary["pairs_right_both_bought"] >= summary["pairs_right_votes_bought"] - 0.01
