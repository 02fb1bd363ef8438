"""How many pairs the next round could make: new votes and suggestions, counted by question."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from storage.database.enums import PairSource
from storage.releases.versions import Version
from storage.settings.sections import Settings
from storage.training.evidence import NewPairs, count_new_pairs
from storage.votes.votes import Vote
from tests.past import add_round, add_version, pair
from tests.seeding import ALICE, BASE_REVISION, BOB, add_correction, add_reply, vote

UP, DOWN = Vote.UP, Vote.DOWN


def count(session: Session, parent: Version | None = None) -> NewPairs:
    return count_new_pairs(session, 1, Settings(), BASE_REVISION, parent)


def ask(session: Session, question: str, *votes: Vote | None) -> list[int]:
    """Add an answer to the question for each vote, and return their ids."""
    replies = [add_reply(session, prompt=question, answer=f"{question} {i}") for i in range(len(votes))]
    for reply_id, value in zip(replies, votes, strict=True):
        if value is not None:
            vote(session, reply_id, ALICE, value)
    return replies


@pytest.mark.usefixtures("personality_id")
class TestNewPairs:
    def test_without_votes_there_are_none(self, session):
        ask(session, "a", None, None)
        assert count(session) == NewPairs(0, 0, 0)

    def test_a_question_with_a_liked_and_a_disliked_answer_counts_once(self, session):
        ask(session, "a", UP, DOWN, DOWN)
        ask(session, "b", UP)
        ask(session, "c", DOWN, None)
        assert count(session) == NewPairs(compared=1, suggestions=0, lone=2)

    def test_an_answer_that_members_disagree_about_counts_nothing(self, session):
        (reply_id,) = ask(session, "a", UP)
        vote(session, reply_id, BOB, DOWN)
        assert count(session) == NewPairs(0, 0, 0)

    def test_pairs_that_the_parent_was_trained_on_are_not_new(self, session):
        liked, disliked = ask(session, "a", UP, DOWN)
        (lone,) = ask(session, "b", UP)
        (corrected,) = ask(session, "c", None)
        suggestion = add_correction(session, corrected, "better")
        assert count(session) == NewPairs(compared=1, suggestions=1, lone=1)
        pairs = [
            pair(liked, disliked),
            pair(lone, add_reply(session, prompt="b"), source=PairSource.LONE_VOTE),
            pair(None, corrected, source=PairSource.CORRECTION, correction_id=suggestion),
        ]
        version = add_version(session, add_round(session, 1, pairs))
        assert count(session, version) == NewPairs(0, 0, 0)
        assert count(session).total == 2
        another = add_reply(session, prompt="a", answer="worse still")
        vote(session, another, ALICE, DOWN)
        assert count(session, version) == NewPairs(compared=1, suggestions=0, lone=0)

    def test_data_that_must_not_be_trained_on_is_left_out(self, session):
        reply_id = add_reply(session, basis=None)
        vote(session, reply_id, ALICE, UP)
        add_correction(session, reply_id, "better")
        assert count(session) == NewPairs(0, 0, 0)
