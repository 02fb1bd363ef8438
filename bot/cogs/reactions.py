"""Stores reactions as votes, and finds missed ones after a gap."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

import discord
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.background import retry_until_available
from bot.discord_errors import DISCORD_ERRORS, is_temporary
from bot.guards.interactions import BotCog
from bot.guards.rate_limit import SlidingWindows, Window
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext, speak
from bot.services import Services
from bot.vote_queue import Cleared, Contradiction, Reacted, Seen, stored_thumbs
from storage.conversations.replies import REREAD, ReplyMessage, recent_messages
from storage.database.columns import utc_now
from storage.emoji import VoteEmoji
from storage.members import note_members, strangers
from storage.personalities.personalities import lock_personalities
from storage.runtime.shards import Shards
from storage.votes.votes import Thumb

log = logging.getLogger(__name__)

RECONCILE_ATTEMPTS = 3
RECONCILE_PAUSE_S = 5.0
STORING_S = 60.0
MEMBERS_AT_ONCE = 100  # Discord's limit
DAY_S = 86_400.0
MINUTE_S = 60.0
HINT_S = 20.0
FIRST_VOTES = 3
"""Most hints about first votes in a channel and minute."""


class Reactions(BotCog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self._departed: set[tuple[int, int]] = set()
        """Voters who left, by guild and user: Discord no longer says when they joined."""
        self._hints = SlidingWindows()
        self._emoji = VoteEmoji(services.settings.votes.emoji)

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        if self.services.webhooks.may_have_written(payload.message_author_id):
            self._observe(payload, added=True)

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        self._observe(payload, added=False)

    @commands.Cog.listener()
    async def on_raw_reaction_clear(self, payload: discord.RawReactionClearEvent) -> None:
        self.services.vote_queue.put(Cleared(payload.message_id))

    @commands.Cog.listener()
    async def on_raw_reaction_clear_emoji(self, payload: discord.RawReactionClearEmojiEvent) -> None:
        if self._emoji.weight(spelling_of(payload.emoji)):
            self.services.vote_queue.put(Cleared(payload.message_id, spelling_of(payload.emoji)))

    def _observe(self, payload: discord.RawReactionActionEvent, *, added: bool) -> None:
        own = self.bot.user is not None and payload.user_id == self.bot.user.id
        emoji = spelling_of(payload.emoji)
        if own or not self._emoji.weight(emoji) or (added and not self.services.access.may_react(payload)):
            return
        self.services.vote_queue.put(
            Reacted(
                Thumb(payload.message_id, payload.user_id, emoji, payload.burst),
                payload.channel_id,
                added=added,
                guild_id=payload.guild_id,
                joined_at=payload.member.joined_at if payload.member else None,
            )
        )

    @commands.Cog.listener()
    async def on_contradiction(self, channel_id: int, found: Contradiction) -> None:
        """Tell a member that their reactions under an answer cancel each other out, at most once a day."""
        window = Window(found.thumb.user_id, 1, DAY_S)
        await self._hint(channel_id, found.thumb, partial(_describe_contradiction, found), window)

    @commands.Cog.listener()
    async def on_first_vote(self, channel_id: int, first: Thumb) -> None:
        """Tell a member the effect of their first vote, except in the demo; a crowd must not fill a channel with it."""
        if self.services.fixed_basis is None:
            learns = self.services.settings.privacy.learn_from_reactions
            window = Window(("first votes", channel_id), FIRST_VOTES, MINUTE_S)
            await self._hint(channel_id, first, partial(_describe_first_vote, first, learns=learns), window)

    async def _hint(self, channel_id: int, thumb: Thumb, describe: Callable[[], str], window: Window) -> None:
        """Answer a reaction with a short message that is deleted after a while, if the window has room.

        Discord has no private answer to a reaction. A direct message would be private, but many members refuse those,
        and Discord takes a bot that sends many for a spammer.
        """
        if self._hints.take([window], time.monotonic()):
            return
        channel = self.bot.get_partial_messageable(channel_id)
        speak(languages_of(self.bot).of_channel(channel_id, thumb.user_id))
        try:
            await channel.send(
                f"-# {describe()}",
                reference=channel.get_partial_message(thumb.message_id).to_reference(fail_if_not_exists=False),
                mention_author=False,
                silent=True,
                delete_after=HINT_S,
            )
        except DISCORD_ERRORS as error:
            log.debug("The hint about a vote could not be sent: %s", error)

    # After a gap

    @commands.Cog.listener()
    async def on_shard_ready(self, shard_id: int) -> None:
        """Read the events that a new session missed; Discord resends them only to a resumed one."""
        self.services.tasks.restart(self._reconcile(shard_id), f"votes of a gap of shard {shard_id}")

    @commands.Cog.listener()
    async def on_answer_adopted(self, message: ReplyMessage) -> None:
        """Read the votes under a message that was recognised as an answer only after the others had been read."""
        read = retry_until_available(partial(self._reconcile_all, [message]), "Reading the votes of an answer")
        self.services.tasks.restart(read, f"votes under {message.message_id}")

    async def _reconcile(self, shard_id: int) -> None:
        """Read the reactions to the shard's recent replies again: a gateway gap loses events, not reactions.

        Of any recent one: people also vote on answers that are older than the gap.
        """
        await self.bot.wait_until_ready()
        since = utc_now() - REREAD
        await retry_until_available(partial(self._reconcile_since, since, shard_id), "Reading the votes of a gap")
        await retry_until_available(
            partial(self._ask_when_voters_joined, since, shard_id), "Asking when members joined"
        )

    async def _reconcile_since(self, since: datetime, shard_id: int) -> None:
        shard = Shards(self.bot.shard_count or 1, frozenset({shard_id}))
        recent = await self.services.database.read(recent_messages, since, shard)
        await self._reconcile_all([one for one in recent if self.services.access.is_open(one.guild_id, one.channel_id)])

    async def _reconcile_all(self, unread: Sequence[ReplyMessage]) -> None:
        while unread:
            unread = [message for message in unread if not await self._reconcile_message(message)]
            if unread:
                log.warning("Discord did not return the reactions of %d messages; asking again.", len(unread))
                await asyncio.sleep(RECONCILE_PAUSE_S)

    async def _reconcile_message(self, message: ReplyMessage) -> bool:
        """Return False if it is worth asking again a little later."""
        for _ in range(RECONCILE_ATTEMPTS):
            with self.services.vote_queue.watching(message.message_id) as has_changed:
                try:
                    thumbs = await self._read_thumbs(message)
                except DISCORD_ERRORS as error:
                    log.debug("The reactions of message %s cannot be read: %s", message.message_id, error)
                    return not is_temporary(error)
                stored = await self.services.database.read(stored_thumbs, message.reply_id, message.message_id)
                thumbs = await self._admitted(thumbs, stored, message.guild_id)
                # A reaction that arrived in the meantime is newer than what was read: ask again.
                if not has_changed():
                    if stored != thumbs:
                        self.services.vote_queue.put(Seen(message.message_id, thumbs))
                    return True
        return False

    async def _admitted(
        self, thumbs: frozenset[Thumb], stored: frozenset[Thumb], guild_id: int | None
    ) -> frozenset[Thumb]:
        """Leave out new thumbs of people without access; stored thumbs still count."""
        has_allowed_role = self.services.access.has_allowed_role
        return frozenset([one for one in thumbs if one in stored or await has_allowed_role(guild_id, one.user_id)])

    async def _read_thumbs(self, message: ReplyMessage) -> frozenset[Thumb]:
        message_id = message.message_id
        shown = await self.bot.get_partial_messageable(message.channel_id).fetch_message(message_id)
        thumbs: set[Thumb] = set()
        for reaction in shown.reactions:
            emoji = spelling_of(reaction.emoji)
            if not self._emoji.weight(emoji):
                continue
            for kind in discord.ReactionType:
                burst = kind is discord.ReactionType.burst
                if reaction.burst_count if burst else reaction.normal_count > reaction.me:
                    thumbs.update(
                        [Thumb(message_id, u.id, emoji, burst) async for u in reaction.users(type=kind) if not u.bot]
                    )
        return frozenset(thumbs)

    async def _ask_when_voters_joined(self, since: datetime, shard_id: int) -> None:
        """Ask Discord when voters joined: it says so with a reaction that arrives, but not with one that is read."""
        await self.services.vote_queue.flush(STORING_S)
        for guild_id, user_ids in (await self.services.database.read(strangers, since)).items():
            guild = self.bot.get_guild(guild_id)
            if guild is None or guild.shard_id != shard_id:
                continue  # without a guild, the bot has left it
            asked = sorted(user_id for user_id in user_ids if (guild_id, user_id) not in self._departed)
            for batch in discord.utils.as_chunks(asked, MEMBERS_AT_ONCE):
                await self._ask_about(guild, batch, since)

    async def _ask_about(self, guild: discord.Guild, user_ids: list[int], since: datetime) -> None:
        try:
            members = await guild.query_members(user_ids=user_ids, limit=MEMBERS_AT_ONCE, cache=False)
        except DISCORD_ERRORS as error:
            log.debug("Discord did not say when %d members of %s joined: %s", len(user_ids), guild.id, error)
            return
        joined_at = {member.id: member.joined_at for member in members if member.joined_at is not None}
        self._departed.update((guild.id, user_id) for user_id in user_ids if user_id not in joined_at)
        await self.services.database.run(_note_voters, guild.id, joined_at, since)


def _describe_contradiction(found: Contradiction) -> str:
    return gettext(
        "{member}, your {likes} and {dislikes} cancel each other out. Remove one side, and the other counts.",
        member=f"<@{found.thumb.user_id}>",
        likes="".join(found.likes),
        dislikes="".join(found.dislikes),
    )


def _describe_first_vote(first: Thumb, *, learns: bool) -> str:
    thanks = gettext("{member}, thanks for your first vote.", member=f"<@{first.user_id}>")
    teaches = gettext("Reactions teach me which of my answers members like.")
    counts = gettext("Admins see how my answers are liked. I don't learn from reactions here.")
    return f"{thanks} {teaches if learns else counts} {gettext('`/myvotes` shows what became of yours.')}"


def spelling_of(emoji: discord.PartialEmoji | discord.Emoji | str) -> str:
    """Return the emoji as votes are stored with it: a server's own by its ID, because its name can change."""
    own_id = None if isinstance(emoji, str) else emoji.id
    return str(own_id or emoji)


def _note_voters(session: Session, guild_id: int, joined_at: Mapping[int, datetime], since: datetime) -> None:
    """Store when the voters joined, except those who deleted their data in the meantime."""
    lock_personalities(session)  # a deletion in progress would miss what is added here
    voters = strangers(session, since).get(guild_id, set())
    note_members(session, guild_id, {user: moment for user, moment in joined_at.items() if user in voters})
