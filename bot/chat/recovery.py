"""Completes answers that the previous run of the bot left unfinished on Discord."""

from __future__ import annotations

import logging
from functools import partial

import discord
from discord.ext import commands

from bot.background import retry_until_available
from bot.chat.ask import REGENERATE
from bot.chat.delivery import reference_to
from bot.chat.message_stream import CURSOR
from bot.chat.voices import question_of_message
from bot.discord_errors import DISCORD_ERRORS
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext, speaking
from bot.services import Services
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.conversations.replies import (
    Reply,
    ReplyMessage,
    add_message,
    find_reply,
    find_reply_ids,
    find_unfinished,
    interrupt_reply,
    list_undelivered,
)

log = logging.getLogger(__name__)

LOOKED_THROUGH = 100


class Recovery:
    """Marks interrupted answers, and delivers answers whose end Discord had refused."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._bot = bot
        self._services = services
        self._interrupted: list[int] = []
        self._undelivered: list[Reply] = []

    async def find(self) -> None:
        """Find the interrupted and undelivered answers; call this before this run writes anything."""
        services = self._services
        self._interrupted = await services.database.read(find_unfinished, services.shards)
        self._undelivered = await services.database.read(list_undelivered, services.shards)

    async def complete(self) -> None:
        """Mark and deliver them, as soon as Discord accepts it."""
        while self._undelivered:
            reply = self._undelivered.pop()
            channel = self._bot.get_partial_messageable(reply.channel_id)
            self._services.answerer.delivery.resume(reply, channel)
        while self._interrupted:
            interrupt = partial(self._interrupt, self._interrupted.pop(0))
            await retry_until_available(interrupt, "The mark of an interrupted answer")

    async def _interrupt(self, reply_id: int) -> None:
        """Mark the answer on Discord, and only then in its row: until then, the next start finds it again."""
        try:
            mark = partial(self._mark, reply_id)
            await retry_until_available(mark, "The mark of an interrupted answer", asks_discord=True)
        except DISCORD_ERRORS as error:
            log.warning("Interrupted reply %d cannot be marked: %s", reply_id, error)
        await self._services.database.run(interrupt_reply, reply_id)

    async def _mark(self, reply_id: int) -> None:
        """Write under an interrupted answer that it will not continue; can be repeated."""
        reply = await self._services.database.read(find_reply, reply_id)
        if reply is None:
            return  # deleted in the meantime
        recorded = [*reply.message_ids, *await self._adopt(reply)]
        channel = self._bot.get_partial_messageable(reply.channel_id)
        if recorded:
            message = await self._services.webhooks.fetch_message(channel, recorded[-1])
        elif reply.source_message_id is not None:
            message = await self._reply_to_question(channel, reply, reply.source_message_id)
        else:
            return
        text = (
            message.content.removesuffix(CURSOR)
            .removesuffix(self._small_print(reply, can_try_again=True))
            .removesuffix(self._small_print(reply))
            .rstrip()
        )
        offer = f"\n{await self._offer(reply, message)}"
        await message.edit(content=f"{text[: MAX_MESSAGE_CHARS - len(offer)]}{offer}".strip())

    async def _reply_to_question(
        self, channel: discord.PartialMessageable, reply: Reply, question_id: int
    ) -> discord.Message:
        reference = reference_to(question_id, reply.channel_id, reply.guild_id)
        message = await channel.send(self._small_print(reply), reference=reference, mention_author=False)  # pyrefly: ignore[no-matching-overload]
        await self._services.database.run(add_message, reply.id, message.id, reply.channel_id, 0)
        return message

    async def _offer(self, reply: Reply, message: discord.Message) -> str:
        """Add the reaction for another answer if there can be one; return the sentence that fits."""
        if reply.base_revision != self._services.base.revision or reply.edited_at is not None:
            return self._small_print(reply)
        try:
            await message.add_reaction(REGENERATE)
        except DISCORD_ERRORS as error:
            log.warning("Discord refused %s under an interrupted answer: %s", REGENERATE, error)
            return self._small_print(reply)
        return self._small_print(reply, can_try_again=True)

    def _small_print(self, reply: Reply, *, can_try_again: bool = False) -> str:
        """Return the small print under an interrupted answer, in the language of its channel."""
        with speaking(languages_of(self._bot).of_channel(reply.channel_id, reply.author_id)):
            said = gettext("interrupted by a restart")
            again = gettext("press {emoji} for another answer", emoji=REGENERATE)
        return f"-# {said} · {again}" if can_try_again else f"-# {said}"

    # Messages that a killed bot sent without recording them: people may have voted under them

    async def _adopt(self, reply: Reply) -> list[int]:
        """Record the unrecorded messages of an interrupted reply; return their IDs, oldest first."""
        adopted = []
        for position, message in enumerate(await self._find_orphans(reply), len(reply.message_ids)):
            await self._services.database.run(add_message, reply.id, message.id, reply.channel_id, position)
            self._services.vote_queue.recorded(message.id)
            self._bot.dispatch("answer_adopted", ReplyMessage(message.id, reply.id, reply.channel_id, reply.guild_id))
            adopted.append(message.id)
        return adopted

    async def _find_orphans(self, reply: Reply) -> list[discord.Message]:
        """Look just after the question, where an answer is, then among the newest messages, for a repeated answer."""
        if reply.source_message_id is None:
            return []
        channel = self._bot.get_partial_messageable(reply.channel_id)
        question = discord.Object(reply.source_message_id)
        soon_after = [m async for m in channel.history(limit=LOOKED_THROUGH, after=question, oldest_first=True)]
        found = await self._unrecorded(reply, soon_after)
        if found or len(soon_after) < LOOKED_THROUGH:
            return found
        newest = [m async for m in channel.history(limit=LOOKED_THROUGH)]
        return await self._unrecorded(reply, newest[::-1])

    async def _unrecorded(self, reply: Reply, messages: list[discord.Message]) -> list[discord.Message]:
        own = [message for message in messages if self._services.webhooks.wrote(message)]
        known = await self._services.database.read(find_reply_ids, [message.id for message in own])
        unknown = [message for message in own if message.id not in known]
        if reply.message_ids:  # only a further part can be missing, which was still growing when the bot was killed
            last = reply.message_ids[-1]
            return [m for m in unknown if m.id > last and question_of_message(m) is None and m.content.endswith(CURSOR)]
        answers = reference_to(reply.source_message_id, reply.channel_id, reply.guild_id)
        return [m for m in unknown if question_of_message(m) == (answers and answers.message_id)][:1]
