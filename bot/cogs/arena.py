"""Lets members compare blind answers to a prompt of the operator's, and pick the best."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime
from re import Match

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.arenas import board
from bot.arenas.host import ArenaHost, ArenaPlan, Channel, as_channel
from bot.arenas.prompt_bank import MAX_PROMPT_CHARS, read_bank
from bot.arenas.schedule import LOOK_S, arena_trigger, begin_looking, take_due_arena
from bot.errors import UserFacingError
from bot.guards.access import require_admin, user_label
from bot.guards.audit import NOTED, action_of, run_audited
from bot.guards.error_handler import answer_privately, is_expected, member_message
from bot.guards.interactions import PersistentButton
from bot.personalities.selection import active_personality
from bot.services import Services
from bot.text.rounds import sentence
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import utc_now
from storage.database.enums import ArenaStatus
from storage.errors import ArenaClosed, SettingsError
from storage.personalities.personalities import Personality
from storage.votes.arenas import (
    SCHEDULE,
    Arena,
    ArenaAnswer,
    PickGesture,
    fail_unprepared,
    find_arena,
    last_used,
    open_arenas,
    read_arena_answers,
    recent_arenas,
    stop_arena,
    unfinished_arena,
)

log = logging.getLogger(__name__)

CLOCK_S = 2.0
LONGEST_MINUTES = 28 * 24 * 60.0
SHOWN_ARENAS = 5
KEYCAP = "\u20e3"
VARIATION_SELECTOR = "\ufe0f"


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class Arenas(commands.GroupCog, group_name="arena", group_description="Blind answers for members to choose from"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._host = ArenaHost(bot, services, _buttons)
        self._dead: list[Arena] = []
        """Arenas that an earlier life of the bot was preparing."""
        self._taken_away: set[tuple[int, int, int]] = set()
        """(message id, user id, place) of reactions that the bot itself takes away."""
        self._trigger = arena_trigger(services.settings.arena)
        self._repeating: list[asyncio.Task[None]] = []

    async def cog_load(self) -> None:
        self.bot.add_dynamic_items(PickButton)
        self._dead = await self.services.database.run(fail_unprepared, self.services.shards)
        for arena in await self.services.database.read(open_arenas, shards=self.services.shards):
            self._host.unfinished[arena.message_id or 0] = arena.id
        if self._trigger is not None:
            await self.services.database.run(begin_looking, self.services.shards)

    async def cog_unload(self) -> None:
        for task in self._repeating:
            task.cancel()
        self.bot.remove_dynamic_items(PickButton)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.services.settings.discord)
        return True

    # Commands

    @app_commands.command()
    @app_commands.describe(
        prompt="What is asked; without it, a prompt of the bank",
        channel="Where; without it, here",
        answers="How many answers",
        minutes="How long it is open",
    )
    async def start(
        self,
        interaction: discord.Interaction,
        prompt: app_commands.Range[str, 1, MAX_PROMPT_CHARS] | None = None,
        channel: Channel | None = None,
        answers: app_commands.Range[int, 2, 4] | None = None,
        minutes: app_commands.Range[float, 1.0, LONGEST_MINUTES] | None = None,
    ) -> None:
        """Let members pick the best of several blind answers."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        defaults = self.services.settings.arena
        plan = ArenaPlan(
            channel=as_channel(channel or interaction.channel),
            prompt=prompt,
            answers=answers or defaults.answers,
            minutes=minutes or defaults.minutes,
            started_by=user_label(interaction.user),
            audited_action=action_of(interaction),
        )
        arena = await self._host.start(plan)
        interaction.extras[NOTED] = True
        await answer_privately(interaction, board.describe_start(arena))

    @app_commands.command()
    @app_commands.describe(channel="Where it is; without it, here")
    async def stop(self, interaction: discord.Interaction, channel: Channel | None = None) -> None:
        """Close an arena now and show its results."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        place = as_channel(channel or interaction.channel)
        arena = await run_audited(interaction, stop_arena, place.id, user_label(interaction.user))
        if arena.status is ArenaStatus.OPEN:
            await self._host.finish(arena.id)
        else:
            await self._host.show_failed(arena)
        arena = await self.services.database.read(find_arena, arena.id)
        await answer_privately(interaction, board.describe_stop(arena))

    @app_commands.command()
    async def status(self, interaction: discord.Interaction) -> None:
        """Show the latest arenas, the prompt bank and the schedule."""
        await interaction.response.defer(ephemeral=True)
        arenas = await self.services.database.read(_latest, interaction.guild_id or 0)
        lines = [board.describe_arena(arena, answers) for arena, answers in arenas] or ["There was no arena yet."]
        whose = (await active_personality(self.services, interaction.channel)).personality
        lines += [await self._describe_bank(whose), self._describe_schedule()]
        await interaction.followup.send("\n".join(lines)[:MAX_MESSAGE_CHARS], ephemeral=True)

    async def _describe_bank(self, whose: Personality) -> str:
        try:
            bank = await asyncio.to_thread(read_bank, self.services.settings.arena.prompts)
        except SettingsError as error:
            return f"⚠️ {sentence(str(error))}"
        used = await self.services.database.read(last_used, whose.id)
        fresh = sum(prompt.text not in used for prompt in bank.prompts)
        return f"**Prompt bank:** {bank.describe()}; {fresh} not asked yet"

    def _describe_schedule(self) -> str:
        arena = self.services.settings.arena
        if self._trigger is None:
            return "**Schedule:** none, admins start arenas"
        return f"**Schedule:** `{arena.schedule}` UTC in <#{arena.channel}>"

    # The clock

    async def _start_due(self) -> None:
        if await self.services.database.run(take_due_arena, self.services.shards, self._trigger):
            # A task of its own: stopping the loop would cut short what runs in it.
            self.services.tasks.spawn(self._start_scheduled(), "scheduled arena")

    async def _start_scheduled(self) -> None:
        settings = self.services.settings.arena
        try:
            channel = await self._scheduled_channel(settings.channel)
            if not self.services.shards.serve(channel.guild.id):
                return  # the process that hears of the picks starts it
            arena = await self._host.start(ArenaPlan(channel, None, settings.answers, settings.minutes, SCHEDULE))
        except Exception as error:
            log.warning("The scheduled arena did not start: %s", error if is_expected(error) else member_message(error))
        else:
            log.info("The schedule started arena %d.", arena.id)

    async def _scheduled_channel(self, channel_id: int) -> Channel:
        try:
            return as_channel(self.bot.get_channel(channel_id) or await self.bot.fetch_channel(channel_id))
        except discord.HTTPException as error:
            raise UserFacingError(f"arena.channel = {channel_id} is no channel that I can see: correct it.") from error

    async def _close_due(self) -> None:
        for arena in await self.services.database.read(open_arenas, utc_now(), self.services.shards):
            await self._host.finish(arena.id)

    # After a gap

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        self._taken_away.clear()
        self.services.tasks.spawn(self._take_up(), "take up arenas")

    @commands.Cog.listener()
    async def on_shard_ready(self, _shard_id: int) -> None:
        if self.bot.is_ready():
            self.services.tasks.spawn(self._take_up(), "take up arenas")

    @commands.Cog.listener()
    async def on_resumed(self) -> None:
        self.services.tasks.spawn(self._take_up(), "take up arenas")

    async def _take_up(self) -> None:
        """Go on with the arenas, with the reactions that were missed; the clock closes those that are overdue then."""
        try:
            while self._dead:
                await self._host.show_failed(self._dead.pop())
            for arena in await self.services.database.read(open_arenas, shards=self.services.shards):
                await self._take_up_one(arena.id)
        finally:
            if not self._repeating:
                self._repeating.append(self.services.tasks.repeat(self._close_due, CLOCK_S, "close arenas"))
                if self._trigger is not None:
                    self._repeating.append(
                        self.services.tasks.repeat(self._start_due, LOOK_S, "start scheduled arenas")
                    )

    async def _take_up_one(self, arena_id: int) -> None:
        async with self._host.editing:
            arena = await self.services.database.read(find_arena, arena_id)
            if arena.status is not ArenaStatus.OPEN:
                return
            try:
                await self._host.show(arena)
                await self._reread(arena)
            except discord.HTTPException as error:
                await self._host.on_refusal(arena, error)

    async def _reread(self, arena: Arena) -> None:
        """Count the number reactions that came while the bot was away."""
        channel = self.bot.get_partial_messageable(arena.channel_id)
        shown = await channel.fetch_message(arena.message_id or 0)
        # Where the bot takes reactions away, one that stands was never counted; elsewhere nobody knows.
        gesture = PickGesture.REACTED if self._may_take_away(arena.channel_id) else PickGesture.FOUND
        for reaction in shown.reactions:
            place = scope_of_channel(str(reaction.emoji))
            if place is None:
                continue
            for kind in discord.ReactionType:
                async for user in reaction.users(type=kind):
                    if not user.bot and await self.services.access.has_allowed_role(arena.guild_id, user.id):
                        with contextlib.suppress(ArenaClosed):  # its message was deleted meanwhile
                            await self.services.pick_queue.take(arena.id, user.id, place, gesture, reread=True)
                        await self._take_away(arena.channel_id, shown.id, user.id, place)

    @commands.Cog.listener()
    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        self._on_deleted(payload.message_id)

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        for message_id in payload.message_ids:
            self._on_deleted(message_id)

    def _on_deleted(self, message_id: int) -> None:
        arena_id = self._host.unfinished.get(message_id)
        if arena_id is not None:
            self.services.tasks.spawn(self._host.fail(arena_id, "its message was deleted"), f"end of arena {arena_id}")

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        await self._on_channel_deleted(channel.id)

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        await self._on_channel_deleted(payload.thread_id)

    async def _on_channel_deleted(self, channel_id: int) -> None:
        arena = await self.services.database.read(unfinished_arena, channel_id)
        if arena is not None:
            await self._host.fail(arena.id, "its channel was deleted")

    # Number reactions

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        by_a_bot = payload.member is not None and payload.member.bot
        if not by_a_bot and self.services.access.may_react(payload):
            self._on_number(payload, PickGesture.REACTED)

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        self._on_number(payload, PickGesture.UNREACTED)

    def _on_number(self, payload: discord.RawReactionActionEvent, gesture: PickGesture) -> None:
        arena_id, place = self._host.unfinished.get(payload.message_id), scope_of_channel(str(payload.emoji))
        if arena_id is None or place is None:
            return
        taken_away = (payload.message_id, payload.user_id, place)
        if gesture is PickGesture.UNREACTED and taken_away in self._taken_away:
            self._taken_away.discard(taken_away)
        else:
            self.services.tasks.spawn(
                self._pick_by_reaction(arena_id, payload, place, gesture), f"pick in arena {arena_id}"
            )

    async def _pick_by_reaction(
        self, arena_id: int, payload: discord.RawReactionActionEvent, place: int, gesture: PickGesture
    ) -> None:
        with contextlib.suppress(ArenaClosed):
            await self.services.pick_queue.take(
                arena_id, payload.user_id, place, gesture, joined_at=_joined_at(payload.member)
            )
        if gesture is PickGesture.REACTED:
            # Standing reactions would show how many picked what.
            await self._take_away(payload.channel_id, payload.message_id, payload.user_id, place)

    def _may_take_away(self, channel_id: int) -> bool:
        channel = self.bot.get_channel(channel_id)
        return isinstance(channel, Channel) and channel.permissions_for(channel.guild.me).manage_messages

    async def _take_away(self, channel_id: int, message_id: int, user_id: int, place: int) -> None:
        if not self._may_take_away(channel_id):
            return
        self._taken_away.add((message_id, user_id, place))
        message = self.bot.get_partial_messageable(channel_id).get_partial_message(message_id)
        try:
            await message.remove_reaction(f"{place}{VARIATION_SELECTOR}{KEYCAP}", discord.Object(user_id))
        except discord.HTTPException as error:
            self._taken_away.discard((message_id, user_id, place))
            log.debug("a reaction under message %s stays: %s", message_id, error)


class PickButton(
    PersistentButton,
    template=r"reactune:arena:(?P<arena>\d+):(?P<place>\d+)",
):
    def __init__(self, arena_id: int, place: int) -> None:
        self.arena_id = arena_id
        self.place = place
        custom_id = f"reactune:arena:{arena_id}:{place}"
        super().__init__(custom_id, str(place), discord.ButtonStyle.primary)

    @classmethod
    def parse(cls, match: Match[str]) -> PickButton:
        return cls(int(match["arena"]), int(match["place"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        # Queued before Discord is asked, which may answer two presses in another order.
        user = interaction.user
        storing = asyncio.create_task(
            services.pick_queue.take(
                self.arena_id, user.id, self.place, PickGesture.PRESSED, joined_at=_joined_at(user)
            ),
            name=f"pick in arena {self.arena_id}",
        )
        with contextlib.suppress(discord.HTTPException):
            await interaction.response.defer(ephemeral=True, thinking=True)
        await answer_privately(interaction, board.describe_pick(await storing))


def _buttons(arena_id: int, places: int) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for place in range(1, places + 1):
        view.add_item(PickButton(arena_id, place))
    return view


def scope_of_channel(emoji: str) -> int | None:
    """Return the place that a number reaction such as 1️⃣ names, or None."""
    digit, keycap = emoji[:1], emoji[1:].replace(VARIATION_SELECTOR, "")
    return int(digit) if keycap == KEYCAP and digit in "1234" else None


def _latest(session: Session, guild_id: int) -> list[tuple[Arena, list[ArenaAnswer]]]:
    return [(arena, read_arena_answers(session, arena.id)) for arena in recent_arenas(session, guild_id, SHOWN_ARENAS)]


def _joined_at(user: discord.User | discord.Member | None) -> datetime | None:
    return user.joined_at if isinstance(user, discord.Member) else None


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Arenas(bot, services))
