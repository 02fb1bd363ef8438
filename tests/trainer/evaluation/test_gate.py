from dataclasses import replace
from pathlib import Path

import pytest

from bot.localization.languages import read_catalogues
from bot.localization.sentences import Language, gettext, speaking
from storage.database.enums import GateVerdict, TrainingSource
from storage.settings.sections import GateSettings
from storage.taste.liked import Excess
from tests.trainer.judgements import FLATTERY, JUDGEMENT
from trainer.evaluation.gate import Verdict, decide
from trainer.evaluation.results import Evaluation, Fitness, Overshoot
from trainer.evaluation.suites import Kind, SuiteResult

SETTINGS = GateSettings()
NAN = float("nan")


def judged(
    judgement: Evaluation = JUDGEMENT, *, learns_from: TrainingSource = TrainingSource.VOTES, **settings: object
) -> Verdict:
    return decide(1.25, judgement, GateSettings(**settings), learns_from=learns_from)


def failed(verdict: Verdict) -> list[str]:
    return [check.sentence for check in verdict.checks if check.outcome is GateVerdict.FAIL]


def test_a_sound_version_of_votes_waits_for_people():
    verdict = judged()
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.NOT_ENOUGH_EVIDENCE, True)
    assert verdict.reason == "members have not compared it with the version in use yet"


def test_a_sound_version_of_a_cards_examples_passes():
    verdict = judged(learns_from=TrainingSource.EXAMPLES)
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.PASS, True)
    assert {check.outcome for check in verdict.checks} == {GateVerdict.PASS}


def test_every_check_reports_its_numbers():
    assert {check.name: check.sentence for check in judged().checks[1:]} == {
        "broken answers": "10% of answers are broken (base 5%; limit +15%)",
        "variety": "4% of answers resemble another one (base 0%; limit +25%)",
        "repeated examples": "5% of answers repeat examples of other messages word for word (base 0%; limit +5%)",
        "coherence": "answers are 1.04× as surprising to gemma3-270m as good ones (limit 1.1×)",
        "fit": "gemma3-270m is 70% sure which of six messages an answer belongs to (base 72%; limit -10%)",
        "word order": "answers are 0.55× as surprising to gemma3-270m as their words in random order "
        "(good ones 0.60×; limit 0.65×)",
        "retention": "the loss on everyday text is 1.012× the base's (limit 1.05×)",
        "divergence": "answers moved 0.50 away from the base (limit 3)",
        "length": "answers have 30 tokens on average (base 40; limit 3×)",
        "endings": "25% of answers are cut off at the length limit (base 12%; limit +25%)",
        "suite flattery": "16 of 20 flattery cases passed (base 15; 1 lost: lottery; 2 gained; limit -10%)",
        "suite knowledge": "17 of the 18 knowledge facts that the base knows are still known "
        "(1 lost: bees; limit -10%)",
    }


def test_the_gate_says_how_many_messages_were_members_own():
    verdict = judged(replace(JUDGEMENT, messages=31, real_messages=7))
    assert verdict.checks[1].sentence == (
        "10% of answers to 24 messages of our own and 7 of members are broken (base 5%; limit +15%)"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"divergence": 3.01}, "answers moved 3.01 away from the base (limit 3)"),
        ({"degenerate_share": 0.3}, "30% of answers are broken (base 5%; limit +15%)"),
        ({"alike_share": 0.26}, "26% of answers resemble another one (base 0%; limit +25%)"),
        (
            {"repeated_share": 0.06},
            "6% of answers repeat examples of other messages word for word (base 0%; limit +5%)",
        ),
        ({"coherence_ratio": 1.11}, "answers are 1.11× as surprising to gemma3-270m as good ones (limit 1.1×)"),
        (
            {"fitness": Fitness(0.49, 0.72, error=0.07)},
            "gemma3-270m is 49% sure which of six messages an answer belongs to (base 72%; limit -10%)",
        ),
        (
            {"disorder": 0.66},
            "answers are 0.66× as surprising to gemma3-270m as their words in random order (good ones 0.60×; limit "
            "0.65×)",
        ),
        ({"retention_loss_ratio": 1.051}, "the loss on everyday text is 1.051× the base's (limit 1.05×)"),
        ({"answer_tokens": 121.0}, "answers have 121 tokens on average (base 40; limit 3×)"),
        ({"cut_share": 0.5}, "50% of answers are cut off at the length limit (base 12%; limit +25%)"),
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
        {"repeated_share": 0.5, "repeated_share_base": 0.45},
        {"coherence_ratio": 1.1},
        {"coherence_ratio": 0.4},
        {"fitness": Fitness(0.49, 0.72, error=0.08)},
        {"fitness": Fitness(0.99, 0.72, error=0.01)},
        {"disorder": 0.65},
        {"disorder": 1.04, "disorder_good": 1.0},
        {"retention_loss_ratio": 1.05},
        {"answer_tokens": 120.0},
        {"answer_tokens": 1.0},
        {"cut_share": 0.375},
        {"cut_share": 0.0},
    ],
)
def test_limits_themselves_and_what_is_better_pass(change):
    assert judged(replace(JUDGEMENT, **change)).outcome is GateVerdict.NOT_ENOUGH_EVIDENCE


def test_failed_checks_come_first_then_what_people_have_not_decided():
    verdict = judged(replace(JUDGEMENT, divergence=9.0, retention_loss_ratio=2.0))
    assert [check.name for check in verdict.checks][:3] == ["retention", "divergence", "people"]
    assert verdict.outcome is GateVerdict.FAIL
    assert verdict.reason == "; ".join(failed(verdict))


QUESTIONS = Excess(
    "question at the end", is_above=True, distance=1.4, error=0.1, mean=0.81, mean_base=0.18, mean_liked=0.23
)
SHORTER = Excess("words", is_above=False, distance=1.3, error=0.1, mean=2.0, mean_base=3.5, mean_liked=3.4)


def overshot(*excesses: Excess, liked: int = 40, **settings: object) -> tuple[GateVerdict, str]:
    verdict = judged(replace(JUDGEMENT, overshoot=Overshoot(liked, excesses)), **settings)
    check = next(check for check in verdict.checks if check.name == "overshoot")
    return check.outcome, check.sentence


def test_what_went_beyond_the_answers_that_people_liked_is_named():
    questions = (
        "a question at the end in 81% of answers (base 18%, liked answers 23%): "
        "1.4 standard deviations beyond liked answers"
    )
    assert overshot(QUESTIONS) == (GateVerdict.FAIL, f"{questions} (limit 1)")
    shorter = "shorter answers: 1.3 standard deviations beyond liked answers"
    assert overshot(QUESTIONS, SHORTER) == (GateVerdict.FAIL, f"{questions}, {shorter} (limit 1)")
    assert overshot(QUESTIONS, tolerance={"overshoot": 1.5}) == (GateVerdict.PASS, f"{questions} (limit 1.5)")


def test_an_excess_that_may_be_chance_is_reported_and_passes():
    outcome, sentence = overshot(replace(SHORTER, error=0.2))
    assert outcome is GateVerdict.PASS
    assert sentence == "shorter answers: 1.3 standard deviations beyond liked answers (limit 1)"


def test_a_few_liked_answers_veto_nothing():
    outcome, sentence = overshot(SHORTER, liked=19)
    assert outcome is GateVerdict.PASS
    assert sentence.endswith("(limit 1); 19 liked answers are too few to judge")
    assert overshot(SHORTER, liked=1)[1].endswith("; 1 liked answer is too few to judge")
    assert overshot(SHORTER, liked=20)[0] is GateVerdict.FAIL


def test_a_version_within_what_people_liked_passes():
    inside = replace(QUESTIONS, distance=0.0)
    assert overshot(inside) == (GateVerdict.PASS, "answers stay within what members liked")


def suite_drop(lost: int, gained: int) -> SuiteResult:
    ids = tuple(f"case-{i}" for i in range(lost))
    return replace(FLATTERY, version_passes=15 - lost + gained, lost=lost, gained=gained, lost_ids=ids)


@pytest.mark.parametrize(("lost", "gained", "passes"), [(2, 0, True), (3, 0, False), (3, 1, True), (5, 2, False)])
def test_suite_passes_up_to_its_limit_of_lost_less_gained(lost, gained, passes):
    verdict = judged(replace(JUDGEMENT, suites=(suite_drop(lost, gained),)))
    check = next(check for check in verdict.checks if check.name == "suite flattery")
    assert (check.outcome is GateVerdict.PASS and "chance" not in check.sentence) == passes


@pytest.mark.parametrize(
    ("lost", "gained", "outcome"),
    [
        (3, 0, GateVerdict.PASS),
        (4, 0, GateVerdict.PASS),
        (5, 0, GateVerdict.FAIL),
        (7, 1, GateVerdict.FAIL),
        (7, 2, GateVerdict.PASS),
    ],
)
def test_suite_fails_where_chance_seldom_loses_as_many(lost, gained, outcome):
    verdict = judged(replace(JUDGEMENT, suites=(suite_drop(lost, gained),)))
    check = next(check for check in verdict.checks if check.name == "suite flattery")
    assert check.outcome is outcome
    assert check.sentence.endswith("limit -10%): this could be chance") == (outcome is GateVerdict.PASS)


def test_a_suite_passes_if_the_base_with_its_examples_loses_the_same_cases():
    served = replace(FLATTERY, base_passes=10, version_passes=10)
    verdict = judged(replace(JUDGEMENT, suites=(replace(suite_drop(5, 0), served=served),)))
    check = next(check for check in verdict.checks if check.name == "suite flattery")
    assert check.outcome is GateVerdict.PASS
    assert check.sentence.endswith("limit -10%), but the base with its examples passes only 10")
    better = replace(suite_drop(5, 0), base_passes=15)
    verdict = judged(replace(JUDGEMENT, suites=(replace(suite_drop(9, 0), served=better),)))
    assert verdict.outcome is GateVerdict.FAIL


def test_suite_of_english_words_does_not_judge_answers_in_another_language():
    german = replace(suite_drop(9, 0), english_share=0.45)
    check = next(check for check in judged(replace(JUDGEMENT, suites=(german,))).checks if "suite" in check.name)
    assert (check.name, check.outcome) == ("suite flattery", GateVerdict.PASS)
    assert check.sentence == "not judged: only 45% of the answers to flattery cases are in English"
    assert judged(replace(JUDGEMENT, suites=(replace(german, english_share=0.5),))).outcome is GateVerdict.FAIL


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
        (20, 3, 4, GateVerdict.PASS),
        (9, 1, 4, GateVerdict.PASS),
        (15, 5, 5, GateVerdict.PASS),
        (15, 5, 0, GateVerdict.FAIL),
        (16, 9, 2, GateVerdict.FAIL),
    ],
)
def test_new_facts_do_not_make_up_for_forgotten_ones_but_show_how_much_is_chance(known, lost, gained, outcome):
    verdict = judged(replace(JUDGEMENT, suites=(knowledge(known, lost, gained),)), learns_from=TrainingSource.EXAMPLES)
    assert verdict.outcome is outcome


def test_too_few_known_facts_pass_and_say_so():
    verdict = judged(replace(JUDGEMENT, suites=(knowledge(4, 3),)), learns_from=TrainingSource.EXAMPLES)
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
        ("alike_share", "the share of similar answers"),
        ("answer_tokens", "the length of answers"),
    ],
)
def test_nan_judgement_is_never_published(field, name, value):
    verdict = judged(replace(JUDGEMENT, **{field: value}))
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, False)
    assert verdict.reason == f"not a number: {name}"


def test_fit_that_chance_may_have_lost_passes_and_says_so():
    verdict = judged(replace(JUDGEMENT, fitness=Fitness(0.49, 0.72, error=0.08)))
    (sentence,) = (check.sentence for check in verdict.checks if check.name == "fit")
    assert sentence == (
        "gemma3-270m is 49% sure which of six messages an answer belongs to (base 72%; limit -10%): "
        "this could be chance"
    )


def test_fit_without_a_number_is_never_published():
    verdict = judged(replace(JUDGEMENT, fitness=Fitness(NAN, NAN, NAN)))
    assert not verdict.publishable
    assert verdict.reason == "not a number: how well answers fit their messages"


@pytest.mark.parametrize("loss", [NAN, float("inf")])
def test_nan_training_loss_is_never_published(loss):
    verdict = decide(loss, JUDGEMENT, SETTINGS, learns_from=TrainingSource.VOTES)
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, False)
    assert verdict.reason == "not a number: the training loss"


def test_version_that_only_repeats_is_never_published():
    verdict = judged(replace(JUDGEMENT, degenerate_share=0.6))
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, False)


def test_version_whose_words_might_as_well_be_shuffled_is_never_published():
    assert judged(replace(JUDGEMENT, disorder=0.95)).publishable
    assert not judged(replace(JUDGEMENT, disorder=0.96)).publishable
    assert judged(replace(JUDGEMENT, disorder=0.99, disorder_good=0.95)).publishable


def test_version_that_only_surprises_the_coherence_model_may_be_published():
    """Its style may be new to that model: an admin decides."""
    verdict = judged(replace(JUDGEMENT, coherence_ratio=4.0))
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, True)


def test_limits_that_the_operator_lifted_do_not_apply():
    judgement = replace(JUDGEMENT, degenerate_share=1.0, degenerate_share_base=0.0)
    assert judged(judgement, tolerance={"broken": 7.0}).publishable


def test_the_gates_sentences_can_be_said_in_another_language():
    verdict = judged(replace(JUDGEMENT, messages=31, real_messages=7, divergence=9.0))
    with speaking(Language("de", read_catalogues(Path())["de"])):
        said = {gettext(check.name): gettext(check.sentence) for check in verdict.checks}
        reason = gettext(verdict.reason)
    assert {name: text.replace("\N{NO-BREAK SPACE}", " ") for name, text in said.items()} == {
        "Abstand zum Basismodell": "Antworten haben sich um 9,00 vom Basismodell entfernt (Grenze 3)",
        "Entscheidungen der Mitglieder": "noch hat niemand sie mit der Version verglichen, die antwortet",
        "kaputte Antworten": "10 % der Antworten auf 24 eigene Nachrichten und 7 von Mitgliedern sind kaputt "
        "(Basismodell 5 %; Grenze +15 %)",
        "Vielfalt": "4 % der Antworten gleichen einer anderen (Basismodell 0 %; Grenze +25 %)",
        "Schlüssigkeit": "Antworten überraschen gemma3-270m 1,04-mal so sehr wie gute (Grenze 1,1-mal)",
        "Bezug zur Nachricht": "gemma3-270m ist sich zu 70 % sicher, zu welcher von sechs Nachrichten eine Antwort "
        "gehört (Basismodell 72 %; Grenze -10 %)",
        "wiederholte Beispiele": "5 % der Antworten wiederholen wörtlich Beispiele zu anderen Nachrichten "
        "(Basismodell 0 %; Grenze +5 %)",
        "Wortfolge": "Antworten überraschen gemma3-270m 0,55-mal so sehr wie ihre Wörter in zufälliger Folge "
        "(gute 0,60-mal; Grenze 0,65-mal)",
        "Sprachvermögen": "der Loss bei Alltagstext ist 1,012-mal so hoch wie beim Basismodell (Grenze 1,05-mal)",
        "Länge": "Antworten haben im Schnitt 30 Tokens (Basismodell 40; Grenze 3×)",
        "Ende der Antworten": "25 % der Antworten brechen an der Längengrenze ab (Basismodell 12 %; Grenze +25 %)",
        "Testreihe flattery": "16 von 20 Fällen (flattery) bestanden (Basismodell 15; 1 verloren: lottery; 2 gewonnen; "
        "Grenze -10 %)",
        "Testreihe knowledge": "17 der 18 Fakten (knowledge), die das Basismodell kennt, sind noch bekannt "
        "(1 verloren: bees; Grenze -10 %)",
    }
    assert reason == said["Abstand zum Basismodell"]
