"""Starts arenas, on command and on schedule, and closes them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import discord
from apscheduler.triggers.base import BaseTrigger
from sqlalchemy.orm import Session

from bot.arenas.answers import answer_arena, reply_row
from bot.arenas.board import (
    blind_board,
    cancelled_board,
    outcome,
    preparing,
    reason_of,
    results_board,
)
from bot.arenas.prompts import choose_arena_prompt
from bot.background import DueTimes, retry_until_available
from bot.chat.ask import Prompts
from bot.discord_errors import ARCHIVED, DISCORD_ERRORS, is_temporary
from bot.errors import UserFacingError
from bot.guards.access import is_quiet
from bot.guards.permissions import lacking_to_post
from bot.localization.languages import languages_of
from bot.localization.sentences import ENGLISH, speaking
from bot.personalities.selection import active_personality
from bot.services import Services
from storage.database.columns import utc_now
from storage.database.enums import ArenaStatus
from storage.errors import SettingsError
from storage.operations.audit import AuditedAction, audited
from storage.personalities.personalities import Personality
from storage.runtime.schedules import begin_schedule, parse_schedule, take_due
from storage.servers import ServerSetup, schedule_of_arenas
from storage.settings.sections import ArenaSettings
from storage.votes.arenas import (
    SCHEDULE,
    Arena,
    close_arena,
    fail_arena,
    find_arena,
    last_scheduled,
    open_arena,
    place_arena,
    prepare_arena,
    read_arena_answers,
    read_results,
)

log = logging.getLogger(__name__)

COMPARED_ANSWERS = 3
"""Answers of an arena, unless its starter says otherwise: a glance still compares three."""
OPEN_MINUTES = 60.0
Channel = discord.TextChannel | discord.VoiceChannel | discord.Thread


@dataclass(frozen=True)
class ArenaPlan:
    """An arena that an admin or the schedule asked for."""

    channel: Channel
    prompt: str | None
    """The prompt; None takes one from the bank."""
    answers: int
    minutes: float
    started_by: str
    audited_action: AuditedAction | None = None
    """The admin's action for the audit trail; None for the schedule."""


class ArenaHost:
    def __init__(self, client: discord.Client, services: Services) -> None:
        self._client = client
        self._services = services
        self.unfinished: dict[int, int] = {}
        """{message id: arena id}"""
        self._drawing = asyncio.Lock()
        """Held by a scheduled arena that draws answers: many servers choose the same time, and the queue has an end."""
        self.editing = asyncio.Lock()
        """Held from reading an arena to showing it, so that an older state never overwrites a newer one."""

    async def start(self, plan: ArenaPlan) -> Arena:
        """Begin to prepare an arena, whose message shows the progress, and return it as it is now.

        Raises UserFacingError, ArenaConflict or SettingsError if it cannot begin.
        """
        _require_permissions(plan.channel)
        personality = (await active_personality(self._services, plan.channel)).personality
        prompt, prompts = await choose_arena_prompt(self._services, plan.prompt, personality)
        arena = await self._services.database.run(
            audited(plan.audited_action, prepare_arena) if plan.audited_action else prepare_arena,
            personality_id=personality.id,
            guild_id=plan.channel.guild.id,
            channel_id=plan.channel.id,
            prompt=prompt,
            started_by=plan.started_by,
            closes_at=_closing_time(plan),
        )
        try:
            with self._speaking_in(plan.channel.guild.id):
                message = await plan.channel.send(preparing(0, plan.answers))
        except DISCORD_ERRORS as error:
            await self.fail(arena.id, reason_of(error))
        else:
            self.unfinished[message.id] = arena.id
            await self._services.database.run(place_arena, arena.id, message.id)
            self._services.tasks.spawn(
                self._prepare(arena.id, plan, personality, prompts, message), f"arena {arena.id}"
            )
        return await self._services.database.read(find_arena, arena.id)

    async def start_scheduled(self, channel_id: int, *, by_server: bool) -> None:
        """Start an arena that is due; a server's choices replace the operator's schedule there."""
        try:
            channel = await self._find_channel(channel_id, by_server=by_server)
            is_set_up = self._services.setups.find(channel.guild.id) is not None
            if is_set_up != by_server or not self._services.shards.serve(channel.guild.id):
                return  # the process that serves this server starts it
            arena = await self.start(ArenaPlan(channel, None, COMPARED_ANSWERS, OPEN_MINUTES, SCHEDULE))
        except Exception as error:
            log.warning("The scheduled arena did not start: %s", reason_of(error))
        else:
            log.info("The schedule started arena %d.", arena.id)

    async def _find_channel(self, channel_id: int, *, by_server: bool) -> Channel:
        try:
            return as_channel(self._client.get_channel(channel_id) or await self._client.fetch_channel(channel_id))
        except discord.HTTPException as error:
            if by_server:
                raise UserFacingError(
                    "I can't see the channel {id}, in which arenas were to start: choose another in /setup.",
                    id=str(channel_id),
                ) from error
            raise UserFacingError(
                "I can't see a channel with the id arena.channel = {id}: correct the setting.", id=str(channel_id)
            ) from error

    async def show(self, arena: Arena) -> None:
        """Show an open arena; raises DISCORD_ERRORS. The caller holds `editing`."""
        answers = await self._services.database.read(read_arena_answers, arena.id)
        with self._speaking_in(arena.guild_id):
            blind = blind_board(arena, answers, self._services.settings.output)
        await self._edit(arena, blind)

    async def _show_open(self, arena_id: int) -> None:
        async with self.editing:
            arena = await self._services.database.read(find_arena, arena_id)
            if arena.status is ArenaStatus.OPEN:
                await self.show(arena)

    async def finish(self, arena_id: int) -> None:
        """Show the results of an arena that takes no more picks, then close it.

        If Discord has trouble, the arena stays open and the next call tries again.
        """
        async with self.editing:
            answers = await self._services.database.run(read_results, arena_id)
            arena = await self._services.database.read(find_arena, arena_id)
            if arena.status is not ArenaStatus.OPEN:
                return
            with self._speaking_in(arena.guild_id):
                results = results_board(arena, answers, self._services.settings.output)
            try:
                await self._edit(arena, results)
            except DISCORD_ERRORS as error:
                await self.on_refusal(arena, error)
            else:
                await self._services.database.run(close_arena, arena_id)
                self.unfinished.pop(arena.message_id or 0, None)
                with speaking(ENGLISH):
                    log.info("Arena %d is closed. %s", arena_id, outcome(answers))

    async def on_refusal(self, arena: Arena, error: Exception) -> None:
        """Fail an arena whose message Discord will never accept."""
        if is_temporary(error):
            log.warning("Discord did not accept arena %d (%s); trying again.", arena.id, error)
        else:
            await self.fail(arena.id, reason_of(error))

    async def fail(self, arena_id: int, reason: str) -> None:
        """End an unfinished arena; the votes on its answers still count."""
        if await self._services.database.run(fail_arena, arena_id, reason):
            log.warning("Arena %d failed: %s", arena_id, reason)
        await self.show_failed(await self._services.database.read(find_arena, arena_id))

    async def show_failed(self, arena: Arena) -> None:
        self.unfinished.pop(arena.message_id or 0, None)
        if arena.message_id is not None:
            with self._speaking_in(arena.guild_id), contextlib.suppress(*DISCORD_ERRORS):
                await self._edit(arena, cancelled_board(arena))

    def _speaking_in(self, guild_id: int | None) -> AbstractContextManager[None]:
        """Speak the language of a server, not of the person who started the arena."""
        return speaking(languages_of(self._client).of_server(guild_id))

    async def _edit(self, arena: Arena, shown: discord.ui.LayoutView) -> None:
        """Show the arena in place of the progress, an earlier state, or embeds of an earlier release."""
        message = self._client.get_partial_messageable(arena.channel_id).get_partial_message(arena.message_id or 0)
        edit = partial(message.edit, content=None, embeds=[], view=shown)
        try:
            await edit()
        except discord.HTTPException as error:
            if error.code != ARCHIVED:
                raise
            thread = await self._client.fetch_channel(arena.channel_id)
            if isinstance(thread, discord.Thread):
                await thread.edit(archived=False)
            await edit()

    async def _prepare(
        self,
        arena_id: int,
        plan: ArenaPlan,
        personality: Personality,
        prompts: Prompts,
        message: discord.Message,
    ) -> None:
        guild_id, channel_id = plan.channel.guild.id, plan.channel.id

        async def report(ready: int) -> None:
            with self._speaking_in(guild_id), contextlib.suppress(*DISCORD_ERRORS):
                await message.edit(content=preparing(ready, plan.answers))

        try:
            async with self._drawing if plan.started_by == SCHEDULE else contextlib.nullcontext():
                drawn = await answer_arena(self._services, personality, prompts, plan.answers, report)
            row_of = partial(reply_row, self._services, personality, guild_id=guild_id, channel_id=channel_id)
            rows = [(row_of(answer), answer.finished) for answer in drawn]
            # The rows come first: after a crash before the message is shown, the next start shows it.
            await self._services.database.run(open_arena, arena_id, rows, _closing_time(plan))
            await retry_until_available(partial(self._show_open, arena_id), f"Arena {arena_id}", asks_discord=True)
        except Exception as error:
            await self.fail(arena_id, reason_of(error))


def as_channel(channel: object) -> Channel:
    """Return the channel if it can hold an arena; raises UserFacingError."""
    if not isinstance(channel, Channel):
        raise UserFacingError("An arena needs a text channel, a voice channel's chat or a thread.")
    return channel


def _require_permissions(channel: Channel) -> None:
    if missing := lacking_to_post(channel):
        raise UserFacingError(
            "I can't post an arena in {channel}: give me {permissions} there.",
            channel=channel.mention,
            permissions=", ".join(missing),
        )


def _closing_time(plan: ArenaPlan) -> datetime:
    return utc_now() + timedelta(minutes=plan.minutes)


def arena_trigger(settings: ArenaSettings) -> BaseTrigger | None:
    """Return the trigger of scheduled arenas, or None if only admins start them; raises SettingsError."""
    trigger = parse_schedule("arena.schedule", settings.schedule)
    if trigger is not None and not settings.channel:
        raise SettingsError(
            "arena.schedule is set, but arena.channel is not: write the id of the channel for scheduled arenas"
        )
    return trigger


class ArenaSchedule:
    """Starts scheduled arenas: a server's own schedule replaces the operator's."""

    INTERVAL_S = 10.0

    def __init__(self, services: Services, host: ArenaHost) -> None:
        self._services = services
        self._host = host
        self._channel_id = services.settings.arena.channel
        self._trigger = arena_trigger(services.settings.arena)
        # Every process polls for itself: only Discord can say which one serves the channel.
        self._name = f"arenas of {services.shards.names[0]}"
        self._due = DueTimes(services.database)
        self._broken: set[tuple[int, int]] = set()
        """Servers whose schedule the log has named, with the generation of their choices."""

    async def begin(self) -> None:
        """Watch the schedule from now on; a time missed since the last scheduled arena is still due."""

        def begin(session: Session) -> None:
            begin_schedule(session, self._name, last_scheduled(session))

        if self._trigger is not None:
            await self._services.database.run(begin)

    async def start_due(self) -> None:
        """Start the arenas that are due; in quiet hours they wait for their end."""
        services = self._services
        if is_quiet(services.settings.chat, utc_now()):
            return
        if self._trigger and await services.database.run(take_due, self._name, self._trigger):
            self._start(self._channel_id, by_server=False)
        for setup in services.setups.all():
            if services.shards.serve(setup.guild_id) and await self._is_due(setup):
                self._start(setup.choices.arena_channel, by_server=True)

    def _start(self, channel_id: int, *, by_server: bool) -> None:
        # A task of its own, so that unloading the cog does not cancel it.
        self._services.tasks.spawn(self._host.start_scheduled(channel_id, by_server=by_server), "scheduled arena")

    async def _is_due(self, setup: ServerSetup) -> bool:
        if (setup.guild_id, setup.generation) in self._broken:
            return False
        try:
            trigger = parse_schedule("arena.schedule", setup.choices.arena_schedule)
        except SettingsError as error:
            log.warning("Server %d: no arenas start until its admins use /setup again: %s", setup.guild_id, error)
            self._broken.add((setup.guild_id, setup.generation))
            return False
        return trigger is not None and await self._due.take(
            schedule_of_arenas(setup.guild_id), setup.generation, trigger
        )
