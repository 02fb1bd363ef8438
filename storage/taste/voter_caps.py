"""How much one voter's votes count together, at most. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp, log

from storage.members import Pseudonym

TIMES_TYPICAL = 1.5
"""While voters are few, nobody's votes count for more than this many times those of a typical voter."""
PRESENT = 5.0
"""Weight of votes from which somebody is a voter like any other; with fewer, they are part of one."""


def cap_factors(totals: Mapping[Pseudonym, float], max_share: float) -> dict[Pseudonym, float]:
    """Return by how much to multiply each voter's votes, given the weight of all their votes; 1 is absent.

    The limit is the larger of two: `max_share` of everything that counts then, which only rises as others vote; and a
    multiple of the geometric mean, so that one vote of a newcomer does not lower the limit all at once. Somebody who
    votes alone has no limit.
    """
    present = {voter: total for voter, total in totals.items() if total > 0}
    if not present or max_share >= 1:
        return {}
    limit = max(fair_level(sorted(present.values()), max_share), TIMES_TYPICAL * _typical(present.values()))
    return {voter: limit / total for voter, total in present.items() if total > limit}


def _typical(totals: Iterable[float]) -> float:
    """Return the geometric mean; whoever has few votes weighs less in it."""
    presence = [(total, min(1.0, total / PRESENT)) for total in totals]
    return exp(sum(part * log(total) for total, part in presence) / sum(part for _, part in presence))


def fair_level(totals: Sequence[float], max_share: float) -> float:
    """Return the highest L for which L <= max_share * sum(min(total, L)), or 0; `totals` are ascending.

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
    return totals[0] if len(totals) * max_share >= 1 else 0.0
