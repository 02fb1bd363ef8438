"""Versions that lost sense fail the gate, in whatever style; those that only changed their style pass."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from storage.models.base_model import BaseModel, load_model, load_tokenizer, resolve_base_model
from storage.models.hardware import silence_transformers
from trainer.evaluation.gate import MAX_FIT_LOSS
from trainer.evaluation.measures import Exchange, Fit, answer_log_probabilities, measure_fits
from trainer.evaluation.model_measurements import NEUTRAL_MESSAGES
from trainer.evaluation.results import Fitness

WRITTEN = [
    json.loads(line)
    for line in Path(__file__).with_name("fitting_answers.jsonl").read_text(encoding="utf-8").splitlines()
]
"""For each neutral message an answer in each style, by hand."""
REAL_BASE = os.environ.get("REACTUNE_REAL_BASE", "")
"""The folder of an instruct model that reads German, such as one of 0.5 billion parameters."""
STYLES = ("brief", "casual", "german", "pirate")
SENSELESS = "Yay. That's amazing."

Judge = Callable[[Sequence[Exchange]], list[Fit]]


def certain(own: float, others: float = -30.0) -> Fit:
    return Fit(own, (others,) * 5)


FITS, STRANGE = certain(-20.0), certain(-30.0)


def test_messages_with_answers_are_the_neutral_ones():
    assert tuple(row["message"] for row in WRITTEN) == NEUTRAL_MESSAGES


def test_probability_is_that_of_the_own_message_among_six():
    fitness = Fitness.measure([FITS] * 12 + [STRANGE] * 12, [FITS] * 24)
    assert (fitness.probability, fitness.probability_base) == (
        pytest.approx((1 + 1 / 6) / 2, abs=1e-3),
        pytest.approx(1, abs=1e-3),
    )


def test_answers_that_fit_a_little_less_may_be_chance():
    few = Fitness.measure([FITS] * 21 + [STRANGE] * 3, [FITS] * 24)
    many = Fitness.measure([FITS] * 12 + [STRANGE] * 12, [FITS] * 24)
    assert few.clear_loss < MAX_FIT_LOSS < many.clear_loss


def test_answers_that_fit_no_message_of_either_are_no_loss():
    assert Fitness.measure([STRANGE] * 24, [STRANGE] * 24).clear_loss == pytest.approx(0.0)


def exchanges(style: str, moved: int = 0) -> list[Exchange]:
    """Return the neutral messages with their answers of this style, or with those of other messages."""
    answers = [row[style] for row in WRITTEN]
    return list(zip(NEUTRAL_MESSAGES, answers[moved:] + answers[:moved], strict=True))


def judge_of(base: BaseModel) -> Judge:
    with silence_transformers():
        model, tokenizer = load_model(base, "bfloat16"), load_tokenizer(base.path)
    return lambda asked: measure_fits(asked, lambda read: answer_log_probabilities(model, tokenizer, read))


def losses_of_sense(judge: Judge, styles: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return what versions that only changed their style have lost, and what those that lost sense have.

    The base is played by the casual answers.
    """
    base = judge(exchanges("casual"))
    sound = {style: Fitness.measure(judge(exchanges(style)), base) for style in styles}
    lost = {
        "answers of other messages": Fitness.measure(judge(exchanges(styles[0], moved=7)), base),
        "the same to everything": Fitness.measure(judge([(one, SENSELESS) for one in NEUTRAL_MESSAGES]), base),
    }
    return ({what: one.clear_loss for what, one in of.items()} for of in (sound, lost))


def test_an_untaught_model_finds_nothing_lost(tiny_base):
    """It tells no message from another, so that it must not fail anything."""
    sound, lost = losses_of_sense(judge_of(tiny_base), STYLES)
    assert max({**sound, **lost}.values()) < MAX_FIT_LOSS


@pytest.mark.slow
@pytest.mark.bundled
def test_the_bundled_model_tells_lost_sense_from_a_style(bundled_base):
    """German is left out: it cannot read it."""
    sound, lost = losses_of_sense(judge_of(bundled_base), ("brief", "pirate"))
    assert max(sound.values()) < MAX_FIT_LOSS < min(lost.values())


@pytest.mark.bench
@pytest.mark.skipif(not REAL_BASE, reason="REACTUNE_REAL_BASE names no folder of a base model")
def test_a_real_base_tells_lost_sense_from_a_style(tmp_path):
    sound, lost = losses_of_sense(judge_of(resolve_base_model(REAL_BASE, tmp_path)), ("brief", "german", "pirate"))
    assert max(sound.values()) < MAX_FIT_LOSS < min(lost.values())
