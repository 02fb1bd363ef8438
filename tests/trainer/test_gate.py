from dataclasses import replace

import pytest

from storage.settings import GateSettings
from trainer.dpo import DpoMetrics
from trainer.gate import decide
from trainer.judge import Judgement

SETTINGS = GateSettings(max_divergence=3.0, max_degenerate_excess=0.15)
METRICS = DpoMetrics(
    train_loss=1.25,
    steps=20,
    pairs=40,
    holdout_pairs=6,
    holdout_accuracy=0.5,
    holdout_margin=0.25,
    left_out=0,
    seconds=60.0,
)
JUDGEMENT = Judgement(
    divergence=0.5, degenerate_share=0.1, degenerate_share_base=0.05, answer_tokens=30.0, answer_tokens_base=40.0
)


def test_sound_round_passes_and_tells_its_numbers():
    verdict = decide(METRICS, JUDGEMENT, SETTINGS)
    assert verdict.passed
    said = " | ".join(verdict.reasons)
    for number in ("1.25", "0.50 nats", "3.00", "10%", "5%", "+15%", "50% of 6", "+0.25 nats"):
        assert number in said


def test_too_much_divergence_fails_with_both_numbers():
    verdict = decide(METRICS, replace(JUDGEMENT, divergence=3.01), SETTINGS)
    assert not verdict.passed
    assert verdict.reasons[0] == "answers moved 3.01 nats per token from the base, above the limit of 3.00"


def test_too_many_broken_answers_fail_with_the_bases_share():
    verdict = decide(METRICS, replace(JUDGEMENT, degenerate_share=0.3), SETTINGS)
    assert not verdict.passed
    assert verdict.reasons[0] == "30% of answers are broken, the base's 5%, above the limit of +15%"


@pytest.mark.parametrize("change", [{"divergence": 3.0}, {"degenerate_share": 0.2}])
def test_limits_themselves_pass(change):
    assert decide(METRICS, replace(JUDGEMENT, **change), SETTINGS).passed


def test_fewer_broken_answers_than_the_base_pass():
    assert decide(METRICS, replace(JUDGEMENT, degenerate_share=0.0, degenerate_share_base=0.9), SETTINGS).passed


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["train_loss", "holdout_margin", "holdout_accuracy"])
def test_metric_that_is_no_number_fails(field, value):
    verdict = decide(replace(METRICS, **{field: value}), JUDGEMENT, SETTINGS)
    assert not verdict.passed
    assert verdict.reasons[0].startswith("not a number: ")


@pytest.mark.parametrize("field", ["divergence", "degenerate_share", "degenerate_share_base"])
def test_judgement_that_is_no_number_fails(field):
    assert not decide(METRICS, replace(JUDGEMENT, **{field: float("nan")}), SETTINGS).passed


def test_bad_held_out_accuracy_is_told_and_is_no_bar():
    verdict = decide(replace(METRICS, holdout_accuracy=0.0, holdout_margin=-1.0), JUDGEMENT, SETTINGS)
    assert verdict.passed
    assert any("0% of 6 held-out pairs" in reason for reason in verdict.reasons)


def test_round_without_held_out_pairs_says_so():
    metrics = replace(METRICS, holdout_pairs=0, holdout_accuracy=None, holdout_margin=None)
    verdict = decide(metrics, JUDGEMENT, SETTINGS)
    assert verdict.passed
    assert any("no pairs were held out" in reason for reason in verdict.reasons)
