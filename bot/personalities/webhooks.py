"""The webhooks through which personalities speak with a name and a picture of their own.

A webhook belongs to one channel, and shows the picture that was uploaded to it: a link to a picture would have to be
one that Discord can reach, which most bots have nowhere. So there is one for each channel and personality.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass

import discord

from bot.discord_errors import DISCORD_ERRORS, TOO_MANY_WEBHOOKS
from storage.database.database import Database
from storage.personalities.cards import why_not_displayed
from storage.personalities.personalities import Personality
from storage.personalities.pictures import avatar_of, read_picture
from storage.personalities.webhooks import OwnWebhook, list_webhook_ids, needing_webhooks, record_webhook, webhooks_in
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

Home = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.ForumChannel
"""A channel that can have webhooks; those of a thread are its channel's."""
# What is to be done about it:
NO_PERMISSION = gettext_noop("give me Manage Webhooks there")
NO_ROOM = gettext_noop(
    "delete one of the channel's 15 webhooks, which are the most that Discord allows (Edit Channel, Integrations)"
)
INTENT_NEEDED = gettext_noop(
    "the operator has to switch on discord.message_content_intent: without it Discord does not show me what people "
    "reply to a webhook"
)


@dataclass(frozen=True)
class Guise:
    """A personality's appearance in a channel: a webhook, and the name and picture of its messages."""

    webhook: discord.Webhook
    username: str
    avatar_url: str | None
    """Address of the picture; None for the webhook's own."""
    thread: discord.Thread | None

    async def send(self, text: str) -> discord.WebhookMessage:
        return await self.webhook.send(
            text,
            username=self.username,
            avatar_url=self.avatar_url or discord.utils.MISSING,
            allowed_mentions=discord.AllowedMentions.none(),
            wait=True,
            thread=self.thread or discord.utils.MISSING,
        )

    async def fetch(self, message_id: int) -> discord.WebhookMessage:
        return await self.webhook.fetch_message(message_id, thread=self.thread or discord.utils.MISSING)


@dataclass(frozen=True)
class _Ready:
    """The webhook that a personality uses in a channel; None if there is none, nor room for one."""

    webhook: discord.Webhook | None
    picture_digest: str | None
    """Digest of the personality's picture at the time of the search."""
    is_shared: bool = False
    """The webhook belongs to another personality and shows that one's picture."""


class Webhooks:
    def __init__(self, client: discord.Client, database: Database, *, reads_replies: bool) -> None:
        """`reads_replies`: Discord shows the bot the words of messages that do not mention it."""
        self._client = client
        self._database = database
        self._reads_replies = reads_replies
        self._own: set[int] = set()
        """IDs of all webhooks that the bot ever made."""
        self._ready: dict[tuple[int, int], _Ready] = {}
        """Webhooks by (channel id, personality id)."""
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self) -> None:
        """Learn which webhooks the bot made; call it before the bot connects."""
        self._own |= await self._database.read(list_webhook_ids)

    # Who wrote a message

    def wrote(self, message: discord.Message) -> bool:
        """Return whether the message is the bot's own, under any name."""
        return message.author == self._client.user or self.is_own(message)

    def is_own(self, message: discord.Message) -> bool:
        """Return whether the message came through one of the bot's webhooks."""
        return message.webhook_id in self._own

    def may_have_written(self, author_id: int | None) -> bool:
        """Return whether a message with this author, which Discord does not always say, can be the bot's own."""
        me = self._client.user.id if self._client.user else None
        return author_id in (None, me) or author_id in self._own

    async def fetch_message(self, channel: discord.PartialMessageable, message_id: int) -> discord.Message:
        """Return one of the bot's own messages, which can be edited and deleted; raises DISCORD_ERRORS."""
        message = await channel.fetch_message(message_id)
        if message.webhook_id is None or not self.is_own(message):
            return message
        known = (one.webhook for one in self._ready.values() if one.webhook and one.webhook.id == message.webhook_id)
        webhook = next(known, None) or await self._client.fetch_webhook(message.webhook_id)
        thread = discord.utils.MISSING if webhook.channel_id == channel.id else discord.Object(channel.id)
        return await webhook.fetch_message(message_id, thread=thread)

    # How a personality speaks

    def why_not(self, channel: object) -> str:
        """Return the remedy if personalities must speak as the bot itself in a place; empty if they need not.

        The place is a server, or one of its categories, channels or threads.
        """
        home = channel.parent if isinstance(channel, discord.Thread) else channel
        if not self._reads_replies:
            return INTENT_NEEDED
        if isinstance(home, discord.Guild):
            return "" if home.me.guild_permissions.manage_webhooks else NO_PERMISSION
        if not isinstance(home, discord.abc.GuildChannel) or not home.permissions_for(home.guild.me).manage_webhooks:
            return NO_PERMISSION
        is_full = any(one.webhook is None for (channel_id, _), one in self._ready.items() if channel_id == home.id)
        return NO_ROOM if is_full else ""

    async def guise_of(self, personality: Personality, guild_id: int | None, channel_id: int) -> Guise | None:
        """Return the personality's appearance in a channel; None if it speaks as the bot itself."""
        if guild_id is None or not personality.has_appearance:
            return None
        try:
            channel = self._client.get_channel(channel_id) or await self._client.fetch_channel(channel_id)
            if not _may_write(channel) or self.why_not(channel) not in ("", NO_ROOM):
                return None
            thread = channel if isinstance(channel, discord.Thread) else None
            home = thread.parent if thread else channel
            return await self._guise_in(home, thread, personality) if isinstance(home, Home) else None
        except DISCORD_ERRORS as error:
            log.warning("%s speaks as the bot itself in channel %d: %s", personality.name, channel_id, error)
            return None

    def look_again(self, channel_id: int) -> None:
        """Look for a channel's webhooks before the next message: some were made, changed or deleted."""
        self._ready = {key: ready for key, ready in self._ready.items() if key[0] != channel_id}

    async def _guise_in(self, home: Home, thread: discord.Thread | None, personality: Personality) -> Guise | None:
        async with self._locks[home.id]:
            ready = self._ready.get((home.id, personality.id))
            if ready is None or ready.picture_digest != personality.picture_digest:
                ready = self._ready[home.id, personality.id] = await self._find(home, personality)
        me = home.guild.me
        name = personality.shown_name or me.display_name
        if ready.webhook is None or why_not_displayed(name):
            return None
        has_picture = personality.picture_digest is not None and not ready.is_shared
        return Guise(ready.webhook, name, None if has_picture else me.display_avatar.url, thread)

    async def _find(self, home: Home, personality: Personality) -> _Ready:
        """Return the personality's webhook in the channel; in a full channel one that it shares, if there is any."""
        known = {one.id: one for one in await self._database.read(webhooks_in, home.id)}
        present = [one for one in await home.webhooks() if one.token and one.user == self._client.user]
        webhook = await self._take_if_room(home, personality, present, known)
        if webhook is None and (unused := await self._unused(home, present, known)):
            for one in unused:
                await one.delete(reason="Its personality does not speak here with a name or a picture of its own")
            self.look_again(home.id)
            present = [one for one in present if one not in unused]
            webhook = await self._take_if_room(home, personality, present, known)
        if webhook is None:
            log.warning("%s has no webhook of its own in channel %d: %s.", personality.name, home.id, NO_ROOM)
            return _Ready(next(iter(present), None), personality.picture_digest, is_shared=True)
        self._own.add(webhook.id)
        record = OwnWebhook(webhook.id, home.id, personality.id, personality.picture_digest)
        await self._database.run(record_webhook, record)
        return _Ready(webhook, personality.picture_digest)

    async def _unused(
        self, home: Home, present: list[discord.Webhook], known: dict[int, OwnWebhook]
    ) -> list[discord.Webhook]:
        """Return the bot's webhooks in the channel whose personality no longer needs one there."""
        places = {home.id, home.category_id or home.id}
        needing = await self._database.read(needing_webhooks, home.guild.id, places)
        return [one for one in present if one.id in known and known[one.id].personality_id not in needing]

    async def _take_if_room(
        self, home: Home, personality: Personality, present: list[discord.Webhook], known: dict[int, OwnWebhook]
    ) -> discord.Webhook | None:
        """Return the personality's webhook; None if it has none and the channel is full."""
        mine = [one for one in present if one.id not in known or known[one.id].personality_id == personality.id]
        try:
            return await self._take(home, personality, mine, known)
        except discord.HTTPException as error:
            if error.code != TOO_MANY_WEBHOOKS:
                raise
            return None

    async def _take(
        self, home: Home, personality: Personality, mine: list[discord.Webhook], known: dict[int, OwnWebhook]
    ) -> discord.Webhook:
        """Return a webhook that shows the personality's picture: one of the bot's that are there, or a new one."""
        if mine and mine[0].id in known and known[mine[0].id].picture_digest == personality.picture_digest:
            return mine[0]
        picture = await self._database.read(read_picture, personality.id)
        avatar = await asyncio.to_thread(avatar_of, picture) if picture else None
        if mine:
            return await mine[0].edit(avatar=avatar)
        name = personality.shown_name or "Personality"
        return await home.create_webhook(name=name, avatar=avatar, reason=f"So that {personality.name} speaks here")


def _may_write(channel: object) -> bool:
    """Return whether the bot may write there itself: a webhook could write where an admin forbade it."""
    if isinstance(channel, discord.Thread):
        return channel.permissions_for(channel.guild.me).send_messages_in_threads
    return isinstance(channel, Home) and channel.permissions_for(channel.guild.me).send_messages
