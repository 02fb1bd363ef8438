"""How many pairs people's votes, choices and suggestions can make, counted by question."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session

from storage.settings.sections import PrivacySettings, Settings
from storage.taste.opinions import Preference
from storage.training.feedback import PairMaterial, count_pair_material
from storage.training.trainable import TrainingScope
from storage.votes.votes import Vote
from storage.votes.weights import read_weighted_votes
from tests.seeding import ALICE, BASE_REVISION, BOB, add_correction, add_reply, vote

UP, DOWN = Vote.UP, Vote.DOWN


def count(session: Session, *choices: Preference) -> PairMaterial:
    votes = read_weighted_votes(session, 1, Settings().votes).by_reply
    return count_pair_material(
        session, TrainingScope(1, PrivacySettings(), BASE_REVISION), votes=votes, choices=choices
    )


def ask(session: Session, question: str, *votes: Vote | None, **columns: None) -> list[int]:
    """Add an answer to the question for each vote, and return their ids."""
    replies = [add_reply(session, prompt=question, answer=f"{question} {i}", **columns) for i in range(len(votes))]
    for reply_id, value in zip(replies, votes, strict=True):
        if value is not None:
            vote(session, reply_id, ALICE, value)
    return replies


def chose(chosen: int | None, *answers: int) -> Preference:
    return Preference(answers, chosen, 1, 1.0, datetime(2026, 11, 4, tzinfo=UTC))


@pytest.mark.usefixtures("personality_id")
class TestPairMaterial:
    def test_without_votes_there_are_none(self, session):
        ask(session, "a", None, None)
        assert count(session) == PairMaterial(0, 0, 0)

    def test_a_question_with_a_liked_and_a_disliked_answer_counts_once(self, session):
        ask(session, "a", UP, DOWN, DOWN)
        ask(session, "b", UP)
        ask(session, "c", DOWN, None)
        assert count(session) == PairMaterial(compared=1, choices=0, suggestions=0)

    def test_an_answer_that_members_disagree_about_counts_nothing(self, session):
        (reply_id,) = ask(session, "a", UP)
        vote(session, reply_id, BOB, DOWN)
        assert count(session) == PairMaterial(0, 0, 0)

    def test_a_question_whose_answers_somebody_chose_among_counts_once(self, session):
        first, second = ask(session, "a", None, None)
        third, fourth = ask(session, "b", None, None)
        choices = [chose(first, first, second), chose(second, first, second), chose(None, third, fourth)]
        assert count(session, *choices) == PairMaterial(compared=0, choices=1, suggestions=0)

    def test_data_that_must_not_be_trained_on_is_left_out(self, session):
        reply_id, other = ask(session, "a", UP, DOWN, basis=None)
        add_correction(session, reply_id, "better")
        assert count(session, chose(reply_id, reply_id, other)) == PairMaterial(0, 0, 0)
