"""Checks whether personalities can appear with their own names and pictures in Discord."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import discord

from bot.errors import BotError
from bot.personalities.webhooks import NO_INTENT
from bot.runner import require_token
from reactune.discord_api import logged_in
from reactune.doctor.findings import Hint
from reactune.shared import reading
from storage.personalities.personalities import Personality, list_personalities
from storage.settings.sections import Settings
from storage.wording import count

PAGE = 200  # Discord's limit


@dataclass(frozen=True)
class _Server:
    id: int
    name: str
    permissions: discord.Permissions
    """The bot's in the server; a channel can still deny them."""


async def check_appearances(settings: Settings) -> str:
    """Return a phrase; raises Hint if personalities with a name or a picture speak as the bot itself somewhere."""
    with reading(settings) as session:
        dressed = [one for one in list_personalities(session) if one.has_appearance]
    if not dressed:
        return "no personality has a name or a picture of its own"
    if not settings.discord.message_content_intent:
        raise Hint(f"{_who(dressed)} as the bot itself; to change that, {NO_INTENT}")
    servers = await _fetch_servers(require_token(settings))
    known = [(server, _known_in(server, dressed)) for server in servers]
    concerned = [(server, there) for server, there in known if there]
    without = [(server, there) for server, there in concerned if not server.permissions.manage_webhooks]
    if without:
        who = _who([one for one in dressed if any(one in there for _, there in without)])
        where = f"{count(len(without), 'server')} of {len(concerned)} ({', '.join(s.name for s, _ in without[:5])})"
        raise Hint(
            f"{who} as the bot itself in {where}, where the bot has no permission Manage Webhooks: give it to the "
            "bot's role, or invite the bot again with the link in the README"
        )
    return f"{_who(dressed)} with a name or a picture of their own in {count(len(concerned), 'server')}"


def _who(personalities: Sequence[Personality]) -> str:
    return f"{', '.join(one.name for one in personalities)} {'speaks' if len(personalities) == 1 else 'speak'}"


def _known_in(server: _Server, personalities: Sequence[Personality]) -> list[Personality]:
    """Return those that can speak in the server: the operator's, and its own."""
    return [one for one in personalities if one.guild_id in (None, server.id)]


async def _fetch_servers(token: str) -> list[_Server]:
    """Return the bot's servers; raises Hint if Discord cannot be asked, of which the check of the token says more."""
    servers: list[_Server] = []
    try:
        async with logged_in(token) as client:
            more = True
            while more:  # `fetch_guilds` does not tell the permissions
                after = servers[-1].id if servers else None
                page = await client.http.get_guilds(PAGE, after=after)
                servers += [
                    _Server(int(one["id"]), one["name"], discord.Permissions(int(one.get("permissions", 0))))
                    for one in page
                ]
                more = len(page) == PAGE
    except BotError as error:
        raise Hint("not checked, because Discord did not answer") from error
    return servers
