"""Votes that cannot be bought: caps, leave-one-out influence, and the rate of wrong votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database.enums import NOBODY, PairSource
from storage.training.feedback import RatedReply, WrittenCorrection
from tests.trainer.rated import ANN, BEN, CAT, DAN, corrections, rated, replies, written
from trainer.data.pairs import Pair, PairSide, RoundFeedback, pair_by_people
from trainer.data.voters import UNCAPPED, cap_voters, influences, shares

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


def test_a_busy_voter_is_lowered_to_the_share_of_what_remains() -> None:
    """One with 110 of 200 among ten: at a cap of 1/4, L = (90 + L) / 4, so L = 30."""
    capped = cap_voters(alone({1: 110.0} | dict.fromkeys(range(2, 11), 10.0)), 0.25)
    assert weights(capped) == pytest.approx([30.0] + [10.0] * 9)
    assert max(shares(capped).values()) == pytest.approx(0.25)


def test_two_busy_voters_are_lowered_together() -> None:
    """100 and 80 among eight: L = (60 + 2 L) / 4, so L = 30."""
    capped = cap_voters(alone({1: 100.0, 2: 80.0} | dict.fromkeys(range(3, 9), 10.0)), 0.25)
    assert weights(capped) == pytest.approx([30.0, 30.0] + [10.0] * 6)


def test_a_capped_voter_gives_way_to_the_others_behind_the_same_pair() -> None:
    pairs = [pair(1, 10.0, ANN, BEN), pair(2, 35.0, ANN), *(pair(id_, 10.0, id_) for id_ in range(11, 18))]
    capped = cap_voters(pairs, 0.25)
    # Ann has 40 of 115: L = (75 + L) / 4, so L = 25, and her part everywhere is worth 5/8.
    assert weights(capped) == pytest.approx([5 * 5 / 8 + 5, 35 * 5 / 8] + [10.0] * 7)
    assert dict(capped[0].backers) == pytest.approx({ANN: 5 / 13, BEN: 8 / 13})


def test_everybody_may_carry_a_few_pairs_whatever_share_that_is() -> None:
    assert cap_voters(alone({ANN: UNCAPPED, BEN: 1.0}), 0.1) == alone({ANN: UNCAPPED, BEN: 1.0})
    assert weights(cap_voters(alone({ANN: 100.0}), 0.1)) == pytest.approx([UNCAPPED])


def test_imported_pairs_and_those_of_the_taste_are_not_capped_and_belong_to_nobody() -> None:
    of_taste = replace(pair(200, 50.0, NOBODY), backers=())
    pairs = [*(pair(id_, 1.0, NOBODY) for id_ in range(100, 150)), of_taste, *alone(dict.fromkeys(range(1, 11), 1.0))]
    assert cap_voters(pairs, 0.1) == pairs
    assert shares(pairs) == dict.fromkeys(range(1, 11), 1 / 110)


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
@pytest.mark.threat("T42")
def test_no_voter_carries_more_than_the_largest_share_beyond_a_few_pairs(pairs: list[Pair], max_share: float) -> None:
    capped = cap_voters(pairs, max_share)
    before, after = totals(pairs), totals(capped)
    level = max(after.values())
    assert level <= max(UNCAPPED, max_share * sum(after.values())) + 1e-9
    for old, new in zip(pairs, capped, strict=True):
        assert new.weight <= old.weight
        assert (new.rows, new.source) == (old.rows, old.source)
        assert sum(share for _, share in new.backers) == pytest.approx(1)
        if all(before[user_id] < level - 1e-9 for user_id, _ in old.backers):
            assert new == old, "a pair of voters below the cap keeps its weight"
    for user_id, total in before.items():
        assert after[user_id] == pytest.approx(min(total, level))


@given(backed_pairs(), backed_pairs(), st.floats(0.05, 1.0))
def test_what_anybody_adds_lowers_no_other_voter(pairs: list[Pair], more: list[Pair], max_share: float) -> None:
    """And so not the weight of all of them together."""
    before, after = (totals(cap_voters(given, max_share)) for given in (pairs, [*pairs, *more]))
    for user_id, total in before.items():
        assert after[user_id] >= total - 1e-9


def totals(pairs: Sequence[Pair]) -> dict[int, float]:
    whole = sum(pair.weight for pair in pairs)
    return {user_id: share * whole for user_id, share in shares(pairs).items()}


# Influence


def test_influence_of_three_voters_by_hand() -> None:
    """Ann and Ben like the first answer, Cat dislikes the second: P = 9/10, weight 0.8.

    Without Ann or Ben it is 5/6, weight 2/3; without Cat 3/4, which is a weight of 1/2.
    """
    answers = [rated(1, up=[ANN, BEN]), rated(2, down=[CAT])]
    found = influences([RoundFeedback(tuple(answers))])
    change = (0.8 - 2 / 3) / 0.8
    assert found == pytest.approx({ANN: change, BEN: change, CAT: (0.8 - 0.5) / 0.8}, abs=1e-6)


def test_a_voter_who_prevents_a_pair_has_influence() -> None:
    """Dan likes the other answer: without him a pair of weight 1/3 would come, half of what there is."""
    answers = [rated(1, up=[ANN]), rated(2, up=[DAN]), *in_another_prompt()]
    found = influences(RoundFeedback(tuple(answers)).by_prompt().values())
    assert found == pytest.approx({ANN: 0.5, BEN: 1.0, DAN: 0.5})


def in_another_prompt() -> list[RatedReply]:
    return [rated(8, up=[BEN], prompt="other"), rated(9, down=[BEN], prompt="other")]


def test_a_correction_goes_with_its_author_and_nobody_has_no_influence() -> None:
    answers = [rated(1, prompt="p"), rated(2, prompt="q"), rated(3, up=[ANN], prompt="r")]
    by_two = (written(1, 1, author_id=BEN), written(2, 2, author_id=NOBODY))
    found = influences(RoundFeedback(tuple(answers), by_two).by_prompt().values())
    assert found == {BEN: 0.5}
    assert influences([]) == {}


@given(replies, corrections)
def test_influence_is_what_a_round_without_the_voter_would_differ_by(
    answers: list[RatedReply], written_ones: list[WrittenCorrection]
) -> None:
    feedback = RoundFeedback(tuple(answers), tuple(written_ones))
    found = influences(feedback.by_prompt().values())
    before = {pair.rows: pair.weight for pair in pair_by_people(feedback)}
    for user_id, influence in found.items():
        after = {pair.rows: pair.weight for pair in pair_by_people(feedback.without(user_id))}
        change = sum(abs(before.get(rows, 0) - after.get(rows, 0)) for rows in before.keys() | after.keys())
        assert influence == pytest.approx(change / sum(before.values()))
