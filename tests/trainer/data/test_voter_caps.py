"""Votes that cannot be bought: caps, leave-one-out influence, and the rate of wrong votes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database.enums import NOBODY, PairSource
from storage.training.evidence import RatedReply, WrittenCorrection
from storage.votes.votes import Vote
from storage.votes.weights import WeightedVote
from tests.trainer.rated import ANN, BEN, CAT, DAN, corrections, crowd, rated, replies, written
from trainer.data.pairs import Pair, PairSide, pair_corrections, pair_siblings
from trainer.data.voter_caps import cap_voters, count_voters, influences, label_noise, largest_share, shares

NEW = 99


def pair(id_: int, weight: float, *people: int) -> Pair:
    """Return a pair that people stand behind in equal parts."""
    behind = tuple((user_id, 1 / len(people)) for user_id in people)
    return Pair("p", PairSide("a", reply_id=id_), PairSide("b"), PairSource.SIBLINGS, weight, behind)


def alone(totals: dict[int, float]) -> list[Pair]:
    return [pair(id_, total, id_) for id_, total in totals.items()]


def weights(pairs: Sequence[Pair]) -> list[float]:
    return [pair.weight for pair in pairs]


# The cap


def test_shares_are_parts_of_the_whole_weight() -> None:
    assert shares([pair(1, 1.0, ANN, BEN), pair(2, 3.0, ANN)]) == {ANN: 3.5 / 4, BEN: 0.5 / 4}
    assert shares([]) == {}


def voted(members: Iterable[int]) -> list[RatedReply]:
    """Return an answer for each member, who likes it."""
    return [rated(id_, up=[id_]) for id_ in members]


def test_a_busy_voter_is_lowered_to_the_share_of_what_remains() -> None:
    """One with 11 of 20 among ten: at a cap of 1/4, L = (9 + L) / 4, so L = 3."""
    capped = cap_voters(alone({1: 11.0} | dict.fromkeys(range(2, 11), 1.0)), 0.25, voters=10)
    assert weights(capped) == pytest.approx([3.0] + [1.0] * 9)
    assert max(shares(capped).values()) == pytest.approx(0.25)


def test_two_busy_voters_are_lowered_together() -> None:
    """10 and 8 among eight: L = (6 + 2 L) / 4, so L = 3."""
    capped = cap_voters(alone({1: 10.0, 2: 8.0} | dict.fromkeys(range(3, 9), 1.0)), 0.25, voters=8)
    assert weights(capped) == pytest.approx([3.0, 3.0] + [1.0] * 6)


def test_a_capped_voter_gives_way_to_the_others_behind_the_same_pair() -> None:
    pairs = [pair(1, 1.0, ANN, BEN), pair(2, 3.5, ANN), *(pair(id_, 1.0, id_) for id_ in range(11, 18))]
    capped = cap_voters(pairs, 0.25, voters=9)
    # Ann has 4 of 11.5: L = (7.5 + L) / 4, so L = 2.5, and her part everywhere is worth 5/8.
    assert weights(capped) == pytest.approx([0.5 * 5 / 8 + 0.5, 3.5 * 5 / 8] + [1.0] * 7)
    assert dict(capped[0].backers) == pytest.approx({ANN: 5 / 13, BEN: 8 / 13})


@pytest.mark.parametrize(
    ("max_share", "voters", "share"),
    [(0.1, 10, 0.1), (0.1, 100, 0.1), (0.1, 9, 2 / 9), (0.1, 1, 1.0), (0.1, 0, 0.1), (1.0, 1, 1.0), (0.25, 3, 2 / 3)],
)
def test_too_few_voters_may_carry_twice_an_equal_share(max_share: float, voters: int, share: float) -> None:
    assert largest_share(max_share, voters) == pytest.approx(share)


def test_a_voter_without_weight_does_not_lower_the_cap_of_others() -> None:
    pairs = [*alone(dict.fromkeys(range(1, 10), 1.0)), pair(10, 0.0, 10)]
    assert cap_voters(pairs, 0.1, count_voters(pairs, voted(range(1, 11)), [])) == pairs


def test_new_accounts_that_hardly_count_do_not_level_everybody() -> None:
    """Ten voters of one tenth each would mean that nine members have no more to say than one account of an hour."""
    answers = [rated(id_, up=[id_]) for id_ in range(1, 10)] + [rated(10, up=[NEW], weight=0.001)]
    pairs = [*alone({id_: 3.0 + (id_ == 1) for id_ in range(1, 10)}), pair(10, 0.001, NEW)]
    voters = count_voters(pairs, answers, [])
    assert voters == pytest.approx(9.001)
    capped = cap_voters(pairs, 0.1, voters)
    assert capped == pairs
    assert shares(capped)[NEW] < 0.001


def test_members_of_a_new_server_are_as_many_as_they_are() -> None:
    answers = [rated(id_, up=[id_], weight=0.2) for id_ in range(1, 11)]
    assert count_voters([pair(id_, 1.0, id_) for id_ in range(1, 11)], answers, []) == 10


def test_a_member_who_only_writes_corrections_is_a_voter_too() -> None:
    assert count_voters([pair(1, 1.0, ANN), pair(2, 1.0, BEN)], voted([ANN]), [written(1, 1, author_id=BEN)]) == 2


def test_new_accounts_that_write_corrections_do_not_count_as_many_voters() -> None:
    """Else a few of them would lower the largest share of everybody."""
    corrections = [written(id_, 1, author_id=NEW + id_, weight=0.001) for id_ in range(20)]
    pairs = [*alone(dict.fromkeys(range(1, 10), 1.0)), *(pair(id_, 0.001, NEW + id_) for id_ in range(20))]
    assert count_voters(pairs, voted(range(1, 10)), corrections) == pytest.approx(9.02)


def test_imported_pairs_are_not_capped_and_belong_to_nobody() -> None:
    pairs = [*(pair(id_, 1.0, NOBODY) for id_ in range(100, 200)), *alone(dict.fromkeys(range(1, 11), 1.0))]
    capped = cap_voters(pairs, 0.1, count_voters(pairs, voted(range(1, 11)), []))
    assert capped == pairs
    assert shares(capped) == dict.fromkeys(range(1, 11), 1 / 110)


people = st.integers(1, 30)
backings = st.dictionaries(people, st.floats(0.01, 1.0), min_size=1, max_size=6)


@st.composite
def backed_pairs(draw: st.DrawFn) -> list[Pair]:
    found = draw(st.lists(st.tuples(st.floats(0.001, 1.0), backings), min_size=1, max_size=40))
    return [
        replace(pair(id_, weight, 1), backers=tuple((u, part / sum(parts.values())) for u, part in parts.items()))
        for id_, (weight, parts) in enumerate(found)
    ]


@given(backed_pairs(), st.floats(0.05, 1.0))
def test_no_voter_carries_more_than_the_largest_share(pairs: list[Pair], max_share: float) -> None:
    voters = count_voters(pairs, voted(range(1, 31)), [])
    assert voters == len(shares(pairs))
    capped = cap_voters(pairs, max_share, voters)
    carried = shares(capped)
    assert sum(carried.values()) == pytest.approx(1)
    most = max_share if voters >= 1 / max_share else min(1.0, 2 / voters)
    assert max(carried.values()) <= most + 1e-9
    before, after = totals(pairs), totals(capped)
    level = max(after.values())
    for old, new in zip(pairs, capped, strict=True):
        assert new.weight <= old.weight
        assert (new.rows, new.source) == (old.rows, old.source)
        assert sum(share for _, share in new.backers) == pytest.approx(1)
        if all(before[user_id] < level - 1e-9 for user_id, _ in old.backers):
            assert new == old, "a pair of voters below the cap keeps its weight"
    for user_id, total in before.items():
        assert after[user_id] == pytest.approx(min(total, level))


def totals(pairs: Sequence[Pair]) -> dict[int, float]:
    whole = sum(pair.weight for pair in pairs)
    return {user_id: share * whole for user_id, share in shares(pairs).items()}


# Influence


def siblings(answers: Sequence[RatedReply], written_ones: Sequence[WrittenCorrection]) -> list[Pair]:
    return [*pair_corrections(answers, written_ones), *pair_siblings(answers, 0.8)]


def test_influence_of_three_voters_by_hand() -> None:
    """Ann and Ben like the first answer, Cat dislikes the second: P = 9/10, weight 0.8.

    Without Ann or Ben it is 5/6, weight 2/3; without Cat 3/4, which is too little for a pair.
    """
    answers = [rated(1, up=[ANN, BEN]), rated(2, down=[CAT])]
    found = influences(answers, [], siblings)
    change = (0.8 - 2 / 3) / 0.8
    assert found == pytest.approx({ANN: change, BEN: change, CAT: 1.0}, abs=1e-6)


def test_a_voter_who_prevents_a_pair_has_influence() -> None:
    """Dan likes the answer that Cat dislikes: without him a pair of weight 2/3 would come."""
    answers = [rated(1, up=[ANN]), rated(2, down=[CAT], up=[DAN]), *in_another_prompt()]
    found = influences(answers, [], siblings)
    assert found[DAN] == pytest.approx(1.0)
    assert found[ANN] == 0.0


def in_another_prompt() -> list[RatedReply]:
    return [rated(8, up=[BEN], prompt="other"), rated(9, down=[BEN], prompt="other")]


def test_a_correction_goes_with_its_author_and_nobody_has_no_influence() -> None:
    answers = [rated(1, prompt="p"), rated(2, prompt="q"), rated(3, up=[ANN], prompt="r")]
    found = influences(answers, [written(1, 1, author_id=BEN), written(2, 2, author_id=NOBODY)], siblings)
    assert found == {ANN: 0.0, BEN: 0.5}
    assert influences([], [], siblings) == {}


@given(replies, corrections)
def test_influence_is_what_a_round_without_the_voter_would_differ_by(
    answers: list[RatedReply], written_ones: list[WrittenCorrection]
) -> None:
    found = influences(answers, written_ones, siblings)
    before = {pair.rows: pair.weight for pair in siblings(answers, written_ones)}
    for user_id, influence in found.items():
        remaining = [
            replace(answer, votes=tuple(ballot for ballot in answer.votes if ballot.voter != user_id))
            for answer in answers
        ]
        kept = [correction for correction in written_ones if correction.author != user_id]
        after = {pair.rows: pair.weight for pair in siblings(remaining, kept)}
        change = sum(abs(before.get(rows, 0) - after.get(rows, 0)) for rows in before.keys() | after.keys())
        assert influence == pytest.approx(change / sum(before.values()))


# Label noise


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 0.35])
def test_the_rate_of_flipped_votes_is_found(rate: float) -> None:
    chance = random.Random(3)
    answers = []
    for id_ in range(2_000):
        wants = chance.choice([True, False])
        says = {user_id: wants != (chance.random() < rate) for user_id in range(1, 5)}
        answers.append(rated(id_, up=[u for u in says if says[u]], down=[u for u in says if not says[u]]))
    assert label_noise(answers) == pytest.approx(rate, abs=0.02)


def test_noise_comes_from_disagreement_and_not_from_lone_votes() -> None:
    assert label_noise([rated(1, up=crowd(3)), rated(2, down=crowd(2))]) == 0.0
    assert label_noise([rated(1, up=[ANN]), rated(2, down=[BEN]), rated(3)]) is None


def test_one_quarrel_is_as_bad_as_a_coin() -> None:
    assert label_noise([rated(1, up=[ANN], down=[BEN])]) == 0.5


def test_light_votes_say_little_of_the_noise() -> None:
    """One pair of votes that agree; another, of a tenth of the weight, that does not: 2e(1 - e) = 0.1 / 1.1."""
    quarrel = (WeightedVote(ANN, Vote.UP, 1.0), WeightedVote(BEN, Vote.DOWN, 0.1))
    noise = label_noise([rated(1, up=[ANN, BEN]), RatedReply(2, "p", "a", quarrel)])
    assert noise is not None
    assert 2 * noise * (1 - noise) == pytest.approx(0.1 / 1.1)
