"""What members like, in words."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from bot.demo.community import Taste, calm, question, read_community_answers, short, warm
from bot.text.taste import describe_counts, describe_liked
from storage.insights.taste_report import shown_effects
from storage.members import Pseudonym
from storage.personalities.personalities import ensure_personality
from storage.style import MEASURES
from storage.taste.learning import LearnedTaste, learn_taste, style_of
from storage.taste.likings import (
    MOST_EFFECTS,
    MOST_QUESTIONS,
    Effect,
    Sureness,
    examples_of,
    likings,
    open_questions,
)
from storage.taste.opinions import Opinion
from storage.votes.votes import FeedbackCounts
from tests.seeding import add_reply
from tests.storage.taste.test_learning import (
    EVERYONE,
    LONG,
    SHORT,
    brief,
    choices_by,
    compose,
    later,
    learned,
    of_middle_length,
    polite,
    votes_by,
)

NO_TASTE = learned([], [])
CLEAR = learned(*votes_by(brief, 120))


def describe(taste: LearnedTaste) -> str:
    data = taste.data
    counts = FeedbackCounts(len(data.thumbs.liked), len(data.choices.starts), people=data.voters)
    return describe_liked(counts, shown_effects(taste, likings(taste)))


def effect_on(name: str, size: float, spread: float = 0.1, alone: float = 0.0) -> Effect:
    (measure,) = (one for one in MEASURES if one.name == name)
    return Effect(measure, size, spread, alone)


# In one sentence


def test_without_votes_it_says_so() -> None:
    assert likings(NO_TASTE) == []
    assert describe(NO_TASTE) == "Nobody has voted yet, so I can't say what members like. Every 👍 and 👎 helps."


def test_too_few_votes_say_nothing_yet() -> None:
    taste = learned(*votes_by(polite, 3, members=1))
    expected = "After 3 votes by 1 member, I can't tell yet what members like. Every 👍 and 👎 helps; a 👎 helps most."
    assert describe(taste) == expected


@pytest.mark.parametrize("liked", [True, False])
def test_votes_of_one_kind_on_answers_of_many_kinds_say_nothing(liked: bool) -> None:
    assert "I can't tell yet" in describe(learned(*votes_by(lambda _: float(liked), 60)))


def test_a_clear_taste_is_told_with_how_sure_it_is() -> None:
    said = describe(CLEAR)
    assert said.startswith("After 120 votes by 8 members, members like: ")
    assert "shorter answers (sure)" in said
    assert said.endswith(").")


def test_the_opposite_taste_is_told_in_the_opposite_words() -> None:
    votes, answers = votes_by(brief, 120)
    turned = describe(learned([one._replace(liked=not one.liked) for one in votes], answers))
    assert "longer answers" in turned
    assert "shorter answers" not in turned


def test_a_taste_for_a_middle_length_is_told_as_one() -> None:
    said = describe(of_middle_length(120))
    assert "31 to 60 words (sure)" in said
    assert "61 to 120 words" not in said


def test_no_band_of_length_is_told_where_plain_words_say_the_same() -> None:
    """All of these answers are short, so that who likes longer ones likes those of 31 to 60 words."""
    votes, answers = votes_by(brief, 120)
    turned = describe(learned([one._replace(liked=not one.liked) for one in votes], answers))
    assert "31 to 60 words" not in turned + describe(CLEAR)


@pytest.mark.parametrize(
    ("size", "sureness", "words"),
    [
        (0.3, Sureness.SURE, "longer answers"),
        (-0.3, Sureness.SURE, "shorter answers"),
        (0.2, Sureness.FAIRLY, "longer answers"),
        (-0.1, Sureness.GUESS, "shorter answers"),
        (0.05, None, "longer answers"),
    ],
)
def test_the_clearer_an_effect_the_surer_the_words(size: float, sureness: Sureness | None, words: str) -> None:
    found = effect_on("words", size)
    assert (found.sureness, found.words) == (sureness, words)


@pytest.mark.parametrize(
    ("size", "alone", "sureness"),
    [
        (-0.05, -2.0, Sureness.GUESS),
        (-0.05, 2.0, None),
        (-0.05, -1.9, None),
        (-0.02, -3.0, None),
        (-0.2, 0.0, Sureness.FAIRLY),
    ],
    ids=["shown alone", "the other way", "not clearly", "not by all together", "clear without it"],
)
def test_what_few_votes_show_alone_is_a_guess_at_most(size: float, alone: float, sureness: Sureness | None) -> None:
    assert effect_on("words", size, alone=alone).sureness == sureness


def test_guesses_are_not_told_while_the_votes_are_predicted_no_better_with_the_taste() -> None:
    told = likings(CLEAR, most=len(MEASURES))
    surer = [effect for effect in told if effect.sureness is not Sureness.GUESS]
    unlucky = replace(CLEAR, bettor=replace(CLEAR.bettor, log_capitals=np.full(4, np.log(0.9))))
    assert likings(unlucky, most=len(MEASURES)) == surer != told


# How often it is right, in simulated servers of the bundled model's answers

SERVERS, FIRST_VOTES = 60, 12
ANSWERS = [answer for answered in read_community_answers() for answer in answered.answers]
STYLE = style_of(ANSWERS)


def told_in_servers(is_liked: NDArray[np.float64]) -> list[list[bool]]:
    """Return for each server, with twelve votes of which a tenth said the opposite, whether what it tells is true.

    It is true if liked answers in general have more of it, or less, as told.
    """
    with np.errstate(invalid="ignore"):
        truth = [np.nan_to_num(np.corrcoef(column, is_liked)[0, 1]) for column in STYLE.T]
    found = []
    for seed in range(SERVERS):
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(ANSWERS), FIRST_VOTES, replace=False)
        likes = rng.random(FIRST_VOTES) < 0.1 + 0.8 * is_liked[chosen]
        votes = [Opinion(i, Pseudonym(1 + i % 4), bool(like), 1.0, later(i)) for i, like in enumerate(likes)]
        told = likings(learned(votes, [ANSWERS[place] for place in chosen]))
        found.append([effect.size * truth[MEASURES.index(effect.measure)] > 0 for effect in told])
    return found


@pytest.mark.parametrize("taste", [short, question, calm, warm])
def test_a_dozen_votes_mostly_say_something_true(taste: Taste) -> None:
    told = told_in_servers(np.array([taste("", answer) for answer in ANSWERS]))
    assert sum(any(of_server) for of_server in told) > 0.5 * SERVERS
    everything = [is_true for of_server in told for is_true in of_server]
    assert sum(everything) > 0.85 * len(everything)


def test_a_dozen_votes_by_chance_seldom_say_something() -> None:
    told = told_in_servers(np.full(len(ANSWERS), 0.5))
    assert sum(bool(of_server) for of_server in told) < 0.35 * SERVERS


# Which effects are told


def shouts(answer: str) -> float:
    return 0.95 if "!" in answer else 0.1


@pytest.mark.parametrize("seed", range(4))
def test_measures_that_say_the_same_are_told_once(seed: int) -> None:
    told = {effect.measure.name for effect in likings(learned(*votes_by(shouts, 80, seed)), most=len(MEASURES))}
    assert len(told & {"exclamation marks", "any exclamation mark"}) == 1
    told = {effect.measure.name for effect in likings(learned(*votes_by(brief, 80, seed)), most=len(MEASURES))}
    assert len(told & {"words", "sentences"}) == 1


def test_the_surest_are_told_first_and_only_a_few() -> None:
    every = likings(CLEAR, most=len(MEASURES))
    assert likings(CLEAR, most=3) == every[:3] != every
    assert likings(CLEAR) == every[:MOST_EFFECTS]
    certainties = [effect.certainty for effect in every]
    assert certainties == sorted(certainties, reverse=True)
    assert all(effect.sureness for effect in every)


@pytest.mark.parametrize("seed", range(4))
def test_what_never_differed_between_answers_is_not_told(seed: int) -> None:
    for taste in (learned(*votes_by(shouts, 80, seed)), learned(*choices_by(shouts, 40, seed))):
        told = {effect.measure.name for effect in likings(taste, most=len(MEASURES))}
        assert told
        assert told.isdisjoint({"greetings", "warmth", "whole ending", "capital start", "any emoji"})


def test_votes_on_one_answer_alone_say_nothing() -> None:
    likes = [Opinion(0, Pseudonym(1), True, 1.0, later(i)) for i in range(300)]
    assert "I can't tell yet" in describe(learned(likes, [SHORT]))


# Counting, and whether it is used


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (FeedbackCounts(), "0 votes"),
        (FeedbackCounts(votes=1, people=1), "1 vote by 1 member"),
        (FeedbackCounts(choices=2, people=2), "2 choices by 2 members"),
        (FeedbackCounts(votes=5, choices=1, people=1), "5 votes and 1 choice by 1 member"),
        (FeedbackCounts(5, 2, 1, 3), "5 votes, 2 choices, and 1 suggested or replaced answer by 3 members"),
    ],
)
def test_votes_choices_and_members_are_counted(counts: FeedbackCounts, words: str) -> None:
    assert describe_counts(counts) == words


# What is not known


def test_what_never_differed_is_asked_first() -> None:
    taste = learned(*votes_by(brief, 120))
    same = (taste.data.thumbs.x == taste.data.thumbs.x[:1]).all(axis=0)
    asked = open_questions(taste, likings(taste))
    assert len(asked) == MOST_QUESTIONS
    assert all(same[MEASURES.index(measure)] for measure in asked)


def test_nothing_is_both_told_and_asked() -> None:
    told = likings(CLEAR)
    assert not {effect.measure.name for effect in told} & {measure.name for measure in open_questions(CLEAR, told)}


# Examples


def test_the_bots_own_answers_are_shown_from_the_best_liked_to_the_least(session: Session, personality_id: int) -> None:
    other = ensure_personality(session, "other")
    rng = random.Random(6)
    answers = [LONG, SHORT, *(compose(rng) for _ in range(20))]
    for answer in [*answers, SHORT, ""]:
        add_reply(session, answer=answer)
    add_reply(session, answer="Not mine.", personality_id=other)
    texts = examples_of(session, CLEAR, personality_id, 300)
    assert sorted(texts) == sorted(set(answers))
    utilities = CLEAR.score(texts).tolist()
    assert utilities == sorted(utilities, reverse=True)
    assert texts.index(SHORT) < 5
    assert texts.index(LONG) > len(texts) - 5


def test_only_the_newest_answers_are_examples(session: Session, personality_id: int) -> None:
    for answer in ("First.", "Second.", "Third."):
        add_reply(session, answer=answer)
    assert set(examples_of(session, CLEAR, personality_id, newest=2)) == {"Second.", "Third."}


def test_without_answers_there_are_no_examples(session: Session, personality_id: int) -> None:
    assert examples_of(session, learn_taste(session, personality_id, EVERYONE), personality_id, 300) == []
