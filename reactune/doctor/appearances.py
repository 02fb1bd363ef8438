"""Checks whether personalities can appear with their own names and pictures in Discord."""

from __future__ import annotations

import asyncio

import discord

from bot.personalities.webhooks import NO_INTENT
from bot.runner import require_token
from reactune.doctor.findings import Hint
from reactune.doctor.servers import DISCORD_TIMEOUT_S
from reactune.shared import reading
from storage.personalities.personalities import list_personalities
from storage.settings.sections import Settings
from storage.wording import count

PAGE = 200  # Discord's limit


async def check_appearances(settings: Settings) -> str:
    """Return a phrase; raises Hint if personalities with a name or a picture speak as the bot itself somewhere."""
    with reading(settings) as session:
        named = [one.name for one in list_personalities(session) if one.has_appearance]
    if not named:
        return "no personality has a name or a picture of its own"
    who = f"{', '.join(named)} {'speaks' if len(named) == 1 else 'speak'}"
    if not settings.discord.message_content_intent:
        raise Hint(f"{who} as the bot itself; to change that, {NO_INTENT}")
    allowed = await _permissions(require_token(settings))
    without = [name for name, granted in allowed if not granted.manage_webhooks]
    if without:
        where = f"{count(len(without), 'server')} of {len(allowed)} ({', '.join(without[:5])})"
        raise Hint(
            f"{who} as the bot itself in {where}, where the bot has no permission Manage Webhooks: give it to the "
            "bot's role, or invite the bot again with the link in the README"
        )
    return f"{who} with a name or a picture of their own in {count(len(allowed), 'server')}"


async def _permissions(token: str) -> list[tuple[str, discord.Permissions]]:
    """Return the bot's permissions in its servers, by the server's name; a channel can still deny them.

    Raises Hint if Discord cannot be asked, of which the check of the token says more.
    """
    async with discord.Client(intents=discord.Intents.none()) as client:
        try:
            async with asyncio.timeout(DISCORD_TIMEOUT_S):
                await client.login(token)
                servers = await client.http.get_guilds(PAGE)
        except (TimeoutError, OSError, discord.DiscordException) as error:
            raise Hint("not checked, because Discord did not answer") from error
    return [(one["name"], discord.Permissions(int(one.get("permissions", 0)))) for one in servers]
