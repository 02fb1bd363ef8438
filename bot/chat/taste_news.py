"""Tells people once that their taste acts now: in the channel of a vote, and privately whoever compares answers."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import discord
from discord.ext import commands

from bot.chat.own_threads import is_closed
from bot.discord_errors import DISCORD_ERRORS
from bot.guards.access import is_quiet
from bot.guards.permissions import lacking_to_post
from bot.localization.languages import languages_of
from bot.localization.sentences import speaking
from bot.personalities.selection import signed
from bot.servers.setups import rule_in
from bot.services import Services
from bot.text.taste import describe_beginning
from storage.conversations.replies import Reply, find_reply
from storage.database.columns import utc_now
from storage.database.enums import Rule
from storage.operations.outbox import announce_waiting
from storage.personalities.personalities import read_personality
from storage.taste.acting import TasteRole, untold_roles
from storage.taste.learning import LearnedTaste

log = logging.getLogger(__name__)


async def tell_privately(
    services: Services, personality_id: int, user_id: int, taste: LearnedTaste | None
) -> list[str]:
    """Return the news that the person has not read yet; a channel still hears them after the next vote there."""
    if taste is None or not taste.may_choose:
        return []
    untold = await services.database.read(untold_roles, personality_id, taste, services.settings)
    read = services.tastes.read_privately.get(user_id, frozenset())
    unread = [news.content for news in untold if (personality_id, news.content) not in read]
    services.tastes.read_privately[user_id] = read | {(personality_id, role) for role in unread}
    return [await _describe(services, personality_id, taste, role) for role in unread]


async def tell_channel(bot: commands.AutoShardedBot, services: Services, personality_id: int, reply_id: int) -> None:
    """Write the news in the channel of the answer, if the bot may; otherwise they wait for another vote."""
    taste = services.tastes.of(personality_id)
    if taste is None or not taste.may_choose or is_quiet(services.settings.chat, utc_now()):
        return
    find = partial(untold_roles, personality_id=personality_id, taste=taste, settings=services.settings)
    if not await services.database.read(find):
        return
    reply = await services.database.read(find_reply, reply_id)
    if reply is None or not _may_write(bot, services, reply):
        return
    personality = await services.database.read(read_personality, personality_id)
    channel = bot.get_partial_messageable(reply.channel_id)

    async def tell(role: TasteRole) -> bool:
        with speaking(languages_of(bot).of_channel(channel.id)):
            text = signed(personality, await _describe(services, personality_id, taste, role))
        try:
            await channel.send(text, silent=True, allowed_mentions=discord.AllowedMentions.none())
        except DISCORD_ERRORS as error:
            log.info("Discord refused the news of what members like; the next vote tries again: %s", error)
            return False
        return True

    # The bot waits for this task when it closes: what is marked as told must be sent.
    telling = services.tasks.spawn(announce_waiting(services.database, find, tell), "tell what members like")
    await asyncio.shield(telling)


async def _describe(services: Services, personality_id: int, taste: LearnedTaste, role: TasteRole) -> str:
    settings, release = services.settings, await services.releases.current(personality_id)
    return await asyncio.to_thread(
        describe_beginning,
        role,
        taste,
        by_examples=release.is_base and settings.generation.examples > 0,
        by_rounds=settings.pairs.ranked_prompts > 0,
    )


def _may_write(bot: commands.AutoShardedBot, services: Services, reply: Reply) -> bool:
    """Return whether the bot may start to speak where the answer stands."""
    if not reply.message_ids or not services.access.is_open(reply.guild_id, reply.channel_id):
        return False
    if reply.guild_id is None:
        return True
    channel = bot.get_channel(reply.channel_id)
    if not isinstance(channel, discord.abc.GuildChannel | discord.Thread) or lacking_to_post(channel):
        return False
    is_locked = isinstance(channel, discord.Thread) and is_closed(channel)
    return not is_locked and rule_in(channel, services.settings, services.setups) is not Rule.NEVER
