"""Each voter's share of a round: its cap, and its influence, measured by leaving the voter out. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt

from storage.database.enums import NOBODY
from storage.members import Pseudonym
from storage.training.evidence import RatedReply, WrittenCorrection
from storage.training.rounds import RoundVoter
from storage.wording import count, tenths
from trainer.data.pairs import Pair, Rows

CROWD = 2.0
"""With too few voters for the configured share, nobody carries more than this many times an equal share."""
NAMED_VOTERS = 100
"""Most voters whose share of a round is stored."""
Rebuild = Callable[[Sequence[RatedReply], Sequence[WrittenCorrection]], Sequence[Pair]]


def shares(pairs: Sequence[Pair]) -> dict[Pseudonym, float]:
    """Return {voter: share of the pairs' weight}; pairs that the operator imported have no voter."""
    whole = sum(pair.weight for pair in pairs)
    return {voter: total / whole for voter, total in _totals(pairs).items()}


def count_voters(
    pairs: Iterable[Pair], replies: Iterable[RatedReply], corrections: Iterable[WrittenCorrection]
) -> float:
    """Count the people behind the pairs, each by their heaviest vote or correction relative to the heaviest of all.

    If new accounts counted in full, a few of them could lower the largest share until everybody had as little influence
    as they have.
    """
    heaviest: dict[Pseudonym, float] = defaultdict(float)
    for reply in replies:
        for vote in reply.votes:
            heaviest[vote.voter] = max(heaviest[vote.voter], vote.weight)
    for correction in corrections:
        heaviest[correction.author] = max(heaviest[correction.author], correction.weight)
    weights = [heaviest[voter] for voter in _totals(pairs)]
    full = max(weights, default=1.0)
    return sum(weight / full for weight in weights)


def largest_share(max_share: float, voters: float) -> float:
    """Return the largest share among that many voters: a share below an equal one cannot hold for everybody."""
    return max_share if voters * max_share >= 1 or not voters else min(1.0, CROWD / voters)


def cap_voters(pairs: Sequence[Pair], max_share: float, voters: float) -> list[Pair]:
    """Return the pairs with weights lowered so that no voter carries more than the largest share of what remains.

    Each voter's part of every pair is scaled by that voter's factor, which is 1 below the cap. `voters` comes from
    `count_voters`.
    """
    totals = _totals(pairs)
    if not totals:
        return list(pairs)
    level = _level(sorted(totals.values()), largest_share(max_share, voters))
    factors = {voter: level / total for voter, total in totals.items() if total > level}
    return [_scaled(pair, factors) for pair in pairs]


def _totals(pairs: Iterable[Pair]) -> dict[Pseudonym, float]:
    """Return {voter: weight} for voters with a positive weight."""
    totals: dict[Pseudonym, float] = defaultdict(float)
    for pair in pairs:
        for voter, share in pair.backers:
            totals[voter] += pair.weight * share
    return {voter: total for voter, total in totals.items() if total > 0 and voter != NOBODY}


def _level(totals: Sequence[float], max_share: float) -> float:
    """Return the highest L for which L <= max_share * sum(min(total, L)); `totals` are ascending.

    With the k largest at L: L = max_share * (sum of the rest + k * L). The smallest k whose rest fits below L is right.
    """
    rest = sum(totals)
    for capped, largest in enumerate(reversed(totals)):
        room = 1 - capped * max_share
        if room <= 0:
            break
        level = max_share * rest / room
        if largest <= level:
            return level
        rest -= largest
    return totals[0]


def _scaled(pair: Pair, factors: Mapping[Pseudonym, float]) -> Pair:
    if not any(voter in factors for voter, _ in pair.backers):
        return pair
    kept = [(voter, share * factors.get(voter, 1.0)) for voter, share in pair.backers]
    factor = sum(share for _, share in kept)
    backers = tuple((voter, share / factor) for voter, share in kept)
    return replace(pair, weight=pair.weight * factor, backers=backers)


def few_voters_note(voters: int, by_weight: float, max_share: float) -> Iterator[str]:
    """Yield a note if there are too few voters to apply the configured limit per voter."""
    largest = largest_share(max_share, by_weight)
    if largest != max_share:
        worth = f" (by weight {tenths(by_weight)})" if tenths(by_weight) != tenths(voters) else ""
        limit = f"{max_share * 100:g} % limit per voter"
        applied = f"the {limit} is not applied" if largest == 1 else f"the {limit} is raised to {largest * 100:.0f} %"
        yield f"only {count(voters, 'person', 'people')}{worth} voted, so {applied}"


def round_voters(
    pairs: Sequence[Pair], taught: Iterable[RatedReply], corrections: Iterable[WrittenCorrection], rebuild: Rebuild
) -> tuple[RoundVoter, ...]:
    """Return whose votes carry these pairs or would change what the `taught` replies give, most influential first."""
    carried, changes = shares(pairs), influences(taught, corrections, rebuild)
    voters = [RoundVoter(id_, carried.get(id_, 0.0), changes.get(id_, 0.0)) for id_ in carried.keys() | changes.keys()]
    voters.sort(key=lambda voter: (-voter.influence, -voter.share, voter.pseudonym))
    return tuple(voter for voter in voters[:NAMED_VOTERS] if voter.influence or voter.share)


def influences(
    replies: Iterable[RatedReply], corrections: Iterable[WrittenCorrection], rebuild: Rebuild
) -> dict[Pseudonym, float]:
    """Return {voter: share of the weight of all pairs that would appear, disappear or change without that person}.

    `rebuild` makes the pairs of one prompt; it is called again for each person who voted on it.
    """
    replies_to, corrections_to = _by_prompt(replies, corrections)
    changes: dict[Pseudonym, float] = defaultdict(float)
    whole = 0.0
    for prompt, answers in replies_to.items():
        written = corrections_to[prompt]
        before = _weights(rebuild(answers, written))
        whole += sum(before.values())
        for voter in _people(answers, written):
            remaining = [correction for correction in written if correction.author != voter]
            after = _weights(rebuild([_without(answer, voter) for answer in answers], remaining))
            changes[voter] += sum(abs(before[rows] - after[rows]) for rows in before.keys() | after.keys())
    return {voter: change / whole for voter, change in changes.items()} if whole else {}


def _by_prompt(
    replies: Iterable[RatedReply], corrections: Iterable[WrittenCorrection]
) -> tuple[dict[str, list[RatedReply]], dict[str, list[WrittenCorrection]]]:
    replies_to, corrections_to = defaultdict(list), defaultdict(list)
    prompt_of = {}
    for reply in replies:
        replies_to[reply.prompt].append(reply)
        prompt_of[reply.id] = reply.prompt
    for correction in corrections:
        if correction.reply_id in prompt_of:
            corrections_to[prompt_of[correction.reply_id]].append(correction)
    return replies_to, corrections_to


def _people(replies: Iterable[RatedReply], corrections: Iterable[WrittenCorrection]) -> set[Pseudonym]:
    voters = {vote.voter for reply in replies for vote in reply.votes}
    return (voters | {correction.author for correction in corrections}) - {NOBODY}


def _weights(pairs: Iterable[Pair]) -> dict[Rows, float]:
    return defaultdict(float, {pair.rows: pair.weight for pair in pairs})


def _without(reply: RatedReply, voter: Pseudonym) -> RatedReply:
    return replace(reply, votes=tuple(vote for vote in reply.votes if vote.voter != voter))


def label_noise(replies: Iterable[RatedReply]) -> float | None:
    """Return the rate of wrong votes that explains how often two members disagree on one answer, or None.

    If each vote is wrong with probability e, two votes on an answer differ with probability d = 2e(1 - e), so
    e = (1 - sqrt(1 - 2d)) / 2. Votes count by weight; None if no answer has two votes.
    """
    differing = both = 0.0
    for reply in replies:
        squares = sum(vote.weight**2 for vote in reply.votes)
        pairs_of_votes = (reply.up + reply.down) ** 2 - squares
        differing += 2 * reply.up * reply.down
        both += pairs_of_votes
    if not both:
        return None
    return (1 - sqrt(max(0.0, 1 - 2 * differing / both))) / 2
