"""Each voter's share of a round: its cap, and its influence, measured by leaving the voter out. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from storage.database.enums import NOBODY
from storage.members import Pseudonym
from storage.training.rounds import RoundVoter
from storage.votes.voter_caps import factors_within
from trainer.data.pairs import Pair, RoundFeedback, Rows, pair_by_people

UNCAPPED = 16.0
"""Weight that anybody may carry, however large a share of a small round it is: about as many pairs."""


def shares(pairs: Sequence[Pair]) -> dict[Pseudonym, float]:
    """Return {voter: share of the pairs' weight}; pairs that the operator imported have no voter."""
    whole = sum(pair.weight for pair in pairs)
    return {voter: total / whole for voter, total in _totals(pairs).items()}


def cap_voters(pairs: Sequence[Pair], max_share: float) -> list[Pair]:
    """Return the pairs with lower weights, so that a voter above UNCAPPED carries at most `max_share`.

    Each voter's part of every pair is scaled by that voter's factor. The limit rises with every weight, so nothing that
    anybody adds lowers what others carry. `largest_share`, which gives a few people more, would not ensure this.
    """
    factors = factors_within(_totals(pairs), max_share, UNCAPPED)
    return [_scaled(pair, factors) for pair in pairs]


def _totals(pairs: Iterable[Pair]) -> dict[Pseudonym, float]:
    """Return {voter: weight} for voters with a positive weight."""
    totals: dict[Pseudonym, float] = defaultdict(float)
    for pair in pairs:
        for voter, share in pair.backers:
            totals[voter] += pair.weight * share
    return {voter: total for voter, total in totals.items() if total > 0 and voter != NOBODY}


def _scaled(pair: Pair, factors: Mapping[Pseudonym, float]) -> Pair:
    if not any(voter in factors for voter, _ in pair.backers):
        return pair
    kept = [(voter, share * factors.get(voter, 1.0)) for voter, share in pair.backers]
    factor = sum(share for _, share in kept)
    backers = tuple((voter, share / factor) for voter, share in kept)
    return replace(pair, weight=pair.weight * factor, backers=backers)


def influences(feedback: Iterable[RoundFeedback]) -> dict[Pseudonym, float]:
    """Return {voter: share of the weight of all pairs that would appear, disappear or change without that voter}.

    `feedback` is the feedback on each prompt.
    """
    changes: dict[Pseudonym, float] = defaultdict(float)
    whole = 0.0
    for of_prompt in feedback:
        before = _weights(pair_by_people(of_prompt))
        whole += sum(before.values())
        for voter in of_prompt.people:
            after = _weights(pair_by_people(of_prompt.without(voter)))
            changes[voter] += sum(abs(before[rows] - after[rows]) for rows in before.keys() | after.keys())
    return {voter: change / whole for voter, change in changes.items()} if whole else {}


def _weights(pairs: Iterable[Pair]) -> dict[Rows, float]:
    return defaultdict(float, {pair.rows: pair.weight for pair in pairs})


def moved_share(said: Iterable[Pair], weighed: Iterable[Pair]) -> float:
    """Return the share of the weight of people's pairs that the taste added or removed when it weighed them."""
    before, after = _weights(said), _weights(weighed)
    rows = before.keys() | after.keys()
    whole = sum(max(before[one], after[one]) for one in rows)
    return sum(abs(before[one] - after[one]) for one in rows) / whole if whole else 0.0


def round_voters(
    of_people: Sequence[Pair],
    ranked: Sequence[Pair],
    feedback: Iterable[RoundFeedback],
    taste_weights: Mapping[Pseudonym, float],
    moved: float,
) -> tuple[RoundVoter, ...]:
    """Return all voters whose votes carry these pairs or would change them, the most influential first.

    The weight of pairs that the taste ranked is split among the voters behind the taste, in proportion to
    `taste_weights`. That part also counts as their influence on these pairs, and so does their part of `moved`, the
    share that the taste moved of people's own pairs.
    """
    own, by_taste = (sum(pair.weight for pair in pairs) for pairs in (of_people, ranked))
    whole = own + by_taste
    if not whole:
        return ()
    carried, changes = shares(of_people), influences(feedback)
    taste_total = sum(taste_weights.values()) or 1.0
    voters = []
    for voter in carried.keys() | changes.keys() | taste_weights.keys():
        part = taste_weights.get(voter, 0.0) / taste_total
        share = (own * carried.get(voter, 0.0) + by_taste * part) / whole
        influence = (own * (changes.get(voter, 0.0) + moved * part) + by_taste * part) / whole
        if share or influence:
            voters.append(RoundVoter(voter, share, influence))
    return tuple(sorted(voters, key=lambda voter: (-voter.influence, -voter.share, voter.pseudonym)))
