"""What fits: answers that owe something to their message, whatever their style."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from trainer.evaluation.measures import OTHER_MESSAGES, OTHERS, Exchange, Fit, measure_fits


def test_fit_is_what_an_answer_gains_from_its_own_message():
    fit = Fit(own=-20.0, others=(-24.0, -31.0, -26.0, -27.0, -22.0))
    assert fit.nats == pytest.approx(6.0)


def read_shared_words(exchanges: Sequence[Exchange]) -> list[float]:
    """Stand in for a model: a word costs a nat less where its message has it too."""
    words = [(set(message.lower().split()), answer.lower().split()) for message, answer in exchanges]
    return [-float(sum(1 if word in asked else 2 for word in answer)) for asked, answer in words]


def test_each_answer_is_read_after_its_own_message_and_five_others():
    asked: list[Exchange] = []

    def read(exchanges: Sequence[Exchange]) -> list[float]:
        asked.extend(exchanges)
        return read_shared_words(exchanges)

    fitting, strange = measure_fits([("Does it rain?", "It does."), ("Tea or milk?", "Goals!")], read)
    assert (fitting.own, fitting.nats) == (-3.0, 1.0)
    assert strange.nats == 0.0
    assert asked[:6] == [("Does it rain?", "It does."), *((other, "It does.") for other in OTHER_MESSAGES[:OTHERS])]
    assert len(asked) == 2 * (1 + OTHERS)


@pytest.mark.parametrize("message", OTHER_MESSAGES)
def test_one_of_the_other_messages_is_compared_with_the_rest(message):
    asked: list[Exchange] = []

    def read(exchanges: Sequence[Exchange]) -> list[float]:
        asked.extend(exchanges)
        return read_shared_words(exchanges)

    measure_fits([(message, "Tea.")], read)
    assert len({asked_message for asked_message, _ in asked}) == 1 + OTHERS


def test_an_empty_answer_fits_nothing():
    (fit,) = measure_fits([("Does it rain?", "")], read_shared_words)
    assert fit.nats == 0.0


def test_nothing_is_read_without_answers():
    assert measure_fits([], read_shared_words) == []
