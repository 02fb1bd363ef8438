"""`/arena`: members compare blind answers to one of the operator's prompts, and pick the best."""

from __future__ import annotations

import logging

import discord
from discord import app_commands
from discord.ext import commands

from bot.arenas.board import NumberReactions, describe_start, describe_stop
from bot.arenas.host import (
    COMPARED_ANSWERS,
    OPEN_MINUTES,
    ArenaHost,
    ArenaPlan,
    ArenaSchedule,
    Channel,
    as_channel,
)
from bot.arenas.latest import ArenasButton
from bot.discord_errors import DISCORD_ERRORS
from bot.guards.access import user_label
from bot.guards.audit import NOTED, action_of, run_audited
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import AdminCog, button_row
from bot.services import Services
from storage.conversations.prompt_bank import MAX_PROMPT_CHARS
from storage.database.columns import utc_now
from storage.database.enums import ArenaStatus
from storage.votes.arenas import (
    Arena,
    PickGesture,
    fail_unprepared,
    find_arena,
    open_arenas,
    stop_arena,
    unfinished_arena,
)
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

CLOSING_INTERVAL_S = 2.0
LONGEST_MINUTES = 28 * 24 * 60.0


class Arenas(
    AdminCog, commands.GroupCog, group_name="arena", group_description="Blind answers for members to choose from"
):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self._host = ArenaHost(bot, services)
        self._schedule = ArenaSchedule(services, self._host)
        self._numbers = NumberReactions(bot, services)
        self._unprepared: list[Arena] = []
        """Arenas that a previous run of the bot was preparing."""
        self._has_resumed = False

    async def cog_load(self) -> None:
        self._unprepared = await self.services.database.run(fail_unprepared, self.services.shards)
        for arena in await self.services.database.read(open_arenas, shards=self.services.shards):
            self._host.unfinished[arena.message_id or 0] = arena.id
        await self._schedule.begin()

    # Commands

    @app_commands.command()
    @app_commands.describe(
        prompt="The question; without it, one from the prompt bank",
        channel="Where to post it; without it, here",
        answers="How many answers to compare",
        minutes="How long members can choose",
    )
    async def start(
        self,
        interaction: discord.Interaction,
        prompt: app_commands.Range[str, 1, MAX_PROMPT_CHARS] | None = None,
        channel: Channel | None = None,
        answers: app_commands.Range[int, 2, 4] | None = None,
        minutes: app_commands.Range[float, 1.0, LONGEST_MINUTES] | None = None,
    ) -> None:
        """Let members choose the best of several blind answers."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        plan = ArenaPlan(
            channel=as_channel(channel or interaction.channel),
            prompt=prompt,
            answers=answers or COMPARED_ANSWERS,
            minutes=minutes or OPEN_MINUTES,
            started_by=user_label(interaction.user),
            audited_action=action_of(interaction),
        )
        arena = await self._host.start(plan)
        interaction.extras[NOTED] = True
        await answer_privately(interaction, describe_start(arena), button_row([ArenasButton()]))

    @app_commands.command()
    @app_commands.describe(channel="The arena's channel; without it, here")
    async def stop(self, interaction: discord.Interaction, channel: Channel | None = None) -> None:
        """Close an arena now and show its results."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        where = as_channel(channel or interaction.channel)
        arena = await run_audited(
            interaction, action_of(interaction), stop_arena, where.id, user_label(interaction.user)
        )
        if arena.status is ArenaStatus.OPEN:
            await self._host.finish(arena.id)
        else:
            await self._host.show_failed(arena)
        arena = await self.services.database.read(find_arena, arena.id)
        await answer_privately(interaction, describe_stop(arena))

    # Closing, and after a gap in the connection

    async def _close_due(self) -> None:
        for arena in await self.services.database.read(open_arenas, utc_now(), self.services.shards):
            await self._host.finish(arena.id)

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        self._numbers.forget_removed()
        self.services.tasks.spawn(self._resume(), "resume arenas")

    @commands.Cog.listener()
    async def on_shard_ready(self, _shard_id: int) -> None:
        if self.bot.is_ready():
            self.services.tasks.spawn(self._resume(), "resume arenas")

    async def _resume(self) -> None:
        """Show open arenas again and store missed reactions; only then are overdue arenas closed."""
        try:
            while self._unprepared:
                await self._host.show_failed(self._unprepared.pop())
            for arena in await self.services.database.read(open_arenas, shards=self.services.shards):
                await self._resume_one(arena.id)
        finally:
            if not self._has_resumed:
                self._has_resumed = True
                self.services.tasks.repeat(self._close_due, CLOSING_INTERVAL_S, "close arenas")
                start_due = self._schedule.start_due
                self.services.tasks.repeat(start_due, ArenaSchedule.INTERVAL_S, "start scheduled arenas")

    async def _resume_one(self, arena_id: int) -> None:
        async with self._host.editing:
            arena = await self.services.database.read(find_arena, arena_id)
            if arena.status is not ArenaStatus.OPEN:
                return
            try:
                await self._host.show(arena)
            except DISCORD_ERRORS as error:
                await self._host.on_refusal(arena, error)
                return
            channel = self.bot.get_partial_messageable(arena.channel_id)
            try:
                message = await channel.fetch_message(arena.message_id or 0)
                await self._numbers.reread(arena.id, arena.guild_id, message)
            except DISCORD_ERRORS as error:
                log.warning("Discord did not tell who reacted to arena %d: %s", arena.id, error)

    # Deletions

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
            self.services.tasks.spawn(
                self._host.fail(arena_id, gettext_noop("its message was deleted")), f"end of arena {arena_id}"
            )

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        await self._on_channel_deleted(channel.id)

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        await self._on_channel_deleted(payload.thread_id)

    async def _on_channel_deleted(self, channel_id: int) -> None:
        arena = await self.services.database.read(unfinished_arena, channel_id)
        if arena is not None:
            await self._host.fail(arena.id, gettext_noop("its channel was deleted"))

    # Number reactions

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        arena_id = self._host.unfinished.get(payload.message_id)
        if arena_id is not None and self.services.access.may_react(payload):
            self._numbers.observe(arena_id, payload, PickGesture.REACTED)

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        arena_id = self._host.unfinished.get(payload.message_id)
        if arena_id is not None:
            self._numbers.observe(arena_id, payload, PickGesture.UNREACTED)
