"""How much one voter counts at most, and what that does to a personality's taste."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from storage.database.enums import Origin
from storage.members import Pseudonym
from storage.settings.sections import Settings, VoteSettings
from storage.taste.learning import learn_taste, read_taste_data
from storage.taste.opinions import read_taste_opinions
from storage.votes.comparisons import Better, compare
from storage.votes.voter_caps import cap_factors
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events
from tests.seeding import BOB, add_reply, message_of, pseudonyms_of, vote
from tests.storage.taste.test_learning import LONG, SHORT, brief, compose

MAX_SHARE = 0.1
some_totals = st.lists(st.floats(0.1, 100.0), min_size=1, max_size=30)
max_shares = st.floats(0.02, 0.5)


def factors_of(totals: list[float], max_share: float = MAX_SHARE) -> list[float]:
    found = cap_factors({Pseudonym(1 + i): total for i, total in enumerate(totals)}, max_share)
    return [found.get(Pseudonym(1 + i), 1.0) for i in range(len(totals))]


def counted(totals: list[float], max_share: float = MAX_SHARE) -> list[float]:
    """Return what each voter's votes count together."""
    return [total * factor for total, factor in zip(totals, factors_of(totals, max_share), strict=True)]


@pytest.mark.parametrize(
    "totals", [[], [3.0], [200.0], [200.0, 200.0], [5.0] * 9, [0.1] * 40, [4.0, 5.0, 6.0, 5.0]], ids=str
)
def test_somebody_alone_and_equals_count_in_full(totals: list[float]) -> None:
    assert factors_of(totals) == [1.0] * len(totals)


def test_one_busy_voter_among_ten_counts_for_twice_an_equal_share() -> None:
    found = counted([200.0, *[5.0] * 9])
    assert found[1:] == [5.0] * 9
    assert found[0] / sum(found) == pytest.approx(0.2)


def test_one_busy_voter_among_many_counts_for_the_largest_share() -> None:
    found = counted([500.0, *[5.0] * 40])
    assert found[1:] == [5.0] * 40
    assert found[0] / sum(found) == pytest.approx(MAX_SHARE)


def test_a_share_of_one_turns_the_cap_off() -> None:
    assert cap_factors({Pseudonym(1): 500.0, Pseudonym(2): 1.0, Pseudonym(3): 1.0}, 1.0) == {}


@given(totals=some_totals, max_share=max_shares)
def test_nobody_is_raised_and_whoever_said_more_never_counts_less(totals: list[float], max_share: float) -> None:
    found = counted(sorted(totals), max_share)
    assert all(0 < factor <= 1 for factor in factors_of(totals, max_share))
    assert found == pytest.approx(sorted(found))


@given(totals=some_totals, max_share=max_shares, data=st.data())
@pytest.mark.threat("T46")
def test_one_more_vote_never_takes_much_from_others_and_never_lowers_what_its_voter_counts(
    totals: list[float], max_share: float, data: st.DataObject
) -> None:
    whose, weight = data.draw(st.integers(0, len(totals))), data.draw(st.floats(0.1, 1.0))
    before = [*totals, 0.0]
    after = [total + weight * (i == whose) for i, total in enumerate(before)]
    for i, (old, new) in enumerate(zip(counted(before, max_share), counted(after, max_share), strict=True)):
        # The worst: of a hundred votes, what makes a second whole person of newcomers takes 0.4.
        assert new >= old - 1e-9 if i == whose else new >= 0.5 * old


# Steering the taste of a server


def give_votes(session: Session, user_id: int, count: int, seed: int, *, contrary: bool = False) -> None:
    rng = random.Random(seed)
    for i in range(count):
        answer = compose(rng)
        liked = (brief(answer) > 0.5) is not contrary
        reply_id = add_reply(session, prompt=f"{user_id} {i}", answer=answer)
        vote(session, reply_id, user_id, Vote.UP if liked else Vote.DOWN)


@pytest.mark.threat("T43")
def test_one_member_with_two_hundred_votes_does_not_make_the_taste_of_nine(
    session: Session, personality_id: int
) -> None:
    for member in range(9):
        give_votes(session, 201 + member, 5, member)
    give_votes(session, BOB, 200, 99, contrary=True)
    taste = learn_taste(session, personality_id, Settings())
    short, long = taste.score([SHORT, LONG])
    assert short > long
    assert taste.may_teach
    uncapped = learn_taste(session, personality_id, Settings(votes=VoteSettings(max_voter_share=1.0)))
    short, long = uncapped.score([SHORT, LONG])
    assert short < long


@pytest.mark.threat("T47")
def test_a_louder_emoji_fills_its_members_share_sooner(session: Session, personality_id: int) -> None:
    for member in range(9):
        give_votes(session, 201 + member, 5, member)
    for i in range(20):
        reply_id = add_reply(session, prompt=f"{i}", answer=LONG)
        append_events(session, [VoteEvent(reply_id, Thumb(message_of(reply_id), BOB, "❤️"), added=True)])
    data = read_taste_data(session, read_taste_opinions(session, personality_id, Settings()))
    hearts = data.thumbs.weight[-20:]
    assert hearts.sum() == pytest.approx(counted([30.0, *[5.0] * 9])[0])
    assert hearts.sum() < 20  # as so many 👍 count before the cap


def test_thumbs_and_choices_of_one_voter_count_together(session: Session, personality_id: int) -> None:
    for member in range(9):
        give_votes(session, 201 + member, 5, member)
    give_votes(session, BOB, 10, 99)
    for i in range(20):
        first, second = add_reply(session, prompt=f"{i}"), add_reply(session, prompt=f"{i}", origin=Origin.ALTERNATIVE)
        compare(session, first, second, BOB, Better.FIRST)
    session.flush()
    read = read_taste_opinions(session, personality_id, Settings())
    (bob,) = pseudonyms_of(session, BOB)
    assert [one.weight for one in (*read.opinions, *read.choices)] == [1.0] * 75
    assert read.factors == {bob: counted([30.0, *[5.0] * 9])[0] / 30}
    data = read_taste_data(session, read)
    lowered = read.factors[bob]
    assert sorted(data.thumbs.weight.tolist()) == [lowered] * 10 + [1.0] * 45
    assert data.choices.weight.tolist() == [lowered] * 20
