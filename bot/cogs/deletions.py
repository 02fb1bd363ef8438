"""Removes data of messages that are deleted on Discord, and stops using old words of edited ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import datetime
from functools import partial

import discord
from discord.ext import commands

from bot.background import retry_until_available
from bot.discord_errors import DISCORD_ERRORS, is_temporary
from bot.errors import UserFacingError
from bot.guards.interactions import BotCog
from bot.knowledge.adding import PinsChannel, from_message, read_pins
from bot.knowledge.library import Source
from storage.conversations.replies import REREAD
from storage.database.columns import utc_now
from storage.database.enums import DocumentKind
from storage.errors import StorageError
from storage.knowledge.documents import Document, made_of, remove_document
from storage.privacy.erasure import (
    Deletion,
    erase_channel,
    erase_messages,
    is_kept,
    kept_channels,
    kept_messages,
    note_edit,
)
from storage.runtime.shards import FIRST
from storage.wording import count

log = logging.getLogger(__name__)

PAGE = 100  # Discord's limit
RECHECK_PAUSE_S = 5.0
UNKNOWN_CHANNEL, UNKNOWN_MESSAGE = 10003, 10008  # Discord's error codes


class MessageDeletions(BotCog):
    @commands.Cog.listener()
    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        await self._forget(payload.channel_id, {payload.message_id})

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        await self._forget(payload.channel_id, payload.message_ids)

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        await self._forget_channel(channel.id)
        threads = self._forget_archived_threads(channel.guild)
        self.services.tasks.restart(threads, f"archived threads of deleted channels of {channel.guild.id}")

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        await self._forget_channel(payload.thread_id)

    @commands.Cog.listener()
    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        message = payload.message
        if message.edited_at is not None and not message.author.bot:
            await self._note_edit(message, message.edited_at)

    async def _forget(self, channel_id: int, message_ids: Collection[int]) -> None:
        self.services.deletions.note(channel_id, message_ids)
        self.services.attachments.recent.forget(message_ids)
        database = self.services.database

        async def work() -> None:
            # Most messages on a server are in no prompt: they cost a read, not a write transaction.
            if await database.read(is_kept, channel_id, message_ids):
                _report("deleted messages", await database.run(erase_messages, channel_id, message_ids))

        await retry_until_available(work, "A deletion")

    async def _forget_channel(self, channel_id: int) -> None:
        self.services.deletions.note(channel_id)
        erase = partial(self.services.database.run, erase_channel, channel_id)
        _report("a deleted channel", await retry_until_available(erase, "A deletion"))

    async def _forget_archived_threads(self, guild: discord.Guild) -> None:
        """Forget the archived threads that went with their channel: Discord does not tell of them."""
        read = partial(self.services.database.read, kept_channels, guild.id)
        kept = await retry_until_available(read, "Looking for archived threads")
        for channel_id in [id_ for id_ in kept if guild.get_channel_or_thread(id_) is None]:
            ask = partial(self.bot.fetch_channel, channel_id)
            try:
                await retry_until_available(ask, "Looking for archived threads", asks_discord=True)
            except DISCORD_ERRORS as error:
                if isinstance(error, discord.NotFound) and error.code == UNKNOWN_CHANNEL:
                    await self._forget_channel(channel_id)

    async def _note_edit(self, message: discord.Message, edited_at: datetime) -> None:
        database, channel_id = self.services.database, message.channel.id
        self.services.attachments.recent.forget({message.id})
        if not await database.read(is_kept, channel_id, {message.id}):
            return
        note = partial(database.run, note_edit, channel_id, message.id, edited_at)
        if answers := await retry_until_available(note, "An edit"):
            log.info("A message in the prompts of %s was edited.", count(answers, "answer"))
        for document in await database.read(made_of, message.id):
            if document.refreshed_at < edited_at:
                await self._read_again(document, message)

    async def _read_again(self, document: Document, message: discord.Message) -> None:
        """Read the document again, with the new words; remove it if that fails."""
        try:
            read = partial(_source, document, message)
            source = await retry_until_available(read, "Reading a document's messages", asks_discord=True)
            await self.services.library.refresh(document, source)
        except (UserFacingError, StorageError, *DISCORD_ERRORS) as error:
            log.warning(
                "Document %d is removed, because one of its messages was edited and now: %s", document.id, error
            )
            await self.services.database.run(remove_document, document.guild_id, document.id)

    # After a gap

    @commands.Cog.listener()
    async def on_shard_ready(self, shard_id: int) -> None:
        """Check for deletions that a new session missed; Discord resends events only to a resumed one."""
        if self.services.fixed_basis is None:  # nothing happens on a simulated server while the bot is away
            self.services.tasks.restart(self._recheck(shard_id), f"deletions in a gap of shard {shard_id}")

    async def _recheck(self, shard_id: int) -> None:
        """Check whether the messages of the shard's recent answers were deleted or edited during a gateway gap."""
        await self.bot.wait_until_ready()
        since = utc_now() - REREAD
        await retry_until_available(partial(self._recheck_since, since, shard_id), "Checking for deleted messages")

    async def _recheck_since(self, since: datetime, shard_id: int) -> None:
        here = {guild.id for guild in self.bot.guilds if guild.shard_id == shard_id}
        direct = shard_id == FIRST and self.services.shards.serve(None)
        unread = await self.services.database.read(kept_messages, since, here, direct=direct)
        while unread:
            unread = {id_: unread[id_] for id_ in unread if not await self._recheck_channel(id_, unread[id_])}
            if unread:
                log.warning("Discord did not return the messages of %d channels; asking again.", len(unread))
                await asyncio.sleep(RECHECK_PAUSE_S)

    async def _recheck_channel(self, channel_id: int, message_ids: Collection[int]) -> bool:
        """Return False if it is worth asking again a little later."""
        try:
            await self._recheck_messages(channel_id, message_ids)
        except DISCORD_ERRORS as error:
            if is_temporary(error):
                return False
            if isinstance(error, discord.NotFound) and error.code == UNKNOWN_CHANNEL:
                await self._forget_channel(channel_id)
            else:
                log.debug("The messages of channel %s cannot be read: %s", channel_id, error)
        return True

    async def _recheck_messages(self, channel_id: int, message_ids: Collection[int]) -> None:
        channel = self.bot.get_partial_messageable(channel_id)
        left = sorted(message_ids)
        while left:
            before = discord.Object(left[-1] + 1)
            page = {m.id: m async for m in channel.history(limit=PAGE, before=before)}
            reached = min(page, default=0)
            for id_ in [id_ for id_ in left if id_ >= reached]:
                await self._recheck_message(channel, id_, page.get(id_))
            left = [id_ for id_ in left if id_ < reached]

    async def _recheck_message(
        self, channel: discord.PartialMessageable, message_id: int, found: discord.Message | None
    ) -> None:
        around = await self._around_thread(channel.id) if message_id == channel.id and found is None else None
        if found is None:
            found = await _fetch_kept(around or channel, message_id)
        if found is None:
            await self._forget((around or channel).id, {message_id})
        elif found.edited_at is not None and not found.author.bot:
            await self._note_edit(found, found.edited_at)

    async def _around_thread(self, thread_id: int) -> discord.TextChannel | None:
        """Return the channel of a thread's first message, which has the thread's ID; forums keep it in the thread."""
        thread = self.bot.get_channel(thread_id) or await self.bot.fetch_channel(thread_id)
        parent = thread.parent if isinstance(thread, discord.Thread) else None
        return parent if isinstance(parent, discord.TextChannel) else None


async def _fetch_kept(channel: discord.abc.Messageable, message_id: int) -> discord.Message | None:
    """Return the message, or None if it was deleted: a history that the bot may not read looks empty."""
    try:
        return await channel.fetch_message(message_id)
    except discord.NotFound as error:
        if error.code != UNKNOWN_MESSAGE:
            raise
        return None


async def _source(document: Document, message: discord.Message) -> Source:
    if document.kind is not DocumentKind.PINS:
        return from_message(message)
    if not isinstance(message.channel, PinsChannel):
        raise UserFacingError("its channel has no pinned messages that I can read")
    return await read_pins(message.channel)


def _report(what: str, erased: Deletion) -> None:
    log.info(
        "Removed with %s: %s, %s, %s%s.",
        what,
        count(erased.replies, "answer"),
        count(erased.summaries, "summary", "summaries"),
        count(erased.documents, "document"),
        f"; marked: {', '.join(erased.marked)}" if erased.marked else "",
    )
