"""Answers people who call the bot, and gives another answer to people who ask for one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.answer_message import MessageAnswerer, send_notice
from bot.chat.ask import REGENERATE, Ask
from bot.chat.calling import Calls
from bot.chat.context import gather_again, require_written
from bot.chat.conversation import SPOKEN
from bot.chat.delivery import typing_in
from bot.chat.missed_questions import MissedQuestions
from bot.chat.recovery import Recovery
from bot.errors import EngineBusy, UserFacingError
from bot.guards.access import DenialReason
from bot.guards.error_handler import NOT_MINE, answer_privately, member_message
from bot.guards.interactions import BotCog, speak_publicly
from bot.guards.rate_limit import RateLimited
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext
from bot.services import Services
from storage.conversations.replies import Reply, find_by_message

log = logging.getLogger(__name__)


class Chat(BotCog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self._calls = Calls(bot, services)
        self._answerer = MessageAnswerer(bot, services, self._calls)
        self._recovery = Recovery(bot, services)
        self._missed = MissedQuestions(bot, services, self._calls)
        self._was_ready = False
        bot.tree.add_command(app_commands.ContextMenu(name="Another answer", callback=self.another_answer))

    async def cog_load(self) -> None:
        await self._recovery.find()

    async def cog_unload(self) -> None:
        await self._missed.stop()

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        self.services.tasks.spawn(self._recovery.complete(), "unfinished answers")
        if not self._was_ready:
            self._was_ready = True
            self.services.tasks.spawn(self._missed.answer(self.on_message), "missed questions")

    @commands.Cog.listener()
    async def on_shard_ready(self, shard_id: int) -> None:
        """Answer questions missed since the shard's last session; Discord resends them to a resumed session."""
        if self._was_ready:
            answer = self._missed.answer(self.on_message, of_shard=shard_id)
            self.services.tasks.spawn(answer, f"missed questions of shard {shard_id}")

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        if message.type not in SPOKEN or message.author.bot or message.webhook_id is not None:
            return
        if not self._missed.is_new(message.id):
            return
        guild_id = message.guild.id if message.guild else None
        refusal = await self.services.access.refusal(message.author, guild_id, message.channel)
        if refusal is None and self._calls.is_silent_in(message.channel):
            refusal = DenialReason.CHANNEL
        if refusal is not None:
            if self._calls.is_addressed(message) and self.services.access.should_notify(message.channel.id):
                await send_notice(message.channel, gettext(refusal.value))
        elif await self._calls.is_called(message):
            # Before anything is read or written: a refused message of a flood costs no query.
            await self._unless_rate_limited(
                message, message.author.id, guild_id, partial(self._answerer.answer, message), "answer to"
            )

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        is_mine = self.services.webhooks.may_have_written(payload.message_author_id)
        if str(payload.emoji) != REGENERATE or not is_mine:
            return
        is_silent = self._calls.is_silent_in(self.bot.get_channel(payload.channel_id))
        if self.services.access.may_react(payload) and not is_silent:
            channel = self.bot.get_partial_messageable(payload.channel_id)
            message = channel.get_partial_message(payload.message_id)
            await self._serve(message, payload.user_id, self._start_again(payload, message))

    async def _start_again(self, payload: discord.RawReactionActionEvent, message: discord.PartialMessage) -> None:
        reply = await self.services.database.read(find_by_message, payload.message_id)
        if payload.guild_id is None and not await self.services.access.may_write_directly(payload.user_id):
            return  # a member who left keeps the answers, with their 🔁
        if reply is not None:
            work = partial(self._regenerate, reply, message.channel, payload.user_id)
            await self._unless_rate_limited(message, payload.user_id, payload.guild_id, work, "another answer to")

    async def another_answer(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Give another answer to the same prompt."""
        if self._calls.is_silent_in(message.channel):
            raise UserFacingError(DenialReason.CHANNEL)
        await interaction.response.defer(ephemeral=True)
        reply = await self.services.database.read(find_by_message, message.id)
        if reply is None:
            raise UserFacingError(NOT_MINE)
        ask = await self._gather_again(reply, message.channel, interaction.user.id)
        await answer_privately(interaction, gettext("Another answer is on its way."))
        speak_publicly(interaction)
        work = self._answer(ask)
        self.services.tasks.spawn(self._serve(message, interaction.user.id, work), f"another answer to {message.id}")

    async def _regenerate(self, reply: Reply, channel: discord.abc.Messageable, user_id: int) -> None:
        """Answer the reply's prompt again, byte for byte."""
        await self._answer(await self._gather_again(reply, channel, user_id))

    async def _gather_again(self, reply: Reply, channel: discord.abc.Messageable, user_id: int) -> Ask:
        require_written(reply, languages_of(self.bot))
        ask = await gather_again(self.services, reply, channel, user_id)
        self.services.rate_limiter.require_pause(user_id)
        return ask

    async def _answer(self, ask: Ask) -> None:
        async with typing_in(ask.channel):
            await self.services.answerer.answer(ask)

    # Notices

    async def _unless_rate_limited(
        self,
        message: discord.Message | discord.PartialMessage,
        member_id: int,
        guild_id: int | None,
        work: Callable[[], Coroutine[Any, Any, None]],
        name: str,
    ) -> None:
        """Do the work in the background, unless the member has reached a limit."""
        try:
            self.services.rate_limiter.require(member_id, message.channel.id, guild_id)
        except RateLimited as error:
            await self._ask_to_wait(message.channel, member_id, error)
            return
        self.services.tasks.spawn(self._serve(message, member_id, work()), f"{name} {message.id}")

    async def _serve(
        self, message: discord.Message | discord.PartialMessage, member_id: int, work: Awaitable[None]
    ) -> None:
        """Do the work; an error reaches the member as a notice that is deleted after a while."""
        try:
            await work
        except discord.Forbidden as error:
            log.warning("The bot may not answer in channel %s: %s", message.channel.id, error)
        except RateLimited as error:
            await self._ask_to_wait(message.channel, member_id, error)
        except Exception as error:
            if isinstance(error, EngineBusy):
                self.services.metrics.count_refusal("queue")
            await send_notice(message.channel, member_message(error))

    async def _ask_to_wait(self, channel: discord.abc.MessageableChannel, member_id: int, error: RateLimited) -> None:
        self.services.metrics.count_refusal("cooldown")
        if self.services.rate_limiter.should_notify(member_id, channel.id):
            await send_notice(channel, member_message(error))
