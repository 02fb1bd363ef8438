"""The largest share of one person: `votes.max_voter_share` of everything that counts. Pure.

One rule, used in three ways. In a taste and where people compare versions, one of few people may count for more: twice
an equal share. The comparison applies it to each choice as it comes, since a stake must be known before the choice, and
what is beyond it waits for others' choices. In a round, another voter would then take weight from others, and more data
must never teach less: there everybody may carry a few pairs instead (`trainer.data.voters`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storage.members import Pseudonym

CROWD = 2.0
"""Among few people, one counts for at most this many times an equal share of the whole."""
PRESENT = 5.0
"""Votes that make one whole person of the crowd; fewer count as a fraction, so that single votes silence nobody."""


def largest_share(people: float, max_share: float) -> float:
    """Return the largest share that one of `people` people may hold; at 1 or more (two people) there is no limit."""
    return max(max_share, CROWD / people)


def cap_factors(totals: Mapping[Pseudonym, float], max_share: float) -> dict[Pseudonym, float]:
    """Return the factor for each voter's votes, given the weight of all their votes; factors of 1 are absent."""
    people = sum(min(1.0, total / PRESENT) for total in totals.values())
    return factors_within(totals, largest_share(people, max_share)) if people else {}


def factors_within(totals: Mapping[Pseudonym, float], share: float, least: float = 0.0) -> dict[Pseudonym, float]:
    """Return the factor that keeps each voter's votes within this share of all capped weight, or within `least`."""
    level = max(least, fair_level(sorted(total for total in totals.values() if total > 0), share))
    return {voter: level / total for voter, total in totals.items() if total > level}


def fair_level(totals: Sequence[float], share: float) -> float:
    """Return the highest L for which L <= share * sum(min(total, L)), or 0; `totals` are ascending.

    With the k largest at L: L = share * (sum of the rest + k * L). The smallest k whose rest fits below L is right.
    """
    rest = sum(totals)
    for capped, largest in enumerate(reversed(totals)):
        room = 1 - capped * share
        if room <= 0:
            break
        level = share * rest / room
        if largest <= level:
            return level
        rest -= largest
    return totals[0] if len(totals) * share >= 1 else 0.0
