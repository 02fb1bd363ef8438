"""Answers of the base's own that show it what members like."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.demo.community import read_community_answers
from storage.conversations.example_turns import ShownAs, turns_of
from storage.database.enums import Basis, Origin, Outcome
from storage.database.tables import ReplyRow
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, ensure_personality, read_personality
from storage.releases.bases import ConfiguredBase, record_base
from storage.settings.sections import GenerationSettings, Settings
from storage.taste.examples import ExampleTurn
from storage.taste.learning import UNJUDGED
from storage.taste.relevance import store_relevance
from storage.taste.updating import learn_all
from tests.past import add_version
from tests.seeding import BASE_REVISION, OTHER_REVISION, add_reply, add_taste

BANK = [ExampleTurn(asked.message, answer) for asked in read_community_answers()[:12] for answer in asked.answers]
QUESTION = ExampleTurn("I like tea.", "What kind of tea do you like best?")


def add_answer(session: Session, turn: ExampleTurn, **more: Any) -> None:
    """Add an answer to a message of the prompt bank, as a round draws it."""
    drawn = {"origin": Origin.SAMPLE, "basis": Basis.PROMPT_BANK}
    add_reply(session, prompt=turn.message, answer=turn.answer, **drawn | more)


def chosen(session: Session, examples: int = 2, votes: int = 60) -> tuple[ExampleTurn, ...]:
    """Return what is chosen for members who like questions."""
    add_taste(session, votes)
    known = learn_all(session, ensure_personality(session), Settings(generation=GenerationSettings(examples=examples)))
    return known.examples


@pytest.mark.parametrize("number", [2, 4])
def test_members_who_like_questions_get_questions_each_to_another_message(session: Session, number: int) -> None:
    for turn in BANK:
        add_answer(session, turn)
    turns = chosen(session, number)
    assert len(turns) == len({turn.message for turn in turns}) == number
    assert all(turn.answer.endswith("?") for turn in turns)
    assert set(turns) <= set(BANK)


def test_if_there_is_one_answer_it_is_the_example(session: Session) -> None:
    add_answer(session, QUESTION)
    assert chosen(session) == (QUESTION,)


def test_an_answer_without_spaces_is_one_if_it_says_something(session: Session) -> None:
    asked = "お茶が好きです。"
    add_answer(session, ExampleTurn(asked, "なぜ？"))
    assert chosen(session) == ()
    turn = ExampleTurn(asked, "どんなお茶がいちばん好きですか？")
    add_answer(session, turn)
    assert chosen(session) == (turn,)


def test_none_is_chosen_where_they_are_switched_off(session: Session) -> None:
    add_answer(session, QUESTION)
    assert chosen(session, examples=0) == ()


def test_a_taste_that_may_not_teach_chooses_none(session: Session) -> None:
    add_answer(session, QUESTION)
    assert chosen(session, votes=UNJUDGED - 1) == ()


def test_a_word_a_refusal_a_loop_and_nothing_are_no_examples(session: Session) -> None:
    for answer in ("Why?", "I'm sorry, do you have another question?", "How how how? " * 20, ""):
        add_answer(session, ExampleTurn("I like tea.", answer))
    assert chosen(session) == ()


def test_an_answer_much_longer_than_liked_ones_is_none(session: Session) -> None:
    add_answer(session, QUESTION)
    for number in range(3):
        rambling = " ".join(f"Do you like number {other} as much as all the others?" for other in range(12))
        add_answer(session, ExampleTurn(f"I like tea, said {number}.", rambling))
    assert chosen(session) == (QUESTION,)


def test_where_all_are_longer_than_liked_ones_the_shortest_is_the_example(session: Session) -> None:
    for number in (8, 5, 12):
        rambling = " ".join(f"Do you like number {other} as much as all the others?" for other in range(number))
        add_answer(session, ExampleTurn(f"I like tea, said {number}.", rambling))
    assert [one.message for one in chosen(session)] == ["I like tea, said 5."]


def test_an_answer_that_has_nothing_to_do_with_its_message_is_no_example(session: Session) -> None:
    add_answer(session, QUESTION)
    relevant = session.scalars(select(ReplyRow.id)).one()
    add_answer(session, ExampleTurn("My cat is sick.", "What do you like best about the sea, my friend?"))
    ids = session.scalars(select(ReplyRow.id)).all()
    store_relevance(session, {reply_id: 0.6 if reply_id == relevant else 0.0 for reply_id in ids})
    assert chosen(session) == (QUESTION,)


def test_what_the_base_said_after_such_examples_is_none(session: Session) -> None:
    add_answer(session, QUESTION)
    after = turns_of([("It rains.", "Do you like rain?")], ShownAs.LIKED)
    steered = ExampleTurn("I like milk.", "What kind of milk do you like best?")
    add_answer(session, steered, messages=[*after, {"role": "user", "content": steered.message}])
    assert chosen(session) == (QUESTION,)


def test_an_answer_that_was_cut_or_given_to_a_member_is_no_example(session: Session) -> None:
    add_answer(session, QUESTION, outcome=Outcome.LENGTH)
    add_answer(session, QUESTION, origin=Origin.ARENA)
    for basis in (Basis.LIVE_CHAT, Basis.LOCAL, None):
        add_answer(session, QUESTION, origin=Origin.CHAT, basis=basis)
    assert chosen(session) == ()


def test_an_answer_of_a_version_is_no_example(session: Session) -> None:
    version = add_version(session, None, personality_id=ensure_personality(session))
    add_answer(session, QUESTION, version_id=version.id)
    assert chosen(session) == ()


def edit_card(session: Session, card: Card) -> None:
    change_card(session, read_personality(session, ensure_personality(session)), card, by="grace")


@pytest.mark.parametrize(("revision", "turns"), [(BASE_REVISION, (QUESTION,)), (OTHER_REVISION, ())])
def test_another_bases_answers_are_none_of_the_base_in_use(
    session: Session, revision: str, turns: tuple[ExampleTurn, ...]
) -> None:
    add_answer(session, QUESTION)
    record_base(session, ConfiguredBase(setting="x", name="x", revision=revision), "start")
    assert chosen(session) == turns


def test_what_the_old_character_said_is_no_example_of_the_new_one(session: Session) -> None:
    add_answer(session, QUESTION)
    edit_card(session, Card(system_prompt="You keep a lighthouse."))
    assert chosen(session) == ()
    milk = ExampleTurn("I like milk.", "What kind of milk do you like best?")
    add_answer(session, milk)
    edit_card(session, Card(system_prompt="You keep a lighthouse.", display_name="Keeper"))
    assert chosen(session) == (milk,), "another name is no other character: a round would not ask this prompt again"


def test_an_answer_after_an_example_that_left_the_card_is_none(session: Session) -> None:
    example = Example(dialogue=("It rains.", "Do you like rain?"))
    edit_card(session, Card(examples=(example,)))
    after = turns_of([example.dialogue], ShownAs.CARD)
    add_answer(session, QUESTION, messages=[*after, {"role": "user", "content": QUESTION.message}])
    assert chosen(session) == (QUESTION,)
    edit_card(session, Card())
    assert chosen(session) == ()
