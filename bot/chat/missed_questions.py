"""Finds questions that Discord did not tell the bot: asked while it was away, or had no session to resume."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

import discord
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.background import retry_until_available
from bot.chat.calling import Calls
from bot.chat.conversation import SPOKEN
from bot.chat.voices import question_of_message
from bot.discord_errors import DISCORD_ERRORS
from bot.guards.interactions import working_on_event
from bot.recent import Recent
from bot.services import Services
from storage.conversations.replies import answered_questions, direct_channels
from storage.database.columns import utc_now
from storage.database.engine import FAILURES, explain
from storage.privacy.consent import erased_since
from storage.runtime.shards import FIRST, Shards, last_stop, note_stop

log = logging.getLogger(__name__)

ANSWERED_FOR = timedelta(minutes=5)
"""An answer to an older question would surprise more than it helps."""
STOPPING = timedelta(minutes=1)
"""Added to `chat.drain_s`: a question from the last moments before a stop may have got no answer."""
MOST_IN_CHANNEL = 5
MOST_CHANNELS = 50
MOST_DIRECT = 20
DIRECT_FOR = timedelta(days=1)
"""Time after an answer during which direct messages are searched: Discord does not list those with new messages."""
LOOKED_THROUGH = 100

Open = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.Thread
Place = Open | discord.DMChannel


class MissedQuestions:
    def __init__(self, bot: commands.AutoShardedBot, services: Services, calls: Calls) -> None:
        self._bot = bot
        self._services = services
        self._calls = calls
        self._known = Recent[None]()
        """IDs of the newest messages."""

    def is_new(self, message_id: int) -> bool:
        """Return whether the message comes for the first time, and remember it."""
        if message_id in self._known:
            return False
        self._known[message_id] = None
        return True

    async def stop(self) -> None:
        """Record that the bot stops: the next start skips earlier questions, whose answers may have been deleted."""
        if self._services.model_loaded.is_set():
            try:
                await self._services.database.run(note_stop, self._services.shards)
            except FAILURES as error:
                log.warning("The next start may answer again what was asked before this stop: %s", explain(error))

    async def answer(
        self, handle: Callable[[discord.Message], Awaitable[None]], *, of_shard: int | None = None
    ) -> None:
        """Pass each missed question to `handle` as if it had just come; those of one shard, or of all."""
        find = partial(self._find, of_shard)
        missed = await retry_until_available(find, "Reading what was asked in a gap")
        if missed:
            log.info("Questions asked while Discord told the bot nothing: %d.", len(missed))
        for message in missed:
            with working_on_event(self._bot, message):
                await handle(message)

    async def _find(self, shard: int | None) -> list[discord.Message]:
        """Return the newest missed question of each member, oldest first, with its author's roles.

        Only messages that are clearly meant for the bot count. In a busy channel the oldest stay unanswered.
        """
        if self._services.fixed_basis is not None:
            return []  # nobody writes on a simulated server while the bot is away
        stopping = STOPPING + timedelta(seconds=self._services.settings.chat.drain_s)
        since = await self._services.database.read(_since, self._services.shards, stopping)
        places = await self._places(since, shard)
        asked = [message for place in places for message in await self._asked_in(place, since)]
        left = await self._services.database.run(_without_answer, asked) if asked else []
        return [message for message in sorted(left, key=lambda one: one.id) if await self._with_roles(message)]

    async def _places(self, since: datetime, shard: int | None) -> list[Place]:
        """Return the places with new messages: Discord names each channel's newest message when a session starts."""
        recent = [one for one in self._open_places(shard) if _newest(one) >= discord.utils.time_snowflake(since)]
        newest = sorted(recent, key=_newest, reverse=True)[:MOST_CHANNELS]
        return [*newest, *(await self._direct_places() if shard in (None, FIRST) else [])]

    def _open_places(self, shard: int | None) -> Iterator[Open]:
        for guild in [guild for guild in self._bot.guilds if shard in (None, guild.shard_id)]:
            for channel in (*guild.channels, *guild.threads):
                if isinstance(channel, Open) and self._services.access.is_open(guild.id, channel.id):
                    yield channel

    async def _direct_places(self) -> list[discord.DMChannel]:
        """Return the direct messages in which the bot answered lately: Discord does not list them."""
        if not (self._services.shards.serve(None) and self._services.settings.access.direct_messages):
            return []
        known = await self._services.database.read(direct_channels, utc_now() - DIRECT_FOR, MOST_DIRECT)
        places = []
        for channel_id in known:
            try:
                places.append(await self._bot.fetch_channel(channel_id))
            except DISCORD_ERRORS as error:
                log.debug("The direct messages %d cannot be read: %s", channel_id, error)
        return [one for one in places if isinstance(one, discord.DMChannel)]

    async def _asked_in(self, place: Place, since: datetime) -> list[discord.Message]:
        try:
            said = [m async for m in place.history(limit=LOOKED_THROUGH, after=since, oldest_first=False)]
        except DISCORD_ERRORS as error:
            log.debug("What was missed in channel %d cannot be read: %s", place.id, error)
            return []
        replied_to = {question_of_message(m) for m in said if self._services.webhooks.wrote(m)}
        by_author = {m.author.id: m for m in reversed(said) if self._may_ask(m)}
        asked = [m for m in by_author.values() if m.id not in replied_to and m.id not in self._known]
        return sorted(asked, key=lambda one: one.id)[-MOST_IN_CHANNEL:]

    def _may_ask(self, message: discord.Message) -> bool:
        is_by_a_person = not message.author.bot and message.webhook_id is None
        return is_by_a_person and message.type in SPOKEN and self._calls.is_addressed(message)

    async def _with_roles(self, message: discord.Message) -> bool:
        """Complete the author, whose roles decide about access; return False if they have left."""
        if message.guild is None or isinstance(message.author, discord.Member):
            return True
        try:
            message.author = await message.guild.fetch_member(message.author.id)
        except DISCORD_ERRORS as error:
            log.debug("Discord did not say who asked %d: %s", message.id, error)
            return False
        return True


def _since(session: Session, shards: Shards, stopping: timedelta) -> datetime:
    """Return the time since which the shards may have missed questions."""
    earliest, stopped = utc_now() - ANSWERED_FOR, last_stop(session, shards)
    return max(earliest, stopped - stopping) if stopped else earliest


def _without_answer(session: Session, asked: Sequence[discord.Message]) -> list[discord.Message]:
    """Leave out what is answered, and the words of members who have deleted their data since."""
    answered = answered_questions(session, [message.id for message in asked])
    left = [message for message in asked if message.id not in answered]
    return [message for message in left if not erased_since(session, {message.author.id}, message.created_at)]


def _newest(place: Open) -> int:
    return place.last_message_id or 0
