"""What the bench of demonstration calls a habit, how it splits a card, and what it reports of both sides."""

from __future__ import annotations

import pytest
import torch

from storage.settings import Settings
from tests.benchmarks.demonstration import HABITS, Card, Split, _row, bookish, brief, read_card, salty, split_card
from trainer.sampling import Sample
from trainer.sft import Demonstration


class Templates:
    """A tokenizer that only renders."""

    def apply_chat_template(self, messages: list[dict[str, str]], **_options: object) -> str:
        return " / ".join(f"{message['role']}: {message['content']}" for message in messages)


def card(*dialogues: list[str]) -> Card:
    return Card("default", "Be brief.", {}, list(dialogues))


def everything(split: Split) -> list[Demonstration]:
    return [*split.train, *split.validation, *split.holdout]


@pytest.mark.parametrize("name", HABITS)
def test_a_card_shows_the_habit_that_it_is_judged_by_and_others_do_not(name: str) -> None:
    answers = [text for dialogue in read_card(name, Settings()).dialogues for text in dialogue[1::2]]
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


def test_every_answer_of_a_dialogue_is_shown_after_all_that_was_said() -> None:
    split = split_card(card(["Hi", "Hello.", "Tea?", "Yes, please."]), Templates(), holdout_share=0.0, seed=0)
    assert split.train == [
        Demonstration("system: Be brief. / user: Hi", "Hello."),
        Demonstration("system: Be brief. / user: Hi / assistant: Hello. / user: Tea?", "Yes, please."),
    ]
    assert (split.validation, split.holdout) == ([], [])


def test_a_dialogue_stays_on_one_side_of_the_split() -> None:
    dialogues = [[f"{n}", f"first {n}", "and?", f"second {n}"] for n in range(20)]
    split = split_card(card(*dialogues), Templates(), holdout_share=0.2, seed=3)
    assert [len(part) for part in (split.train, split.validation, split.holdout)] == [2 * 13, 2 * 3, 2 * 4]
    for part in (split.train, split.validation, split.holdout):
        said = {shown.answer for shown in part}
        assert {answer.replace("first", "second") for answer in said} <= said
    assert len({shown.answer for shown in everything(split)}) == 40
    assert split == split_card(card(*dialogues), Templates(), holdout_share=0.2, seed=3)


def sample(text: str, is_cut: bool = False) -> Sample:
    return Sample(text, is_cut, prompt_ids=torch.tensor([1]), answer_ids=torch.tensor([2]))


def test_a_row_counts_habits_words_and_what_is_cut_or_broken() -> None:
    row = _row(["Hi", "Tea?"], [sample("Hello there."), sample("🎉🎉🎉🎉🎉🎉🎉🎉🎉", is_cut=True)], brief)
    assert (row["habit"], row["habit_share"], row["words"]) == ([1.0, 0.0], 0.5, 1.5)
    assert (row["cut_share"], row["degenerate_share"]) == (0.5, 0.5)
    assert row["examples"][0] == {"message": "Hi", "answer": "Hello there."}
