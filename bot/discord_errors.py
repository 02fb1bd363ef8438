"""Errors of requests to Discord."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import discord

DISCORD_ERRORS = (discord.HTTPException, discord.RateLimited, aiohttp.ClientError, OSError)
"""What a request to Discord can raise: Discord's refusals, and failures of the connection."""
RATE_LIMITED = 429
RATE_LIMIT_PAUSE_S = 30.0
"""How long to pause after a rate limit that does not say how long it lasts."""
SLOW_MODE = 20016
"""The code of Discord's error for a message that comes too soon in a channel with slow mode."""
UNKNOWN_WEBHOOK = 10015
"""The code of Discord's error for a webhook that was deleted; its messages stay."""
INVALID_WEBHOOK_TOKEN = 50027
"""The code of Discord's error for an interaction that is older than 15 minutes."""
TOO_MANY_WEBHOOKS = 30007
ALREADY_ACKNOWLEDGED = 40060
"""The code of Discord's error for a second answer to an interaction."""
TEMPORARY = (408, RATE_LIMITED)
SERVER_ERROR = 500


def is_temporary(error: Exception) -> bool:
    """Return whether Discord may accept the same request a little later; `error` is one of DISCORD_ERRORS."""
    if isinstance(error, discord.HTTPException):
        return error.status in TEMPORARY or error.status >= SERVER_ERROR or error.code == SLOW_MODE
    return True


def retry_after_of(headers: Mapping[str, str]) -> float:
    """Return how long a rate limit's headers ask to wait, in seconds."""
    try:
        return float(headers["Retry-After"])
    except (KeyError, ValueError):
        return RATE_LIMIT_PAUSE_S
