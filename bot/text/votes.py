"""Texts about votes: how many count, and why the others do not."""

from __future__ import annotations

from bot.localization.sentences import gettext, number
from storage.votes.weights import ACCOUNT_AGE, MEMBERSHIP, OPT_OUT, QUARANTINE, WRONG_FACT, WeightedVotes
from storage.wording import gettext_noop, tenths

UNCOUNTED = {
    ACCOUNT_AGE: gettext_noop("by new accounts"),
    MEMBERSHIP: gettext_noop("by new members"),
    QUARANTINE: gettext_noop("in quarantine"),
    WRONG_FACT: gettext_noop("about a wrong fact"),
    OPT_OUT: gettext_noop("by people who opted out"),
}
"""Why a vote does not count, or not in full."""


def describe_counted(votes: WeightedVotes) -> str:
    """Return how many votes there are and count, and why the others do not."""
    removed = {rule: weight for rule, weight in votes.removed.items() if tenths(weight) != "0"}
    if not removed:
        return number(votes.total)
    return gettext(
        "{votes}, of which {counted} count; the others do not: {reasons}",
        votes=votes.total,
        counted=number(votes.total - sum(removed.values()), 1),
        reasons=", ".join(f"{number(weight, 1)} {gettext(UNCOUNTED[rule])}" for rule, weight in removed.items()),
    )
