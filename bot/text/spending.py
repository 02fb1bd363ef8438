"""Texts about tokens spent on remote servers; the same for Discord and the command line."""

from __future__ import annotations

from bot.localization.sentences import decimal, gettext
from storage.operations.token_spend import Spend
from storage.settings.sections import RemoteSettings


def describe_spend(spent: Spend, settings: RemoteSettings) -> str:
    """Return the day's tokens with the limit and the price, if these are set."""
    tokens, limit = spent.tokens, settings.tokens_per_day
    said = (
        gettext("{tokens} of {limit} tokens today (UTC)", tokens=tokens, limit=limit)
        if limit
        else gettext("{tokens} tokens today (UTC)", tokens=tokens)
    )
    cost = spent.cost(settings)
    return gettext("{spent}, {cost} at your prices", spent=said, cost=decimal(cost, 2)) if cost else said
