"""Texts about votes: how many count, and why the others do not."""

from __future__ import annotations

from storage.votes.weights import ACCOUNT_AGE, MEMBERSHIP, OPT_OUT, QUARANTINE, WRONG_FACT, WeightedVotes
from storage.wording import tenths

UNCOUNTED = {
    ACCOUNT_AGE: "by new accounts",
    MEMBERSHIP: "by new members",
    QUARANTINE: "in quarantine",
    WRONG_FACT: "about a wrong fact",
    OPT_OUT: "by people who opted out",
}
"""Why a vote does not count, or not in full."""


def describe_counted(votes: WeightedVotes) -> str:
    """Return how many votes there are and count, and why the others do not."""
    removed = {rule: weight for rule, weight in votes.removed.items() if tenths(weight) != "0"}
    if not removed:
        return f"{votes.total:,}"
    reasons = ", ".join(f"{tenths(weight)} {UNCOUNTED[rule]}" for rule, weight in removed.items())
    counted = tenths(votes.total - sum(removed.values()))
    return f"{votes.total:,}, of which {counted} count; the others do not: {reasons}"
