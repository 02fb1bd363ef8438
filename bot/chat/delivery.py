"""Puts answers on Discord: their messages, which are recorded, their ends, however late, and their reactions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import discord

from bot.background import BackgroundTasks, WriteBehindQueue, retry_until_available
from bot.chat.ask import SEEDS, WITHOUT_WORDS, AnswerEnd, Ask
from bot.chat.message_stream import AnswerDeleted, MessageStream
from bot.chat.voices import BotVoice, PersonalityVoice, SentMessage, Voice, opening_for
from bot.discord_errors import DISCORD_ERRORS, is_temporary
from bot.localization.sentences import gettext
from bot.personalities.webhooks import Webhooks
from storage.conversations.replies import (
    FINISHED_WHOLE,
    Reply,
    add_message,
    drop_message,
    find_reply,
    mark_delivered,
)
from storage.database.database import Database
from storage.database.enums import Origin, Outcome
from storage.personalities.personalities import Personality, read_personality
from storage.settings.sections import OutputSettings

log = logging.getLogger(__name__)

TYPING_S = 3.0
"""Longest wait for Discord to show that the bot is typing."""
REACTION_PAUSES_S = (30.0, 120.0, 600.0)
"""Pauses before reactions that Discord failed to add are tried again; discord.py has tried for 25 s by then."""
FORBIDDEN_PAUSE_S = 600.0
"""Pause before an answer's end is tried again after somebody removed a permission; every start tries it too."""


@contextlib.asynccontextmanager
async def typing_in(channel: discord.abc.Messageable) -> AsyncIterator[None]:
    """Show that the bot is typing; if Discord refuses, the answer comes without it."""
    async with contextlib.AsyncExitStack() as stack:
        with contextlib.suppress(*DISCORD_ERRORS):
            async with asyncio.timeout(TYPING_S):  # discord.py tries again for half a minute
                await stack.enter_async_context(channel.typing())
        yield


class AnswerDelivery:
    def __init__(
        self,
        *,
        database: Database,
        webhooks: Webhooks,
        write_queue: WriteBehindQueue,
        tasks: BackgroundTasks,
        edit_interval_s: float,
        output: OutputSettings,
        on_recorded: Callable[[int], None],
    ) -> None:
        """`on_recorded` gets the ID of each message of an answer once it is in the database."""
        self._database = database
        self._webhooks = webhooks
        self._write_queue = write_queue
        self._tasks = tasks
        self._edit_interval_s = edit_interval_s
        self._output = output
        self._on_recorded = on_recorded

    async def open(self, ask: Ask, reply_id: int) -> MessageStream:
        """Return the stream for a new answer."""
        voice = BotVoice(ask.channel, reference_to(ask.source_message_id, ask.channel_id, ask.guild_id))
        return self._open(await self._voice_of(ask, ask.personality, voice), ask.channel_id, reply_id)

    async def finish(self, stream: MessageStream, end: AnswerEnd) -> bool:
        """Show the end of an answer; return False if Discord refuses it for now."""
        if stream.pause_s:
            return False
        try:
            await stream.finish(end.text, end.small_print)
        except DISCORD_ERRORS as error:
            if not is_temporary(error) and not stream.has_lost_access:
                raise
            log.warning("Discord refused the end of an answer (%s); trying again.", error)
            return False
        return True

    async def say_fixed(self, ask: Ask, reply_id: int, end: AnswerEnd) -> None:
        """Deliver a sentence that is written already, without reactions under it; raises DISCORD_ERRORS."""
        stream = await self.open(ask, reply_id)
        try:
            if not await self.finish(stream, end):
                self.finish_later(reply_id, stream)
                return
        except AnswerDeleted:
            log.info("Reply %d was deleted while it was delivered.", reply_id)
        except DISCORD_ERRORS:
            await self._mark_delivered(reply_id)
            raise
        await self._mark_delivered(reply_id)

    async def add_reactions(self, stream: MessageStream) -> None:
        """Put the reactions under an answer, ready to be clicked; those that Discord fails to add come later."""
        message = stream.last_message
        if message is not None and (left := await _add_reactions(message, SEEDS)):
            self._tasks.restart(_add_reactions_later(message, left), f"reactions under {message.id}")

    def finish_later(self, reply_id: int, stream: MessageStream) -> None:
        """Deliver the end of an answer in the background."""
        self._tasks.spawn(self._finish_undelivered(reply_id, stream), f"end of reply {reply_id}")

    def resume(self, reply: Reply, channel: discord.PartialMessageable) -> None:
        """Deliver in the background the end of an answer that the previous run could not deliver."""
        self._tasks.spawn(self._resume(reply, channel), f"end of reply {reply.id}")

    async def _resume(self, reply: Reply, channel: discord.PartialMessageable) -> None:
        open_again = partial(self._open_again, reply, channel)
        try:
            stream = await retry_until_available(open_again, f"The end of reply {reply.id}", asks_discord=True)
        except DISCORD_ERRORS as error:
            log.warning("The end of reply %d cannot be delivered: %s", reply.id, error)
            if isinstance(error, discord.Forbidden):
                return  # the next start tries again
            await self._mark_delivered(reply.id)
        else:
            await self._finish_undelivered(reply.id, stream)

    async def _open_again(self, reply: Reply, channel: discord.PartialMessageable) -> MessageStream:
        """Return the stream for an answer that an earlier run began."""
        sent = [await self._webhooks.fetch_message(channel, message_id) for message_id in reply.message_ids]
        reference = None if sent else reference_to(reply.source_message_id, reply.channel_id, reply.guild_id)
        bot = BotVoice(channel, reference)
        if sent and not self._webhooks.is_own(sent[0]):
            return self._open(bot, reply.channel_id, reply.id, sent)
        personality = await self._database.read(read_personality, reply.personality_id)
        return self._open(await self._voice_of(reply, personality, bot), reply.channel_id, reply.id, sent)

    async def _voice_of(self, of: Ask | Reply, personality: Personality, otherwise: BotVoice) -> Voice:
        """Return the personality's voice where the answer goes, or the bot's."""
        if await self._webhooks.guise_of(personality, of.guild_id, of.channel_id) is None:
            return otherwise
        voice = PersonalityVoice(self._webhooks, personality, of.guild_id, of.channel_id, otherwise)
        if of.source_message_id is not None and of.source_message_id != of.channel_id:
            voice.opening = opening_for(of.author_id, of.guild_id, of.channel_id, of.source_message_id)
        return voice

    def _open(self, voice: Voice, channel_id: int, reply_id: int, sent: Sequence[SentMessage] = ()) -> MessageStream:
        async def record(message: SentMessage, position: int) -> None:
            note = partial(
                add_message, reply_id=reply_id, message_id=message.id, channel_id=channel_id, position=position
            )
            await self._write_queue.write(note, partial(self._on_recorded, message.id))

        async def forget(message_id: int) -> None:
            await self._database.run(drop_message, message_id)

        return MessageStream(
            voice,
            edit_interval_s=self._edit_interval_s,
            output=self._output,
            on_message=record,
            on_surplus=forget,
            sent=sent,
        )

    async def _finish_undelivered(self, reply_id: int, stream: MessageStream) -> None:
        """Try until Discord accepts the end of the answer, or the answer is deleted."""
        await asyncio.sleep(stream.pause_s)
        await self._write_queue.settle()
        finish = partial(self._try_to_finish, reply_id, stream)
        try:
            outcome = await retry_until_available(finish, f"The end of reply {reply_id}", asks_discord=True)
        except (AnswerDeleted, *DISCORD_ERRORS) as error:
            if stream.has_lost_access and not isinstance(error, AnswerDeleted):
                again = self._finish_when_allowed(reply_id, stream)
                self._tasks.restart(again, f"end of reply {reply_id} when the bot may write again")
                return
            log.warning("The end of reply %d cannot be delivered: %s", reply_id, error)
            outcome = None
        await self._mark_delivered(reply_id)
        if outcome in FINISHED_WHOLE:
            await self.add_reactions(stream)

    async def _mark_delivered(self, reply_id: int) -> None:
        await self._write_queue.write(partial(mark_delivered, reply_id=reply_id))

    async def _finish_when_allowed(self, reply_id: int, stream: MessageStream) -> None:
        await asyncio.sleep(FORBIDDEN_PAUSE_S)
        self.finish_later(reply_id, stream)

    async def _try_to_finish(self, reply_id: int, stream: MessageStream) -> Outcome | None:
        # Read for each attempt: the answer may have been deleted while Discord refused it.
        reply = await self._database.read(find_reply, reply_id)
        if reply is None:
            await stream.take_back()
        if reply is None or reply.undelivered is None:
            return None
        words = reply.answer or gettext(WITHOUT_WORDS.get(reply.outcome, ""))
        await stream.finish(words, reply.undelivered)
        return None if reply.origin is Origin.FIXED else reply.outcome


async def _add_reactions(message: SentMessage, emoji: Sequence[str]) -> Sequence[str]:
    """Add the reactions, and return those that Discord may accept later."""
    for position, one in enumerate(emoji):
        try:
            await message.add_reaction(one)
        except DISCORD_ERRORS as error:
            log.warning("Discord refused %s under an answer: %s", one, error)
            return emoji[position:] if is_temporary(error) else ()
    return ()


async def _add_reactions_later(message: SentMessage, left: Sequence[str]) -> None:
    for pause_s in REACTION_PAUSES_S:
        await asyncio.sleep(pause_s)
        left = await _add_reactions(message, left)
        if not left:
            return


def reference_to(message_id: int | None, channel_id: int, guild_id: int | None) -> discord.MessageReference | None:
    """Return the reference that makes an answer a reply; None without a question, or if it began the thread.

    A thread has the ID of the message that it was made from, which is in another channel: a reply cannot leave its own.
    """
    if message_id is None or message_id == channel_id:
        return None
    return discord.MessageReference(
        message_id=message_id,
        channel_id=channel_id,
        guild_id=guild_id,
        fail_if_not_exists=False,  # the question may be deleted in the meantime
    )
