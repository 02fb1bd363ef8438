"""Takes what members think: thumbs, and better answers of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from re import Match

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.background.vote_queue import Cleared, Membership, Reacted, Seen, stored_thumbs
from bot.background.write_queue import retry_until_available
from bot.chat.message_stream import DISCORD_ERRORS, is_temporary
from bot.chat.prompting import sanitize
from bot.errors import UserFacingError
from bot.guards.error_handler import NOT_MINE, answer_privately
from bot.guards.interactions import Form, PersistentButton
from bot.services import Services
from storage.conversations.replies import (
    Reply,
    ReplyMessage,
    find_by_message,
    find_reply,
    latest_in_channel,
    recent_messages,
)
from storage.database.columns import utc_now
from storage.members.memberships import note_members, strangers
from storage.personalities.personalities import lock_personalities
from storage.privacy.consent import basis_of_chat
from storage.training.evidence import WrittenCorrection, read_corrections
from storage.votes.corrections import (
    check_correction,
    latest_correction_in_channel,
    standing_correction,
    suggest,
    withdraw,
)
from storage.votes.votes import Thumb, thumb

log = logging.getLogger(__name__)

FORM_CHARS = 4_000
RECONCILE_ATTEMPTS = 3
RECONCILE_PAUSE_S = 5.0
STORING_S = 60.0
MEMBERS_AT_ONCE = 100  # Discord's limit
THANKS = "Thank you! Your answer counts as the better one in the next round."
TOO_NEW = "Thank you! It is kept with the answer. It is not trained on: your account, or your time here, is too new."
NOT_TRAINED = "Thank you! It is kept with the answer. It is not trained on: see `/privacy show`."


class Feedback(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._reconciling: asyncio.Task[None] | None = None
        self._departed: set[tuple[int, int]] = set()
        """Voters who have left, by guild and user: nobody knows any more since when they were members."""
        self._menu = app_commands.ContextMenu(name="Suggest a better answer", callback=self.suggest_from_menu)

    async def cog_load(self) -> None:
        self.bot.tree.add_command(self._menu)
        self.bot.add_dynamic_items(WithdrawButton)

    async def cog_unload(self) -> None:
        self._stop_reconciling()
        self.bot.tree.remove_command(self._menu.name, type=self._menu.type)
        self.bot.remove_dynamic_items(WithdrawButton)

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        by_a_bot = payload.member is not None and payload.member.bot
        elsewhere = self.bot.user is None or payload.message_author_id not in (None, self.bot.user.id)
        if not by_a_bot and not elsewhere:
            self._observe(payload, standing=True)

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        self._observe(payload, standing=False)

    @commands.Cog.listener()
    async def on_raw_reaction_clear(self, payload: discord.RawReactionClearEvent) -> None:
        self.services.vote_queue.put(Cleared(payload.message_id))

    @commands.Cog.listener()
    async def on_raw_reaction_clear_emoji(self, payload: discord.RawReactionClearEmojiEvent) -> None:
        if thumb(str(payload.emoji)):
            self.services.vote_queue.put(Cleared(payload.message_id, str(payload.emoji)))

    def _observe(self, payload: discord.RawReactionActionEvent, *, standing: bool) -> None:
        own = self.bot.user is not None and payload.user_id == self.bot.user.id
        emoji = str(payload.emoji)
        if own or thumb(emoji) is None or (standing and not self.services.access.may_react(payload)):
            return
        self.services.vote_queue.put(
            Reacted(
                Thumb(payload.message_id, payload.user_id, emoji, payload.burst),
                standing=standing,
                membership=_membership(payload),
            )
        )

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        self._start_reconciling()

    @commands.Cog.listener()
    async def on_shard_ready(self, _shard_id: int) -> None:
        """Discord says that the bot is ready once for all shards, also where one begins a new session later."""
        if self.bot.is_ready():
            self._start_reconciling()

    @commands.Cog.listener()
    async def on_resumed(self) -> None:
        self._start_reconciling()

    @commands.Cog.listener()
    async def on_answer_adopted(self, message: ReplyMessage) -> None:
        """Read the votes under a message that nobody knew to be an answer while the others were read."""
        if not await self._reconcile_message(message):
            self._start_reconciling()  # which asks until Discord tells

    def _start_reconciling(self) -> None:
        self._stop_reconciling()
        self._reconciling = self.services.tasks.spawn(self._reconcile(), "reconcile votes")

    def _stop_reconciling(self) -> None:
        if self._reconciling is not None:
            self._reconciling.cancel()

    async def _reconcile(self) -> None:
        """Re-read the reactions of recent replies: a gateway gap loses events, not reactions."""
        since = utc_now() - timedelta(days=self.services.settings.votes.reconcile_days)
        await retry_until_available(partial(self._reconcile_since, since), "Reading the votes of a gap")
        await retry_until_available(partial(self._meet_strangers, since), "Asking when voters joined")

    async def _reconcile_since(self, since: datetime) -> None:
        recent = await self.services.database.read(recent_messages, since, self.services.shards)
        unread = [message for message in recent if self.services.access.is_open(message.guild_id, message.channel_id)]
        while unread:
            unread = [message for message in unread if not await self._reconcile_message(message)]
            if unread:
                log.warning("Discord did not tell %d reactions; asking again in %g s", len(unread), RECONCILE_PAUSE_S)
                await asyncio.sleep(RECONCILE_PAUSE_S)

    async def _reconcile_message(self, message: ReplyMessage) -> bool:
        """Return False where it is worth asking again a little later."""
        for _ in range(RECONCILE_ATTEMPTS):
            with self.services.vote_queue.watching(message.message_id) as has_changed:
                try:
                    thumbs = await self._read_thumbs(message)
                except DISCORD_ERRORS as error:
                    log.debug("reactions of message %s cannot be read: %s", message.message_id, error)
                    return not is_temporary(error)
                stored = await self.services.database.read(stored_thumbs, message.reply_id, message.message_id)
                thumbs = await self._admitted(thumbs, stored, message.guild_id)
                # A reaction that arrived while Discord was asked is newer than the answer: ask again.
                if not has_changed():
                    if stored != thumbs:
                        self.services.vote_queue.put(Seen(message.message_id, thumbs))
                    return True
        return False

    async def _admitted(
        self, thumbs: frozenset[Thumb], stored: frozenset[Thumb], guild_id: int | None
    ) -> frozenset[Thumb]:
        """Leave out what people who are not served put there meanwhile; what counted goes on counting."""
        has_allowed_role = self.services.access.has_allowed_role
        return frozenset([one for one in thumbs if one in stored or await has_allowed_role(guild_id, one.user_id)])

    async def _read_thumbs(self, message: ReplyMessage) -> frozenset[Thumb]:
        message_id = message.message_id
        shown = await self.bot.get_partial_messageable(message.channel_id).fetch_message(message_id)
        thumbs: set[Thumb] = set()
        for reaction in shown.reactions:
            emoji = str(reaction.emoji)
            if thumb(emoji) is None:
                continue
            for kind in discord.ReactionType:
                burst = kind is discord.ReactionType.burst
                if reaction.burst_count if burst else reaction.normal_count:
                    thumbs.update(
                        [Thumb(message_id, u.id, emoji, burst) async for u in reaction.users(type=kind) if not u.bot]
                    )
        return frozenset(thumbs)

    async def _meet_strangers(self, since: datetime) -> None:
        """Ask Discord since when voters are members: it tells with the reactions that arrive, not with re-read ones."""
        await self.services.vote_queue.flush(STORING_S)
        for guild_id, user_ids in (await self.services.database.read(strangers, since)).items():
            guild = self.bot.get_guild(guild_id)
            if guild is None:
                continue  # the bot has left it
            asked = sorted(user_id for user_id in user_ids if (guild_id, user_id) not in self._departed)
            for start in range(0, len(asked), MEMBERS_AT_ONCE):
                await self._ask_about(guild, asked[start : start + MEMBERS_AT_ONCE], since)

    async def _ask_about(self, guild: discord.Guild, user_ids: list[int], since: datetime) -> None:
        try:
            members = await guild.query_members(user_ids=user_ids, limit=MEMBERS_AT_ONCE, cache=False)
        except (TimeoutError, discord.DiscordException) as error:
            log.debug("Discord did not tell about %d members of %s: %s", len(user_ids), guild.id, error)
            return
        joined_at = {member.id: member.joined_at for member in members if member.joined_at is not None}
        self._departed.update((guild.id, user_id) for user_id in user_ids if user_id not in joined_at)
        await self.services.database.run(_note_voters, guild.id, joined_at, since)

    async def suggest_from_menu(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Write a better answer than this one."""
        reply = await self.services.database.read(find_by_message, message.id)
        await self._open_form(interaction, reply, NOT_MINE)

    @app_commands.command(name="suggest")
    async def suggest_for_latest(self, interaction: discord.Interaction) -> None:
        """Suggest a better answer than the latest one in this channel."""
        channel_id = interaction.channel_id or 0
        reply = await self.services.database.read(latest_in_channel, channel_id)
        await self._open_form(interaction, reply, "I have not answered anything in this channel yet.")

    async def _open_form(self, interaction: discord.Interaction, reply: Reply | None, otherwise: str) -> None:
        if reply is None or not reply.answer:
            raise UserFacingError(otherwise)
        author = interaction.user.id
        earlier = await self.services.database.read(standing_correction, reply.id, author)
        draft = earlier.text if earlier else reply.answer
        await interaction.response.send_modal(SuggestionForm(self.services, reply, draft))

    @app_commands.command(name="withdraw")
    async def withdraw_latest(self, interaction: discord.Interaction) -> None:
        """Withdraw the latest answer that you suggested in this channel."""
        await interaction.response.defer(ephemeral=True)
        author, channel_id = interaction.user.id, interaction.channel_id or 0

        def take_back(session: Session) -> bool:
            correction = latest_correction_in_channel(session, channel_id, author)
            return correction is not None and withdraw(session, correction.id, author)

        withdrawn = await self.services.database.run(take_back)
        text = "Your latest suggestion is withdrawn." if withdrawn else "You have no suggestion in this channel."
        await answer_privately(interaction, text)


def _membership(payload: discord.RawReactionActionEvent) -> Membership | None:
    if payload.guild_id is None or payload.member is None or payload.member.joined_at is None:
        return None
    return Membership(payload.guild_id, payload.member.joined_at)


def _note_voters(session: Session, guild_id: int, joined_at: Mapping[int, datetime], since: datetime) -> None:
    """Note the members, but for those who deleted their data while Discord was asked."""
    lock_personalities(session)  # or a deletion under way would overlook what is added here
    voters = strangers(session, since).get(guild_id, set())
    note_members(session, guild_id, {user: moment for user, moment in joined_at.items() if user in voters})


class SuggestionForm(Form):
    def __init__(self, services: Services, reply: Reply, draft: str) -> None:
        super().__init__(title="A better answer")
        self._services = services
        self._reply_id = reply.id
        longest = min(FORM_CHARS, services.settings.corrections.max_chars)
        self.text: discord.ui.TextInput[SuggestionForm] = discord.ui.TextInput(
            style=discord.TextStyle.paragraph,
            default=draft[:longest],
            max_length=longest,
            required=False,
            custom_id="text",
        )
        self.add_item(discord.ui.Label(text="What should I have answered?", component=self.text))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        author, settings = interaction.user, self._services.settings

        def store(session: Session) -> tuple[int, list[WrittenCorrection]]:
            reply = find_reply(session, self._reply_id)
            if reply is None:
                raise UserFacingError(NOT_MINE)
            text = check_correction(sanitize(self.text.value), reply.answer, settings.corrections)
            speakers = {*reply.speakers, author.id}
            basis = self._services.fixed_basis or basis_of_chat(session, speakers)
            if isinstance(author, discord.Member) and author.joined_at is not None:
                # Before the reply is held: votes and deletions lock in this order too.
                note_members(session, author.guild.id, {author.id: author.joined_at})
            id_ = suggest(session, reply.id, author.id, text, basis)
            where = (reply.personality_id, settings.privacy, self._services.base.revision)
            return id_, read_corrections(session, *where, settings.votes, only=id_)

        await interaction.response.defer(ephemeral=True, thinking=True)
        correction_id, usable = await self._services.database.run(store)
        view = discord.ui.View(timeout=None)
        view.add_item(WithdrawButton(correction_id))
        await answer_privately(interaction, _thank(usable), view)


def _thank(usable: Sequence[WrittenCorrection]) -> str:
    """Say what becomes of a suggestion, which is among the usable ones or is not."""
    if not usable:
        return NOT_TRAINED
    return THANKS if usable[0].weight else TOO_NEW


class WithdrawButton(
    PersistentButton,
    template=r"reactune:withdraw:(?P<id>\d+)",
):
    def __init__(self, correction_id: int) -> None:
        self.correction_id = correction_id
        super().__init__(f"reactune:withdraw:{correction_id}", "Withdraw")

    @classmethod
    def parse(cls, match: Match[str]) -> WithdrawButton:
        return cls(int(match["id"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        author = interaction.user.id
        await interaction.response.defer()
        withdrawn = await services.database.run(withdraw, self.correction_id, author)
        text = "Your suggestion is withdrawn." if withdrawn else "That suggestion was withdrawn already."
        await interaction.edit_original_response(content=text, view=None)


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Feedback(bot, services))
