"""How much of a round each voter carries: capped, and measured by leaving them out. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import sqrt

from storage.database.enums import NOBODY
from storage.members.pseudonyms import Pseudonym
from storage.training.evidence import RatedReply, WrittenCorrection
from trainer.data.pairs import Pair, Rows

CROWD = 2.0
"""Where voters are too few for the configured share, none carries more than this many times an equal one."""
Rebuild = Callable[[Sequence[RatedReply], Sequence[WrittenCorrection]], Sequence[Pair]]


def shares(pairs: Sequence[Pair]) -> dict[Pseudonym, float]:
    """Return {voter: share of the pairs' weight}; what the operator imported is nobody's."""
    whole = sum(pair.weight for pair in pairs)
    return {voter: total / whole for voter, total in _totals(pairs).items()}


def count_voters(
    pairs: Iterable[Pair], replies: Iterable[RatedReply], corrections: Iterable[WrittenCorrection]
) -> float:
    """Count the people behind the pairs, each by their heaviest vote or correction beside the heaviest of all.

    If new accounts counted in full, a few of them could lower the largest share until everybody had as little to say as
    they have.
    """
    heaviest: dict[Pseudonym, float] = defaultdict(float)
    for reply in replies:
        for ballot in reply.ballots:
            heaviest[ballot.voter] = max(heaviest[ballot.voter], ballot.weight)
    for correction in corrections:
        heaviest[correction.author] = max(heaviest[correction.author], correction.weight)
    weights = [heaviest[voter] for voter in _totals(pairs)]
    full = max(weights, default=1.0)
    return sum(weight / full for weight in weights)


def largest_share(max_share: float, voters: float) -> float:
    """Return the share that holds among that many voters: no share below an equal one can be kept by everybody."""
    return max_share if voters * max_share >= 1 or not voters else min(1.0, CROWD / voters)


def cap_voters(pairs: Sequence[Pair], max_share: float, voters: float) -> list[Pair]:
    """Return the pairs with weights lowered so that no voter carries more than the largest share of what remains.

    Each voter's part of every pair is scaled by a factor of their own, 1 for those below the cap. `voters` is how many
    there are, as `count_voters` counts.
    """
    totals = _totals(pairs)
    if not totals:
        return list(pairs)
    level = _level(sorted(totals.values()), largest_share(max_share, voters))
    factors = {voter: level / total for voter, total in totals.items() if total > level}
    return [_scaled(pair, factors) for pair in pairs]


def _totals(pairs: Iterable[Pair]) -> dict[Pseudonym, float]:
    """Return {voter: weight} of everyone who carries some."""
    totals: dict[Pseudonym, float] = defaultdict(float)
    for pair in pairs:
        for voter, share in pair.backers:
            totals[voter] += pair.weight * share
    return {voter: total for voter, total in totals.items() if total > 0 and voter != NOBODY}


def _level(totals: Sequence[float], max_share: float) -> float:
    """Return the highest L for which L <= max_share * sum(min(total, L)); `totals` are ascending.

    With the k largest at L: L = max_share * (sum of the rest + k * L). The least k whose rest fits below L is right.
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


def influences(
    replies: Iterable[RatedReply], corrections: Iterable[WrittenCorrection], rebuild: Rebuild
) -> dict[Pseudonym, float]:
    """Return {voter: share of the weight of all pairs that would come, go or change without that person}.

    `rebuild` makes the pairs of one prompt, and is asked again for each person who had a say in it.
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
    voters = {ballot.voter for reply in replies for ballot in reply.ballots}
    return (voters | {correction.author for correction in corrections}) - {NOBODY}


def _weights(pairs: Iterable[Pair]) -> dict[Rows, float]:
    return defaultdict(float, {pair.rows: pair.weight for pair in pairs})


def _without(reply: RatedReply, voter: Pseudonym) -> RatedReply:
    return replace(reply, ballots=tuple(ballot for ballot in reply.ballots if ballot.voter != voter))


def label_noise(replies: Iterable[RatedReply]) -> float | None:
    """Return the rate of wrong votes that explains how often two members disagree on one answer, or None.

    If each vote is wrong with probability e, two votes on an answer differ with probability d = 2e(1 - e), so
    e = (1 - sqrt(1 - 2d)) / 2. Votes count by weight; None where no answer has two votes.
    """
    differing = both = 0.0
    for reply in replies:
        squares = sum(ballot.weight**2 for ballot in reply.ballots)
        pairs_of_votes = (reply.up + reply.down) ** 2 - squares
        differing += 2 * reply.up * reply.down
        both += pairs_of_votes
    if not both:
        return None
    return (1 - sqrt(max(0.0, 1 - 2 * differing / both))) / 2
