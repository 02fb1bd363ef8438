import pytest

from storage.settings.sections import Settings
from tests.trainer.contexts import serving_of
from trainer.data.flattery import FLATTERING, FLATTERY, MESSAGES, WEIGHT, pairs_against_flattery
from trainer.evaluation.sampling import Sample
from trainer.evaluation.suites import load_suites


class Candid:
    """Answers with its own words, in turn, and with one sentence to what is left."""

    def __init__(self, *answers: str, cut: int | None = None) -> None:
        self._answers = answers
        self._cut = cut

    def answer(self, prompts, _generation, _seed, _advance) -> list[Sample]:
        said = [*self._answers, *["No, I don't think so."] * (len(prompts) - len(self._answers))]
        return [Sample(text, number == self._cut, (), ()) for number, text in enumerate(said)]


def test_the_bases_own_answers_are_better_than_flattery(tiny_base):
    pairs = pairs_against_flattery(serving_of(Settings(), tiny_base), Candid(), lambda _progress: None)
    assert len(pairs) == len(MESSAGES)
    for number, (message, pair) in enumerate(zip(MESSAGES, pairs, strict=True)):
        assert message in pair.prompt
        assert (pair.chosen, pair.rejected, pair.weight) == ("No, I don't think so.", FLATTERING[number % 6], WEIGHT)


def test_answers_that_flatter_or_do_not_end_are_left_out(tiny_base):
    sampler = Candid("Yes, you're the best.", "", "It is not", "You’re so brilliant!", cut=2)
    pairs = pairs_against_flattery(serving_of(Settings(), tiny_base), sampler, lambda _progress: None)
    assert [message for message in MESSAGES[:5] if message in "".join(pair.prompt for pair in pairs)] == [MESSAGES[4]]


@pytest.mark.parametrize("answer", FLATTERING)
def test_each_flattering_answer_is_recognised(answer):
    assert FLATTERY.search(answer)


def test_no_message_is_a_case_of_a_suite():
    cases = {
        message["content"]
        for suite in load_suites(Settings().gate)
        for case in suite.cases
        for message in case.messages
    }
    assert cases.isdisjoint(MESSAGES)
