"""Weak votes: what they say is learned from votes, and nobody can buy a taste with them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import Basis, WeakVote
from storage.database.tables import FollowUpRow
from storage.members import Pseudonym, read_pseudonyms
from storage.models.base_model import BaseModel
from storage.privacy.consent import give_consent, withdraw_consent
from storage.privacy.erasure import delete_member
from storage.settings.sections import PrivacySettings, Settings, VoteSettings
from storage.taste.evidence import read_taste_evidence
from storage.taste.learning import TasteData, arrange, learn
from storage.taste.measures import measure_style, scaled
from storage.taste.weak_evidence import MOST_PER_VOTE, WeakSign, capped
from storage.taste.weak_votes import arrange_signs
from storage.votes.follow_ups import note_follow_up, watch_follow_up
from storage.votes.votes import Vote
from tests.seeding import ALICE, BASE_REVISION, BOB, add_reply, vote
from tests.storage.taste.test_learning import brief, compose, votes_by
from trainer.data.survey import survey_votes

BASE = BaseModel("tiny", Path("unused"), BASE_REVISION, "LlamaForCausalLM")
KINDS = ("thanked", "went on", "asked again")
SETTINGS = Settings(votes=VoteSettings(weak=KINDS, account_age_days=0, membership_days=0))
NO_REPLY = 10_000
"""Added to the place of an answer that nobody votes on."""


def with_weak(
    votes: TasteData, happens: Callable[[str, int], float], watched: int = 400, busiest: int = 1
) -> TasteData:
    """Return the votes, and how ten askers went on after other answers; the first is answered `busiest` times as often.

    `happens` returns the probability of that, given the answer and the asker.
    """
    rng = random.Random(1)
    answers = [compose(rng) for _ in range(watched)]
    askers = rng.choices(range(10), [busiest, *[1] * 9], k=watched)
    signs = [
        WeakSign(NO_REPLY + place, Pseudonym(1 + asker), WeakVote.WENT_ON, rng.random() < happens(answer, asker), 1.0)
        for place, (answer, asker) in enumerate(zip(answers, askers, strict=True))
    ]
    rows = dict(enumerate(scaled(np.array([measure_style(answer) for answer in answers])), start=NO_REPLY))
    fair = capped(signs, SETTINGS.votes.max_voter_share, float(len(votes)))
    return TasteData(votes.thumbs, votes.choices, votes.order, votes.names, arrange_signs(fair, rows))


@pytest.fixture(scope="module")
def votes() -> TasteData:
    opinions, answers = votes_by(brief, 200)
    return arrange(opinions, {place: np.array(measure_style(answer)) for place, answer in enumerate(answers)})


def worth(thumbs: float) -> Callable[[str, int], float]:
    def happens(answer: str, _asker: int) -> float:
        share = brief(answer)
        return 1 / (1 + math.exp(0.5 - thumbs * math.log(share / (1 - share))))

    return happens


@pytest.mark.parametrize(("thumbs", "low", "high"), [(0.0, 0.0, 0.12), (0.3, 0.2, 0.55), (1.0, 0.7, 1.0)])
def test_it_is_found_out_what_going_on_means(votes: TasteData, thumbs: float, low: float, high: float) -> None:
    weak = learn(with_weak(votes, worth(thumbs))).weak
    assert weak is not None
    (meaning,) = weak.meanings
    assert low <= meaning.weight <= high


def test_weak_votes_alone_teach_nothing_and_never_prove_a_taste(votes: TasteData) -> None:
    few = votes.before(8)
    found, alone = learn(with_weak(few, worth(1.0))), learn(few)
    assert found.weak is None
    assert found.posterior.mean == pytest.approx(alone.posterior.mean)
    assert learn(with_weak(votes, worth(1.0))).evidence == learn(votes).evidence


def test_one_busy_member_cannot_turn_the_taste(votes: TasteData) -> None:
    def against(answer: str, asker: int) -> float:
        return 1 - brief(answer) if asker == 0 else worth(0.3)(answer, asker)

    shown = [compose(random.Random(seed)) for seed in range(60)]
    liked = np.array([brief(answer) > 0.5 for answer in shown])
    for busiest in (1, 100):
        score = learn(with_weak(votes, against, busiest=busiest)).score(shown)
        assert (score[liked][:, None] > score[~liked]).mean() > 0.95


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=60), st.floats(0.0, 100.0))
def test_caps_hold_whatever_happened(done: list[tuple[int, bool]], of_votes: float) -> None:
    signs = [WeakSign(n, Pseudonym(who), WeakVote.WENT_ON, is_so, 1.0) for n, (who, is_so) in enumerate(done)]
    found = capped(signs, 0.1, of_votes)
    assert all(0 < sign.weight <= 1 for sign in found)
    assert sum(sign.weight for sign in found if sign.happened) <= MOST_PER_VOTE * of_votes + 1e-9


def test_a_hundred_replies_of_one_member_count_like_a_few(session: Session) -> None:
    signs = [WeakSign(n, Pseudonym(1), WeakVote.WENT_ON, True, 1.0) for n in range(100)]
    signs += [WeakSign(1_000 + n, Pseudonym(2 + n % 9), WeakVote.WENT_ON, True, 1.0) for n in range(45)]
    found = capped(signs, 0.1, 1_000.0)
    whole = sum(sign.weight for sign in found)
    assert sum(sign.weight for sign in found if sign.voter == 1) / whole < 0.2


# Rows


def answered(session: Session, said: WeakVote | None = WeakVote.THANKED, author: int = ALICE, **more: object) -> int:
    reply_id = add_reply(session, author_id=author, **more)  # pyrefly: ignore[bad-argument-type]
    session.add(FollowUpRow(reply_id=reply_id, said=said, message_id=reply_id, said_at=utc_now()))
    return reply_id


def signs_of(session: Session, settings: Settings = SETTINGS) -> dict[int, set[str]]:
    """Return what happened, by answer, if one more voter has voted."""
    session.flush()
    found = read_taste_evidence(session, 1, settings).weak
    return {
        one.reply_id: {str(sign.kind) for sign in found if sign.reply_id == one.reply_id and sign.happened}
        for one in found
    }


@pytest.fixture
def others(session: Session, personality_id: int) -> None:
    """Votes of somebody else: without any, weak votes weigh nothing."""
    for _ in range(10):
        vote(session, add_reply(session, author_id=BOB), BOB, Vote.UP)


def test_a_vote_of_the_same_member_replaces_what_they_did(session: Session, others: None) -> None:
    answer, other = answered(session), answered(session)
    assert signs_of(session) == {answer: {"thanked"}, other: {"thanked"}}
    vote(session, other, BOB, Vote.UP)
    vote(session, answer, ALICE, Vote.DOWN)
    assert answer not in signs_of(session)
    assert signs_of(session)[other] == {"thanked"}
    (opinion,) = [one for one in read_taste_evidence(session, 1, SETTINGS).opinions if one.reply_id == answer]
    assert not opinion.liked


def test_another_answer_asked_says_what_votes_show_it_to_say(session: Session, others: None) -> None:
    first = add_reply(session, source_message_id=77)
    again = add_reply(session, source_message_id=77)
    assert signs_of(session) == {first: {"asked again"}, again: set()}
    kept = read_taste_evidence(session, 1, Settings())
    assert [one.reply_id for one in kept.opinions if not one.liked] == [first]
    assert all(one.liked for one in read_taste_evidence(session, 1, SETTINGS).opinions)


def test_words_on_discord_count_while_their_writer_agrees(session: Session, others: None) -> None:
    allowed = SETTINGS.model_copy(update={"privacy": PrivacySettings(discord_training_permission=True)})
    answer = add_reply(session, basis=None)
    watch_follow_up(session, answer, allowed)
    assert not note_follow_up(session, answer, ALICE, 5, WeakVote.THANKED)
    give_consent(session, ALICE)
    watch_follow_up(session, answer, allowed)
    session.flush()
    assert note_follow_up(session, answer, ALICE, 5, WeakVote.THANKED)
    assert not note_follow_up(session, answer, ALICE, 6, WeakVote.WENT_ON)
    assert not note_follow_up(session, answer, BOB, 7, WeakVote.THANKED)
    assert signs_of(session, allowed)[answer] == {"thanked"}
    assert "thanked" not in signs_of(session, SETTINGS).get(answer, set())
    withdraw_consent(session, ALICE)
    assert answer not in signs_of(session, allowed)
    assert session.get(FollowUpRow, answer) is None


def test_deleted_data_takes_weak_votes_along(session: Session, others: None) -> None:
    answer = answered(session, basis=Basis.LOCAL, speakers=(BOB,))
    delete_member(session, ALICE)
    session.expire_all()
    assert session.get(FollowUpRow, answer) is None


def test_off_by_default(session: Session, others: None) -> None:
    answered(session)
    assert read_taste_evidence(session, 1, Settings()).weak == ()


def test_whoever_cast_a_weak_vote_is_among_the_voters_of_a_round(session: Session, personality_id: int) -> None:
    """Otherwise a version would not be marked when they delete their data."""
    rng = random.Random(3)
    for place in range(60):
        answer = compose(rng)
        vote(
            session,
            add_reply(session, author_id=BOB, answer=answer),
            200 + place % 10,
            Vote.UP if brief(answer) > 0.5 else Vote.DOWN,
        )
        other = compose(rng)
        goes_on = rng.random() < (0.8 if brief(other) > 0.5 else 0.2)
        answered(session, WeakVote.WENT_ON if goes_on else None, 300 + place % 10, answer=other)
    survey = survey_votes(session, SETTINGS, BASE, personality_id)
    cast_weak = set(map(read_pseudonyms(session).of, range(300, 310)))
    assert cast_weak <= {voter for voter, weight in survey.taste_weights.items() if weight > 0}
