"""Errors of requests to Discord, and faults that discord.py repeats too often, too rarely, or does not survive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import discord
from discord.http import json_or_text
from discord.webhook.async_ import AsyncWebhookAdapter, async_context

DISCORD_ERRORS = (discord.HTTPException, discord.RateLimited, aiohttp.ClientError, OSError)
"""Exceptions of a request to Discord: Discord's refusals, and connection failures."""
RATE_LIMITED = 429
RATE_LIMIT_PAUSE_S = 30.0
"""Pause after a rate limit of unknown duration."""
SLOW_MODE = 20016
"""The code of Discord's error for a message that comes too soon in a channel with slow mode."""
UNKNOWN_WEBHOOK = 10015
"""The code of Discord's error for a webhook that was deleted; its messages stay."""
INVALID_WEBHOOK_TOKEN = 50027
"""The code of Discord's error for an interaction that is older than 15 minutes."""
ARCHIVED = 50083
"""The code of Discord's error for an edit in a thread that has archived itself."""
TOO_MANY_WEBHOOKS = 30007
ALREADY_ACKNOWLEDGED = 40060
"""The code of Discord's error for a second answer to an interaction."""
TEMPORARY = (408, RATE_LIMITED)
SERVER_ERROR = 500
log = logging.getLogger(__name__)
PAUSES_S = (1.0, 3.0, 5.0, 7.0)
"""Pauses between attempts to answer an interaction; discord.py pauses as long after a 5xx."""
CALLBACK = "/interactions/{webhook_id}/{webhook_token}/callback"
MESSAGE = "/webhooks/{webhook_id}/{webhook_token}"
INDISPENSABLE = frozenset({"READY"})
"""Events that a session cannot start without."""
Parser = Callable[[Any], object]


def is_temporary(error: Exception) -> bool:
    """Return whether Discord may accept the same request a little later; `error` is one of DISCORD_ERRORS."""
    if isinstance(error, discord.HTTPException):
        return error.status in TEMPORARY or error.status >= SERVER_ERROR or error.code == SLOW_MODE
    return True


def retry_after_of(headers: Mapping[str, str]) -> float:
    """Return how long the headers of a rate limit say to wait, in seconds."""
    try:
        return float(headers["Retry-After"])
    except (KeyError, ValueError):
        return RATE_LIMIT_PAUSE_S


def retry_after_s(error: BaseException | None) -> float:
    """Return the wait that Discord asks for before the next request; 0 if the error is not a rate limit.

    discord.py waits by itself, except for long, and when Cloudflare answers in Discord's place, as it does for bans.
    """
    if isinstance(error, discord.RateLimited):
        return error.retry_after
    if not isinstance(error, discord.HTTPException) or (error.status != RATE_LIMITED and error.code != SLOW_MODE):
        return 0.0
    return retry_after_of(error.response.headers)


def survive_faults(client: discord.Client) -> None:
    """Let this task, and those that it starts, send through webhooks as `WebhookRequests`; read events safely."""
    async_context.set(WebhookRequests(client))
    parsers = client._connection.parsers
    reported: set[str] = set()
    for event, parse in parsers.items():
        if event not in INDISPENSABLE:
            parsers[event] = partial(_read_event, event, parse, reported)


def _read_event(event: str, parse: Parser, reported: set[str], data: Any) -> None:
    """Give up an event that cannot be read, as if it had been lost: discord.py would end the whole process."""
    try:
        parse(data)
    except Exception:
        log.log(
            logging.DEBUG if event in reported else logging.ERROR,
            "Discord sent an event %s that cannot be read, so it counts as lost. Further ones are not reported.",
            event,
            exc_info=True,
        )
        reported.add(event)


class WebhookRequests(AsyncWebhookAdapter):
    """Sends a personality's message once, and the answer to an interaction until Discord has it.

    Discord knows no nonces of webhooks: if a message that seemed refused was taken, repeating it blindly leaves a
    copy. Its sender looks for it first (`PersonalityVoice`). What an interaction is answered only its member reads: a
    sentence that comes twice is better than none.
    """

    def __init__(self, client: discord.Client) -> None:
        super().__init__()
        self._client = client

    async def request(self, route: Any, session: Any, **options: Any) -> Any:
        """Send the request; raises DISCORD_ERRORS."""
        if route.path == CALLBACK or route.webhook_id == self._client.application_id:
            return await self._answer(route, _SingleAttempts(session), options)
        if (route.method, route.path) == ("POST", MESSAGE):
            session = _SingleAttempts(session)
        return await super().request(route, session, **options)

    async def _answer(self, route: Any, session: Any, options: dict[str, Any]) -> Any:
        pauses_s = iter(PAUSES_S)
        while True:
            try:
                return await super().request(route, session, **options)
            except (discord.DiscordServerError, aiohttp.ClientConnectionError) as error:
                if (pause_s := next(pauses_s, None)) is None:
                    raise
                log.debug("Discord may not have the answer to an interaction (%s); sending it again.", error)
            except discord.HTTPException as error:
                if session.attempts > 1 and error.code == ALREADY_ACKNOWLEDGED:
                    return {"interaction": {"id": route.webhook_id}}  # an earlier attempt had succeeded
                raise
            await asyncio.sleep(pause_s)
            for file in options.get("files") or ():
                file.reset()


class _SingleAttempts:
    """A session in which discord.py does not repeat a request after a server error."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.attempts = 0

    @asynccontextmanager
    async def request(self, *args: Any, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        self.attempts += 1
        async with self._session.request(*args, **options) as response:
            if response.status >= SERVER_ERROR:
                raise discord.DiscordServerError(response, await json_or_text(response))
            yield response


def http_trace() -> aiohttp.TraceConfig:
    """Return hooks that check responses for fields that discord.py takes for granted."""
    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(_require_retry_after)
    return trace


async def _require_retry_after(_session: object, _context: object, ended: aiohttp.TraceRequestEndParams) -> None:
    """Raise RateLimited for a 429 of Discord without a duration, where discord.py would raise a KeyError."""
    response = ended.response
    if response.status != RATE_LIMITED or "Via" not in response.headers:
        return
    data = await json_or_text(response)
    if not isinstance(data, dict) or "retry_after" not in data:
        raise discord.RateLimited(retry_after_of(response.headers))
