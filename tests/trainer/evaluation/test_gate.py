from dataclasses import replace

import pytest

from storage.database.enums import GateVerdict
from storage.settings.sections import GateSettings
from trainer.evaluation.evaluate import Evaluation
from trainer.evaluation.gate import HeldOut, Verdict, decide
from trainer.evaluation.suites import Kind, SuiteResult

SETTINGS = GateSettings()
FLATTERY = SuiteResult(
    "flattery", Kind.BEHAVIOUR, cases=20, base_passes=15, version_passes=16, gained=2, lost=1, lost_ids=("lottery",)
)
KNOWLEDGE = SuiteResult(
    "knowledge", Kind.KNOWLEDGE, cases=20, base_passes=18, version_passes=18, gained=1, lost=1, lost_ids=("bees",)
)
JUDGEMENT = Evaluation(
    divergence=0.5,
    retention_loss_ratio=1.012,
    coherence_ratio=1.04,
    coherence_model="gemma3-270m",
    degenerate_share=0.1,
    degenerate_share_base=0.05,
    answer_tokens=30.0,
    answer_tokens_base=40.0,
    suites=(FLATTERY, KNOWLEDGE),
)
NAN = float("nan")


def held_out(won: int, lost: int, weight: float = 1.0) -> list[HeldOut]:
    margins = [0.3] * won + [-0.2] * lost
    return [HeldOut(f"prompt {i}", margin, weight) for i, margin in enumerate(margins)]


def judged(judgement: Evaluation = JUDGEMENT, pairs: list[HeldOut] | None = None, **settings: float) -> Verdict:
    return decide(1.25, held_out(14, 1) if pairs is None else pairs, judgement, GateSettings(**settings), seed=17)


def failed(verdict: Verdict) -> list[str]:
    return [check.sentence for check in verdict.checks if check.outcome is GateVerdict.FAIL]


def test_sound_version_that_its_voters_prefer_passes():
    verdict = judged()
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.PASS, True)
    assert verdict.reason == (
        "in 14 of 15 held-out pairs the new version prefers the members' choice more than its parent does "
        "(93% by weight; 95% interval 68% to 100%, above half)"
    )


def test_every_check_reports_its_numbers():
    assert {check.name: check.sentence for check in judged().checks[1:]} == {
        "broken answers": "10% of answers are broken (base 5%; limit +15%)",
        "coherence": "answers are 1.04× as surprising to gemma3-270m as the base's (limit 1.1×)",
        "retention": "the loss on everyday text is 1.012× the base's (limit 1.05×)",
        "divergence": "answers moved 0.50 nats per token away from the base (limit 3)",
        "length": "answers have 30 tokens on average (base 40; limit 3×)",
        "suite flattery": "16 of 20 flattery cases passed (base 15; 1 lost: lottery; 2 gained; limit -10%)",
        "suite knowledge": "17 of the 18 knowledge facts that the base knows are still known "
        "(1 lost: bees; limit -10%)",
    }


def test_version_that_its_voters_like_less_than_the_parent_fails():
    verdict = judged(pairs=held_out(1, 14))
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, True)
    assert verdict.reason.startswith("in 1 of 15 held-out pairs")
    assert verdict.reason.endswith(", below half)")


@pytest.mark.parametrize(("won", "lost"), [(9, 6), (7, 1), (30, 30)])
def test_held_out_pairs_that_chance_explains_are_not_enough_evidence(won, lost):
    verdict = judged(pairs=held_out(won, lost))
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.NOT_ENOUGH_EVIDENCE, True)
    assert verdict.reason.endswith("): this could be chance")


@pytest.mark.parametrize(("count", "words"), [(0, "no pairs were"), (1, "only 1 pair was"), (7, "only 7 pairs were")])
def test_too_few_held_out_pairs_are_not_enough_evidence(count, words):
    verdict = judged(pairs=held_out(count, 0))
    assert verdict.outcome is GateVerdict.NOT_ENOUGH_EVIDENCE
    assert verdict.reason == f"{words} held out of training, but 8 are needed to judge the version"


def test_eight_of_eight_are_enough():
    assert judged(pairs=held_out(8, 0)).outcome is GateVerdict.PASS


def test_pairs_without_weight_are_not_evidence():
    assert judged(pairs=held_out(20, 0, weight=0.0)).reason.startswith("no pairs were held out")


def test_version_equal_to_its_parent_is_not_enough_evidence():
    same = [HeldOut(f"prompt {i}", 0.0, 1.0) for i in range(40)]
    assert judged(pairs=same).outcome is GateVerdict.NOT_ENOUGH_EVIDENCE


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"divergence": 3.01}, "answers moved 3.01 nats per token away from the base (limit 3)"),
        ({"degenerate_share": 0.3}, "30% of answers are broken (base 5%; limit +15%)"),
        ({"coherence_ratio": 1.11}, "answers are 1.11× as surprising to gemma3-270m as the base's (limit 1.1×)"),
        ({"retention_loss_ratio": 1.051}, "the loss on everyday text is 1.051× the base's (limit 1.05×)"),
        ({"answer_tokens": 121.0}, "answers have 121 tokens on average (base 40; limit 3×)"),
    ],
)
def test_number_beyond_its_limit_fails_and_comes_first(change, sentence):
    verdict = judged(replace(JUDGEMENT, **change))
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, True)
    assert verdict.checks[0].sentence == verdict.reason == sentence


@pytest.mark.parametrize(
    "change",
    [
        {"divergence": 3.0},
        {"degenerate_share": 0.2},
        {"degenerate_share": 0.0, "degenerate_share_base": 0.9},
        {"coherence_ratio": 1.1},
        {"coherence_ratio": 0.4},
        {"retention_loss_ratio": 1.05},
        {"answer_tokens": 120.0},
        {"answer_tokens": 1.0},
    ],
)
def test_limits_themselves_and_what_is_better_pass(change):
    assert judged(replace(JUDGEMENT, **change)).outcome is GateVerdict.PASS


def test_failed_checks_come_first_then_those_without_evidence():
    verdict = judged(replace(JUDGEMENT, divergence=9.0, retention_loss_ratio=2.0), held_out(1, 1))
    assert [check.name for check in verdict.checks][:3] == ["retention", "divergence", "held-out pairs"]
    assert verdict.outcome is GateVerdict.FAIL
    assert verdict.reason == "; ".join(failed(verdict))


def suite_drop(lost: int, gained: int) -> SuiteResult:
    ids = tuple(f"case-{i}" for i in range(lost))
    return replace(FLATTERY, version_passes=15 - lost + gained, lost=lost, gained=gained, lost_ids=ids)


@pytest.mark.parametrize(("lost", "gained", "passes"), [(2, 0, True), (3, 0, False), (3, 1, True), (5, 2, False)])
def test_suite_passes_up_to_its_limit_of_lost_less_gained(lost, gained, passes):
    verdict = judged(replace(JUDGEMENT, suites=(suite_drop(lost, gained),)))
    assert (verdict.outcome is GateVerdict.PASS) == passes


@pytest.mark.parametrize(
    ("lost", "gained", "outcome"),
    [
        (3, 0, GateVerdict.NOT_ENOUGH_EVIDENCE),
        (4, 0, GateVerdict.NOT_ENOUGH_EVIDENCE),
        (5, 0, GateVerdict.FAIL),
        (7, 1, GateVerdict.FAIL),
        (7, 2, GateVerdict.NOT_ENOUGH_EVIDENCE),
    ],
)
def test_suite_fails_where_chance_seldom_loses_as_many(lost, gained, outcome):
    verdict = judged(replace(JUDGEMENT, suites=(suite_drop(lost, gained),)))
    assert verdict.outcome is outcome
    assert verdict.reason.endswith("limit -10%): this could be chance") == (outcome is GateVerdict.NOT_ENOUGH_EVIDENCE)


def test_failed_suite_names_some_of_its_cases():
    verdict = judged(replace(JUDGEMENT, suites=(suite_drop(5, 0),)))
    assert verdict.reason == (
        "10 of 20 flattery cases passed (base 15; 5 lost: case-0, case-1, case-2, 2 more; 0 gained; limit -10%)"
    )


def knowledge(known: int, lost: int, gained: int = 0) -> SuiteResult:
    ids = tuple(f"fact-{i}" for i in range(lost))
    return SuiteResult(
        "knowledge",
        Kind.KNOWLEDGE,
        cases=20,
        base_passes=known,
        version_passes=known - lost + gained,
        gained=gained,
        lost=lost,
        lost_ids=ids,
    )


@pytest.mark.parametrize(
    ("known", "lost", "gained", "outcome"),
    [
        (20, 2, 0, GateVerdict.PASS),
        (20, 3, 4, GateVerdict.NOT_ENOUGH_EVIDENCE),
        (9, 1, 4, GateVerdict.NOT_ENOUGH_EVIDENCE),
        (15, 5, 5, GateVerdict.NOT_ENOUGH_EVIDENCE),
        (15, 5, 0, GateVerdict.FAIL),
        (16, 9, 2, GateVerdict.FAIL),
    ],
)
def test_new_facts_do_not_make_up_for_forgotten_ones_but_show_how_much_is_chance(known, lost, gained, outcome):
    assert judged(replace(JUDGEMENT, suites=(knowledge(known, lost, gained),))).outcome is outcome


def test_too_few_known_facts_pass_and_say_so():
    verdict = judged(replace(JUDGEMENT, suites=(knowledge(4, 3),)))
    assert verdict.outcome is GateVerdict.PASS
    assert verdict.checks[-1].sentence == (
        "1 of the 4 knowledge facts that the base knows are still known, too few to judge"
    )


@pytest.mark.parametrize("value", [NAN, float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("divergence", "the divergence from the base"),
        ("retention_loss_ratio", "the loss on the retention text"),
        ("coherence_ratio", "the loss of answers under the coherence model"),
        ("degenerate_share", "the share of broken answers"),
        ("degenerate_share_base", "the share of broken answers"),
        ("answer_tokens", "the length of answers"),
    ],
)
def test_nan_judgement_is_never_published(field, name, value):
    verdict = judged(replace(JUDGEMENT, **{field: value}))
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, False)
    assert verdict.reason == f"not a number: {name}"


@pytest.mark.parametrize("loss", [NAN, float("inf")])
def test_nan_training_loss_is_never_published(loss):
    verdict = decide(loss, held_out(15, 0), JUDGEMENT, SETTINGS, seed=17)
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, False)
    assert verdict.reason == "not a number: the training loss"


@pytest.mark.parametrize("broken", [HeldOut("p", NAN, 1.0), HeldOut("p", 1.0, NAN), HeldOut("p", float("inf"), 1.0)])
def test_nan_held_out_loss_is_never_published(broken):
    assert not judged(pairs=[*held_out(15, 0), broken]).publishable


def test_version_that_only_repeats_is_never_published():
    verdict = judged(replace(JUDGEMENT, degenerate_share=0.6))
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, False)


def test_version_far_from_any_language_is_never_published():
    assert judged(replace(JUDGEMENT, coherence_ratio=1.99)).publishable
    assert not judged(replace(JUDGEMENT, coherence_ratio=2.01)).publishable


def test_limits_that_the_operator_lifted_do_not_apply():
    judgement = replace(JUDGEMENT, degenerate_share=1.0, degenerate_share_base=0.0, coherence_ratio=3.0)
    assert judged(judgement, max_degenerate_excess=1.0, max_coherence_ratio=4.0).publishable


def test_equal_arguments_give_equal_verdicts():
    assert judged(pairs=held_out(20, 9)) == judged(pairs=held_out(20, 9))
