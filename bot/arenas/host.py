"""Runs arenas: prepares their answers, shows them, closes them with the results."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import discord

from bot.arenas.answers import DrawnAnswer, draw_answers, share_places
from bot.arenas.board import Board, blind_board, failed, outcome, preparing, results_board
from bot.arenas.contenders import find_contenders
from bot.arenas.prompt_bank import bank_messages, order_by_use, read_bank
from bot.chat.message_stream import is_temporary
from bot.chat.prompting import sanitize
from bot.engine import RenderedPrompt
from bot.errors import UserFacingError
from bot.guards.error_handler import member_message
from bot.personalities.selection import active_personality
from bot.services import Services
from storage.conversations.replies import NewReply
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, ArenaStatus, Basis, Origin
from storage.operations.audit import AuditedAction, audited
from storage.personalities.cards import settings_of, tuned
from storage.personalities.personalities import Personality
from storage.votes.arenas import (
    Arena,
    close_arena,
    fail_arena,
    find_arena,
    last_used,
    open_arena,
    place_arena,
    prepare_arena,
    read_arena_answers,
    read_results,
)

log = logging.getLogger(__name__)

Channel = discord.TextChannel | discord.VoiceChannel | discord.Thread
OTHER_CHANNEL = "An arena needs a text channel, a voice channel's chat or a thread."
TOO_LONG = "That prompt does not fit into the model's context, even without any conversation: shorten it."
NO_PROMPT_FITS = "No prompt of the bank fits into the model's context: shorten them, or raise model.context_tokens."


@dataclass(frozen=True)
class ArenaPlan:
    """An arena as it was asked for; no prompt is one of the bank."""

    channel: Channel
    prompt: str | None
    answers: int
    minutes: float
    started_by: str
    audited_action: AuditedAction | None = None
    """For the audit trail; the schedule leaves no line."""


class ArenaHost:
    def __init__(
        self, client: discord.Client, services: Services, buttons: Callable[[int, int], discord.ui.View]
    ) -> None:
        """`buttons` returns those of an arena, by its id and the number of its answers."""
        self._client = client
        self._services = services
        self._buttons = buttons
        self.unfinished: dict[int, int] = {}
        """{message id: arena id}"""
        self.editing = asyncio.Lock()
        """Held from reading an arena to showing it, so that an older state never overwrites a newer one."""

    async def start(self, plan: ArenaPlan) -> Arena:
        """Begin to prepare an arena, whose message then shows how that goes; return it as it is now.

        Raises UserFacingError, ArenaConflict or SettingsError where it cannot begin.
        """
        _require_permissions(plan.channel)
        personality = (await active_personality(self._services, plan.channel)).personality
        prompt, rendered = await self._choose_prompt(plan.prompt, personality)
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
            message = await plan.channel.send(preparing(0, plan.answers))
        except discord.HTTPException as error:
            await self.fail(arena.id, _reason(error))
        else:
            self.unfinished[message.id] = arena.id
            await self._services.database.run(place_arena, arena.id, message.id)
            self._services.tasks.spawn(
                self._prepare(arena.id, plan, personality, rendered, message), f"arena {arena.id}"
            )
        return await self._services.database.read(find_arena, arena.id)

    async def show(self, arena: Arena) -> None:
        """Show an open arena; raises discord.HTTPException. The caller holds `editing`."""
        answers = await self._services.database.read(read_arena_answers, arena.id)
        await self._edit(
            arena, blind_board(arena, answers, self._services.settings.output), self._buttons(arena.id, len(answers))
        )

    async def finish(self, arena_id: int) -> None:
        """Show the results of an arena that takes no more picks, then end it.

        While Discord has trouble it stays as it is, for another try.
        """
        async with self.editing:
            answers = await self._services.database.run(read_results, arena_id)
            arena = await self._services.database.read(find_arena, arena_id)
            if arena.status is not ArenaStatus.OPEN:
                return
            try:
                await self._edit(arena, results_board(arena, answers, self._services.settings.output), None)
            except discord.HTTPException as error:
                await self.on_refusal(arena, error)
            else:
                await self._services.database.run(close_arena, arena_id)
                self.unfinished.pop(arena.message_id or 0, None)
                log.info("Arena %d is closed: %s", arena_id, outcome(answers))

    async def on_refusal(self, arena: Arena, error: discord.HTTPException) -> None:
        """Fail an arena whose message Discord will never take."""
        if is_temporary(error):
            log.warning("Discord did not take arena %d (%s); trying again.", arena.id, error)
        else:
            await self.fail(arena.id, _reason(error))

    async def fail(self, arena_id: int, reason: str) -> None:
        """End an unfinished arena; the votes on its answers stand."""
        if await self._services.database.run(fail_arena, arena_id, reason):
            log.warning("Arena %d failed: %s", arena_id, reason)
        await self.show_failed(await self._services.database.read(find_arena, arena_id))

    async def show_failed(self, arena: Arena) -> None:
        self.unfinished.pop(arena.message_id or 0, None)
        if arena.message_id is not None:
            with contextlib.suppress(discord.HTTPException):
                await self._edit(arena, Board(failed(arena.reason), []), None)

    async def _edit(self, arena: Arena, board: Board, view: discord.ui.View | None) -> None:
        message = self._client.get_partial_messageable(arena.channel_id).get_partial_message(arena.message_id or 0)
        await message.edit(content=board.content, embeds=board.embeds, view=view)

    async def _choose_prompt(self, typed: str | None, whose: Personality) -> tuple[str, RenderedPrompt]:
        if typed is None:
            return await self._bank_prompt(whose)
        return await self._typed_prompt(sanitize(typed).strip(), whose)

    async def _typed_prompt(self, prompt: str, whose: Personality) -> tuple[str, RenderedPrompt]:
        if not prompt:
            raise UserFacingError("That prompt has no words.")
        rendered = await self._render(prompt, whose)
        if rendered is None:
            raise UserFacingError(TOO_LONG)
        return prompt, rendered

    async def _bank_prompt(self, whose: Personality) -> tuple[str, RenderedPrompt]:
        """Return the prompt of the bank whose turn it is, among those that fit."""
        bank = await asyncio.to_thread(read_bank, self._services.settings.arena.prompts)
        used = await self._services.database.read(last_used, whose.id)
        for candidate in order_by_use(bank.prompts, used, random.Random()):
            rendered = await self._render(candidate.text, whose)
            if rendered is not None:
                return candidate.text, rendered
            log.warning("Line %d of %s does not fit into the context and is skipped.", candidate.line, bank.source)
        raise UserFacingError(NO_PROMPT_FITS)

    async def _render(self, prompt: str, whose: Personality) -> RenderedPrompt | None:
        """Render the prompt as chat renders a message, or return None where it does not fit whole."""
        system_prompt = settings_of(self._services.settings, whose.card).chat.system_prompt
        try:
            rendered = await self._services.engine.render(bank_messages(system_prompt, prompt))
        except ValueError:
            return None
        return None if rendered.shortened else rendered

    async def _prepare(
        self, arena_id: int, plan: ArenaPlan, whose: Personality, rendered: RenderedPrompt, message: discord.Message
    ) -> None:
        try:
            drawn = await self._draw(plan, whose, rendered, message)
            rows = [(self._reply(plan, whose, rendered, answer), answer.finished) for answer in drawn]
            # The rows come first: a crash before the message is shown is mended at the next start.
            arena = await self._services.database.run(open_arena, arena_id, rows, _closing_time(plan))
            async with self.editing:
                await self.show(arena)
        except Exception as error:
            await self.fail(arena_id, _reason(error))

    async def _draw(
        self, plan: ArenaPlan, whose: Personality, rendered: RenderedPrompt, message: discord.Message
    ) -> Sequence[DrawnAnswer]:
        """Return the answers in random order."""

        async def report(ready: int) -> None:
            with contextlib.suppress(discord.HTTPException):
                await message.edit(content=preparing(ready, plan.answers))

        services = self._services
        contenders = await find_contenders(services.database, services.releases, whose.id)
        places = share_places(contenders, plan.answers)
        drawn = await draw_answers(
            services.engine, rendered, places, tuned(services.settings.generation, whose.card), report, lane=whose.id
        )
        return random.sample(drawn, len(drawn))

    def _reply(self, plan: ArenaPlan, whose: Personality, rendered: RenderedPrompt, answer: DrawnAnswer) -> NewReply:
        version = answer.release.version
        return NewReply(
            personality_id=whose.id,
            version_id=version.id if version else None,
            base_revision=self._services.base.revision,
            prompt=rendered.text,
            messages=[{"role": m["role"], "content": m["content"]} for m in rendered.messages],
            sampling=asdict(answer.request.sampling),
            seed=answer.request.seed,
            prompt_tokens=rendered.tokens,
            dropped_turns=rendered.dropped,
            guild_id=plan.channel.guild.id,
            channel_id=plan.channel.id,
            author_id=NOBODY,
            source_message_id=None,
            basis=Basis.PROMPT_BANK,
            speakers=(),
            origin=Origin.ARENA,
        )


def as_channel(channel: object) -> Channel:
    """Return the channel where it can hold an arena; raises UserFacingError."""
    if not isinstance(channel, Channel):
        raise UserFacingError(OTHER_CHANNEL)
    return channel


def _require_permissions(channel: Channel) -> None:
    """Raise UserFacingError, which names what is missing, where the bot may not post an arena."""
    may = channel.permissions_for(channel.guild.me)
    may_send = may.send_messages_in_threads if isinstance(channel, discord.Thread) else may.send_messages
    needed = {"View Channel": may.view_channel, "Send Messages": may_send, "Embed Links": may.embed_links}
    missing = [name for name, granted in needed.items() if not granted]
    if missing:
        raise UserFacingError(f"I may not post an arena in {channel.mention}: give me {', '.join(missing)} there.")


def _closing_time(plan: ArenaPlan) -> datetime:
    return utc_now() + timedelta(minutes=plan.minutes)


def _reason(error: BaseException) -> str:
    """Return why an arena failed, in words that may stand in its channel."""
    if isinstance(error, discord.NotFound):
        return "its message or channel was deleted"
    if isinstance(error, discord.Forbidden):
        return "I may not write in its channel any more"
    if isinstance(error, discord.HTTPException):
        return f"Discord did not take it ({error.status})"
    return member_message(error)
