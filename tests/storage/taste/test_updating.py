"""A taste that is kept up to date vote by vote is the one that is learned from all rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.database.tables import ReplyRow
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import withdraw_consent
from storage.settings.sections import PrivacySettings, Settings
from storage.taste.learning import MANY, UNJUDGED, arrange, learn, learn_more
from storage.taste.updating import KnownTaste, learn_all, learn_votes_on
from storage.votes.arenas import PickGesture, pick, read_arena_answers
from storage.votes.votes import Vote
from tests.past import quarantine
from tests.seeding import ALICE, BOB, CAROL, add_correction, add_reply
from tests.storage.taste.test_learning import EVERYONE, POOL, brief, choices_by, equal, later, measures_of, votes_by
from tests.storage.votes.test_arenas import opened
from tests.storage.votes.test_weights import vote_at

VOTES = 60


@pytest.mark.parametrize("step", [1, 7, 45])
def test_votes_that_are_added_are_predicted_and_learned_as_if_they_had_been_there(step: int) -> None:
    opinions, answers = votes_by(brief, VOTES)
    measures = measures_of(answers)
    whole = learn(arrange(opinions, measures))
    first = UNJUDGED - 5
    taste = learn(arrange(opinions[:first], measures))
    for start in range(first, VOTES, step):
        taste = learn_more(taste, opinions[start : start + step], measures)
    assert equal(taste.data, whole.data)
    assert taste.e_value == pytest.approx(whole.e_value, rel=1e-6)
    assert np.corrcoef(taste.score(answers), whole.score(answers))[0, 1] > 0.99


def test_one_newton_step_for_each_of_many_votes_finds_the_same_taste() -> None:
    opinions, answers = votes_by(brief, 300)
    votes = [one._replace(given_at=later(i)) for i, one in enumerate(opinions * 8)]
    measures = measures_of(answers)
    taste = learn(arrange(votes[:MANY], measures))
    for start in range(MANY, MANY + 30):
        taste = learn_more(taste, votes[start : start + 1], measures)
    whole = learn(arrange(votes[: MANY + 30], measures))
    assert np.corrcoef(taste.score(answers), whole.score(answers))[0, 1] > 0.999


def test_votes_are_added_after_choices() -> None:
    choices, answers = choices_by(brief, 30)
    opinions, more = votes_by(brief, 20)
    moved = [
        one._replace(reply_id=one.reply_id + len(answers), given_at=later(100 + i)) for i, one in enumerate(opinions)
    ]
    measures = measures_of([*answers, *more])
    taste = learn_more(learn(arrange(choices, measures)), moved, measures)
    whole = learn(arrange([*choices, *moved], measures))
    assert equal(taste.data, whole.data)
    assert taste.e_value == pytest.approx(whole.e_value, rel=1e-6)


def test_votes_on_answers_without_measures_are_left_out() -> None:
    opinions, answers = votes_by(brief, 30)
    taste = learn(arrange(opinions, measures_of(answers)))
    assert equal(learn_more(taste, opinions[:1], {}).data, taste.data)


def test_ten_thousand_clear_votes_give_a_finite_e_value() -> None:
    opinions, answers = votes_by(brief, 300)
    votes = [one._replace(given_at=later(i)) for i, one in enumerate(opinions * 20)]
    assert 1e20 < learn(arrange(votes, measures_of(answers))).e_value < np.inf


# From rows


@pytest.fixture
def replies(session: Session) -> list[int]:
    """Thirty answers, of which the first twenty-five have a vote each."""
    reply_ids = [add_reply(session, prompt=f"{i}", answer=answer) for i, answer in enumerate(POOL)]
    for i, reply_id in enumerate(reply_ids[:25]):
        vote_at(session, reply_id, (ALICE, BOB)[i % 2], Vote.UP if i % 3 else Vote.DOWN, later(i))
    return reply_ids


def update_after(session: Session, personality_id: int, change: Callable[[], int]) -> tuple[KnownTaste, KnownTaste]:
    """Return the taste that is updated after the change of votes on an answer, and the one learned from all rows."""
    before = learn_all(session, personality_id, EVERYONE)
    reply_id = change()
    session.flush()
    session.expire_all()
    updated = learn_votes_on(session, personality_id, EVERYONE, before, {reply_id})
    return updated, learn_all(session, personality_id, EVERYONE)


def test_a_new_vote_is_added_without_reading_the_others(
    session: Session, personality_id: int, replies: list[int]
) -> None:
    def change() -> int:
        vote_at(session, replies[27], CAROL, Vote.UP, later(40))
        other = ensure_personality(session, "other")
        session.execute(update(ReplyRow).where(ReplyRow.id.in_(replies[:25])).values(personality_id=other))
        return replies[27]

    updated, _ = update_after(session, personality_id, change)
    assert (len(updated.taste.data), updated.taste.data.voters) == (26, 3)


Change = Callable[[Session, int, list[int]], int]
"""Changes something about an answer, and returns its id."""


def voting(place: int, *votes: tuple[int, Vote, int, bool]) -> Change:
    """Return a change by these votes on the answer: (member, vote, minute, whether it is added)."""

    def change(session: Session, _personality_id: int, replies: list[int]) -> int:
        for user_id, value, minute, added in votes:
            vote_at(session, replies[place], user_id, value, later(minute), added=added)
        return replies[place]

    return change


def vote_in_quarantine(session: Session, personality_id: int, replies: list[int]) -> int:
    vote_at(session, replies[27], CAROL, Vote.UP, later(40))
    quarantine(session, 0, [(replies[27], CAROL)])
    return replies[27]


def vote_after_a_suggestion(session: Session, _personality_id: int, replies: list[int]) -> int:
    add_correction(session, replies[28], "better", author_id=CAROL)
    vote_at(session, replies[28], CAROL, Vote.UP, later(40) + timedelta(days=9_000))
    return replies[28]


def pick_in_an_arena(session: Session, personality_id: int, _replies: list[int]) -> int:
    arena = opened(session, personality_id, ["tea", "coffee"])
    pick(session, arena.id, CAROL, 1, PickGesture.PRESSED)
    return read_arena_answers(session, arena.id)[0].reply_id


def opt_out(session: Session, _personality_id: int, replies: list[int]) -> int:
    withdraw_consent(session, BOB)
    return replies[3]


CHANGES: dict[str, Change] = {
    "a vote on another answer": voting(27, (CAROL, Vote.UP, 40, True)),
    "another vote on an answer": voting(3, (CAROL, Vote.DOWN, 40, True)),
    "a vote taken back": voting(4, (ALICE, Vote.UP, 40, False)),
    "a vote turned": voting(4, (ALICE, Vote.UP, 40, False), (ALICE, Vote.DOWN, 41, True)),
    "a vote from before": voting(27, (CAROL, Vote.UP, -5, True)),
    "a vote in quarantine": vote_in_quarantine,
    "a vote after a suggestion": vote_after_a_suggestion,
    "a pick in an arena": pick_in_an_arena,
    "an opt-out": opt_out,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_after_any_change_the_taste_is_the_one_of_all_rows(
    session: Session, personality_id: int, replies: list[int], change: Change
) -> None:
    updated, whole = update_after(session, personality_id, lambda: change(session, personality_id, replies))
    assert updated.taste.opinions == whole.taste.opinions
    assert equal(updated.taste.data, whole.taste.data)
    assert updated.taste.e_value == pytest.approx(whole.taste.e_value, rel=1e-6)


def test_nothing_is_added_once_the_operator_switches_it_off(
    session: Session, personality_id: int, replies: list[int]
) -> None:
    known = learn_all(session, personality_id, EVERYONE)
    off = Settings(privacy=PrivacySettings(learn_from_reactions=False))
    assert len(learn_votes_on(session, personality_id, off, known, {replies[0]}).taste.data) == 0


def test_votes_on_very_many_answers_are_learned_from_all_rows(
    session: Session, personality_id: int, replies: list[int]
) -> None:
    known = learn_all(session, personality_id, EVERYONE)
    vote_at(session, replies[27], CAROL, Vote.UP, later(40))
    updated = learn_votes_on(session, personality_id, EVERYONE, known, set(range(100_000)))
    assert equal(updated.taste.data, learn_all(session, personality_id, EVERYONE).taste.data)
