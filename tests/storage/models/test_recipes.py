from __future__ import annotations

from pathlib import Path

import pytest

from storage.models.openvino.recipes import (
    BaseEffect,
    GraphVerdict,
    Measurement,
    Speed,
    choose_recipe,
    read_verdict,
    write_verdict,
)


def measured(recipe: str, divergence: float, times: float) -> Measurement:
    return Measurement(recipe, divergence / 2, divergence, Speed(10 * times, 20 * times, 200 * times))


def choose(w8a8: tuple[float, float], w4a8: tuple[float, float]) -> tuple[str, str]:
    return choose_recipe([measured("W8A16", 0.004, 1.0), measured("W8A8", *w8a8), measured("W4A8", *w4a8)])


def test_the_fastest_way_that_says_nearly_the_same_is_chosen_and_explained() -> None:
    assert choose((0.005, 1.3), (0.08, 2.0)) == (
        "W4A8",
        "2.0 times as fast as 8-bit weights, and 0.080 nats a token from transformers",
    )


def test_a_faster_way_that_says_something_else_is_left_out() -> None:
    recipe, why = choose((0.005, 1.3), (0.17, 2.0))
    assert recipe == "W8A8"
    assert why == (
        "1.3 times as fast as 8-bit weights, and 0.005 nats a token from transformers; 4-bit weights and 8-bit "
        "activations would change answers too much (0.17 nats a token; limit 0.15)"
    )
    assert choose((0.005, 1.3), (float("nan"), 2.0))[0] == "W8A8"


def test_what_is_hardly_faster_is_not_worth_a_loss() -> None:
    recipe, why = choose((0.005, 1.05), (0.08, 0.9))
    assert recipe == "W8A16"
    assert why == (
        "8-bit weights and activations would be only 1.05 times as fast as 8-bit weights; 4-bit weights and 8-bit "
        "activations would be only 0.90 times as fast as 8-bit weights"
    )


def test_what_is_hardly_faster_than_the_best_so_far_says_so() -> None:
    recipe, why = choose((0.005, 1.3), (0.08, 1.35))
    assert recipe == "W8A8"
    assert why.endswith(
        "; 4-bit weights and 8-bit activations would be only 1.04 times as fast as 8-bit weights and activations"
    )


def test_a_verdict_is_read_as_it_was_written_and_one_that_names_nothing_known_is_none(tmp_path: Path) -> None:
    verdict = GraphVerdict(
        recipe="W8A8", why="it is", effect=BaseEffect((1, 2), (-0.5,)), measured=(measured("W8A8", 1, 1),)
    )
    write_verdict(tmp_path / "verdict.json", verdict)
    assert read_verdict(tmp_path / "verdict.json") == verdict
    (tmp_path / "verdict.json").write_text('{"recipe": "W2A2"}')
    assert read_verdict(tmp_path / "verdict.json") is None
    assert read_verdict(tmp_path / "missing.json") is None


@pytest.mark.parametrize("content", ["", "[]", '{"recipe": 8}', "\0"])
def test_a_damaged_verdict_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "verdict.json").write_text(content)
    assert read_verdict(tmp_path / "verdict.json") is None
