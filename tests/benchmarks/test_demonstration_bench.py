"""What the bench of demonstration calls a habit, and what it reports of both sides."""

from __future__ import annotations

import pytest

from storage.settings.sections import Settings
from tests.benchmarks.demonstration import HABITS, _row, bookish, brief, read_card, salty
from tests.benchmarks.shown_examples import is_copy, shares_a_run, split_card
from trainer.evaluation.sampling import Sample


@pytest.mark.parametrize("name", HABITS)
def test_a_card_shows_the_habit_that_it_is_judged_by_and_others_do_not(name: str) -> None:
    card, _ = read_card(name, Settings())
    answers = [text for example in card.examples for text in example.dialogue[1::2]]
    assert sum(map(HABITS[name], answers)) >= 0.9 * len(answers)
    strangers = [habit for other, habit in HABITS.items() if other not in (name, "default")]
    assert all(sum(map(habit, answers)) <= 0.2 * len(answers) for habit in strangers)


def test_habits_are_seen_in_answers() -> None:
    assert brief("Nice work. What was wrong with it?")
    assert not brief("Nice work 🎉. What was wrong with it?")
    assert not brief("Nice work. What was wrong with")
    assert not brief("word " * 26 + ".")
    assert salty("Fog, I suppose. It lifts.")
    assert not salty("Fog! It lifts!")
    assert not salty("It lifts. It always lifts.")
    assert bookish("Oh, the first page of many!")
    assert not bookish("It is the first page of many.")
    assert not bookish("Oh, how lovely!")


def sample(text: str, is_cut: bool = False) -> Sample:
    return Sample(text, is_cut, prompt_ids=(1,), answer_ids=(2,))


def test_a_row_counts_habits_words_and_what_is_cut_or_broken() -> None:
    row = _row(["Hi", "Tea?"], [sample("Hello there."), sample("🎉🎉🎉🎉🎉🎉🎉🎉🎉", is_cut=True)], brief)
    assert (row["habit"], row["habit_share"], row["words"]) == ([1.0, 0.0], 0.5, 1.5)
    assert (row["cut_share"], row["degenerate_share"]) == (0.5, 0.5)
    assert row["examples"][0] == {"message": "Hi", "answer": "Hello there."}


def test_recited_words_and_copies_are_seen() -> None:
    prompt = "You speak in few words, and the sea or the weather gets into what you say."
    assert shares_a_run("The sea or the WEATHER gets into what you say!", prompt)
    assert not shares_a_run("The sea and the weather. I say few words.", prompt)
    shown = ["Fog, I suppose. It lifts. It always lifts.", "Evening."]
    assert is_copy("Fog I suppose, it lifts. It always lifts", shown)
    assert not is_copy("Fog, I suppose. It lifts when the wind turns to the west again.", shown)
    assert not is_copy("Evening.", shown), "so few words are anybody's"


def test_a_share_of_the_card_is_held_out_and_what_is_left_keeps_its_order() -> None:
    card, _ = read_card("keeper", Settings())
    kept, held_out = split_card(card, seed=0)
    assert len(held_out) == round(0.2 * len(card.examples))
    assert [example for example in card.examples if example not in held_out] == list(kept.examples)
