"""Notes whether members thank for an answer or go on, where that counts as a weak vote."""

from __future__ import annotations

from functools import partial

import discord
from discord.ext import commands

from bot.background import retry_until_available
from bot.chat.conversation import SPOKEN, own_words
from bot.guards.interactions import BotCog
from bot.services import Services
from bot.text.follow_ups import read_follow_up
from storage.conversations.replies import Reply, find_by_message, latest_in_channel
from storage.votes.follow_ups import note_follow_up, reads_words, take_back_follow_ups


class FollowUps(BotCog):
    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        if await self._may_count(message):
            await self._note(message, await self._answer_before(message))

    @commands.Cog.listener()
    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Read the new words, if it is clear after which answer they were said."""
        message = payload.message
        if message.edited_at is None or not await self._may_count(message):
            return
        take_back = partial(self.services.database.run, take_back_follow_ups, {message.id})
        await retry_until_available(take_back, "A weak vote")
        if message.reference is not None:
            await self._note(message, await self._answer_before(message))

    async def _may_count(self, message: discord.Message) -> bool:
        if message.author.bot or message.type not in SPOKEN or not reads_words(self.services.settings):
            return False
        guild_id = message.guild.id if message.guild else None
        return await self.services.access.refusal(message.author, guild_id, message.channel) is None

    async def _answer_before(self, message: discord.Message) -> Reply | None:
        """Return the answer that the message replies to; in a direct message, also the latest one."""
        if message.reference is not None and message.reference.message_id is not None:
            return await self.services.database.read(find_by_message, message.reference.message_id)
        if isinstance(message.channel, discord.DMChannel):
            return await self.services.database.read(latest_in_channel, message.channel.id)
        return None

    async def _note(self, message: discord.Message, reply: Reply | None) -> None:
        if reply is None or reply.author_id != message.author.id:
            return
        question = reply.messages[-1]["content"] if reply.messages else ""
        said = read_follow_up(own_words(message, self.bot.user), question)
        if said is not None:
            note = partial(self.services.database.run, note_follow_up, reply.id, message.author.id, message.id, said)
            await retry_until_available(note, "A weak vote")


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(FollowUps(bot, services))
