"""Answers a message that calls the bot, from reading the question to summarizing the earlier conversation."""

from __future__ import annotations

import contextlib

import discord
from discord.ext import commands

from bot.chat.calling import Calls
from bot.chat.context import Context, gather
from bot.chat.conversation import History, HistoryReader, own_words
from bot.chat.delivery import typing_in
from bot.chat.fixed_answers import FixedAnswers, fixed_small_print
from bot.chat.own_threads import move_to_own_thread
from bot.chat.second_answer import SecondAnswers
from bot.chat.summaries import Summaries
from bot.discord_errors import DISCORD_ERRORS
from bot.errors import NothingAsked, UserFacingError
from bot.localization.sentences import gettext
from bot.memory.proposals import propose_fact
from bot.privacy.notices import send_first_notice
from bot.services import Services
from storage.conversations.replies import FINISHED_WHOLE
from storage.database.columns import utc_now

NOTICE_S = 20.0
"""Seconds until a notice, which is not an answer, disappears."""


class MessageAnswerer:
    def __init__(self, bot: commands.AutoShardedBot, services: Services, calls: Calls) -> None:
        self._bot = bot
        self._services = services
        self._calls = calls
        self._reader = HistoryReader(bot, services.database, services.webhooks, services.settings.chat.history_messages)
        self._summaries = Summaries(services, self._reader)
        self._fixed_answers = FixedAnswers(bot, services)
        self._second_answers = SecondAnswers(services)

    async def answer(self, message: discord.Message) -> None:
        """Answer the message; raises UserFacingError, EngineBusy and RateLimited with a text for its author."""
        asked_at, services, words = utc_now(), self._services, own_words(message, self._bot.user)
        # 1. Words that were meant as a command are not for the model.
        self._refuse_command(words)
        async with contextlib.AsyncExitStack() as typing:
            # 2. Show that an answer is on its way, before reading takes a request for each earlier message.
            if words:
                await self._begin(message, typing)
            # 3. Read what was said before. Only this tells whether a message without words asks for anything.
            history = await self._reader.read(message)
            if not words:
                if not self._is_asked(message, history):
                    return
                await self._begin(message, typing)
            # 4. Say that it takes longer while the model is still being loaded.
            await self._say_if_warming_up(message)
            # 5. Read the attachments.
            history = await services.attachments.read(history)
            if not history.asks:
                raise UserFacingError(" ".join(history.notes))
            # 6. What has a fixed answer needs no model.
            if fixed := await self._fixed_answers.find(history, message):
                await self._fixed_answers.say(fixed, message, asked_at)
                return
            # 7. Read from the database all that the answer depends on.
            context = await gather(services, history, message, asked_at)
            # 8. Greet a new member, and go to a thread of the conversation's own, where there is one.
            has_written = not context.is_greeted and await send_first_notice(services, message)
            ask = await move_to_own_thread(services.setups, message, history.newest_words, context.ask)
            if has_written or ask.channel is not message.channel:  # Discord ends typing with each message of the bot
                await typing.aclose()
                await typing.enter_async_context(typing_in(ask.channel))
            # 9. Say that it does not know, or give two answers to compare, or one.
            if context.unsure:
                await services.answerer.say(ask, context.unsure, fixed_small_print(ask.citations))
            elif not ask.citations and self._second_answers.is_due(message.author.id, context.pair_share):
                await self._second_answers.answer_twice(ask, context.rival)
            else:
                answer = await services.answerer.answer(ask)
                # 10. Ask whether to keep what members said about themselves.
                if answer.outcome in FINISHED_WHOLE:
                    question = propose_fact(services, message, words, ask.channel)
                    services.tasks.spawn(question, f"question about {message.id}")
        # 11. Summarize what will not fit into the next prompt.
        self._summarize(message.channel, history, context)

    def _refuse_command(self, words: str) -> None:
        first = words.split(" ", 1)[0]
        kind = discord.AppCommandType.chat_input
        if first in {f"/{command.name}" for command in self._bot.tree.get_commands(type=kind)}:
            raise UserFacingError(
                "You sent that as a message, not as a command. Type `{command}`, choose the command from the list that "
                "opens, and fill in its fields. Some commands are for admins only.",
                command=first,
            )

    async def _begin(self, message: discord.Message, typing: contextlib.AsyncExitStack) -> None:
        """Show the member that an answer is coming; raises RateLimited if it is too soon for one."""
        self._services.rate_limiter.require_pause(message.author.id)
        await typing.enter_async_context(typing_in(message.channel))

    def _is_asked(self, message: discord.Message, history: History) -> bool:
        """Return whether there is something to answer; raises an error if its author must be told why not."""
        attachments = self._services.attachments
        if history.asks or attachments.can_read(history):
            return True
        # A picture in a free-response channel is not a mistake; a mention without words may be one.
        if self._calls.is_addressed(message):
            excuse = attachments.excuse(history)
            raise UserFacingError(excuse) if excuse else NothingAsked
        return False

    async def _say_if_warming_up(self, message: discord.Message) -> None:
        is_loaded, limiter = self._services.model_loaded.is_set(), self._services.rate_limiter
        if not is_loaded and limiter.should_notify(message.author.id, message.channel.id):
            await send_notice(
                message.channel, gettext("I'm still warming up. I'll answer as soon as my model is loaded.")
            )

    def _summarize(self, channel: discord.abc.MessageableChannel, history: History, context: Context) -> None:
        """Summarize the older half of the messages read, or all that did not fit and half of the rest."""
        conversation, prompt = context.conversation, context.ask.prompt
        if conversation.is_full or (prompt.dropped and history.is_continuous):
            most = self._services.settings.chat.history_messages
            read = most if conversation.is_full else len(conversation.turns)
            kept = max(1, (read - prompt.dropped) // 2)
            work = self._summaries.bring_up_to_date(channel, kept)
            self._services.tasks.spawn(work, f"summary of {channel.id}")


async def send_notice(channel: discord.abc.MessageableChannel, text: str) -> None:
    """Send a notice that disappears by itself; a failure to send it is ignored."""
    with contextlib.suppress(*DISCORD_ERRORS):
        await channel.send(text, delete_after=NOTICE_S)
