"""Summarizes conversations that outgrow the context window; the base model writes in the background."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import discord
from sqlalchemy.orm import Session

from bot.chat.conversation import HistoryReader, SpokenMessage, own_ids, spoken_messages
from bot.chat.prompting import ChatMessage, Turn
from bot.discord_errors import DISCORD_ERRORS
from bot.engine import SUMMARIES_LANE, GenerationRequest, Sampling, written
from bot.errors import BotError
from bot.services import Services
from storage.conversations.control_tokens import sanitize
from storage.conversations.replies import Sources, find_by_messages
from storage.conversations.summaries import Memory, read_memory, write_summary
from storage.database.columns import utc_now
from storage.privacy.consent import erased_since

log = logging.getLogger(__name__)

MAX_TOKENS = 120
MAX_SUMMARY_CHARS = 1_200
TURNS_AT_ONCE = 12
MOST_READ = 60
INSTRUCTIONS = (
    "You keep the minutes of a chat. Write what was said so far in at most five plain sentences: who wants what, what "
    "was decided, what is still open. Add nothing."
)
SAMPLING = Sampling(temperature=0.0, top_p=1.0, presence_penalty=1.5, max_new_tokens=MAX_TOKENS)


class Summaries:
    """Writes one summary of a channel at a time; a failed one is tried again after the next answer."""

    def __init__(self, services: Services, reader: HistoryReader) -> None:
        self._engine = services.engine
        self._database = services.database
        self._deletions = services.deletions
        self._attachments = services.attachments
        self._reader = reader
        self._busy: set[int] = set()

    async def bring_up_to_date(self, channel: discord.abc.MessageableChannel, kept_messages: int) -> None:
        """Extend the summary to all but the newest `kept_messages`, which prompts hold word for word."""
        if channel.id in self._busy:
            return
        self._busy.add(channel.id)
        try:
            await self._summarize(channel, kept_messages)
        except (BotError, *DISCORD_ERRORS) as error:
            log.warning("The conversation in %d cannot be summarized now: %s", channel.id, error)
        finally:
            self._busy.discard(channel.id)

    async def _summarize(self, channel: discord.abc.MessageableChannel, kept_messages: int) -> None:
        started_at = utc_now()
        before = await self._database.read(read_memory, channel.id)
        said = await self._read_after(channel, before.begins_after)
        old = said[: max(0, len(said) - kept_messages)]
        for start in range(0, len(old), TURNS_AT_ONCE):
            part = old[start : start + TURNS_AT_ONCE]
            after = Memory(
                await self._ask(before.summary, [one.turn for one in part]),
                max(part[-1].messages),
                before.forgotten_to,
                before.speakers.union(*(one.people for one in part)),
                before.summarised_from or min(part[0].messages),
            )
            if not await self._database.run(self._write, channel.id, before, after, started_at):
                return  # forgotten or deleted in the meantime, or written by another process
            before = after

    async def _read_after(self, channel: discord.abc.Messageable, message_id: int) -> list[SpokenMessage]:
        found = await self._reader.read_after(channel, message_id, MOST_READ)
        # Nothing from outside: an answer that saw it is never trained on, and later prompts hold the summary.
        posts = [replace(self._attachments.with_heard(post), materials=()) for post in found]
        return spoken_messages(posts, await self._database.read(find_by_messages, own_ids(posts)))

    def _write(self, session: Session, channel_id: int, before: Memory, after: Memory, started_at: datetime) -> bool:
        if erased_since(session, after.speakers, started_at):
            return False  # this summary would bring their words back
        if self._deletions.concern_prompt(channel_id, Sources(summary=after.span), started_at):
            return False
        return write_summary(session, channel_id, before, after)

    async def _ask(self, summary: str, turns: Sequence[Turn]) -> str:
        prompt = await self._engine.render(summary_prompt(summary, turns))
        generation = self._engine.submit(
            GenerationRequest(prompt=prompt.text, seed=0, sampling=SAMPLING, adapter=None, lane=SUMMARIES_LANE)
        )
        # If it writes nothing, the previous summary stays.
        return " ".join((await written(generation)).split())[:MAX_SUMMARY_CHARS]


def summary_prompt(summary: str, turns: Sequence[Turn]) -> list[ChatMessage]:
    """Return the request to extend a summary by these turns."""
    lines = [sanitize(f"{turn.speaker or 'you, the bot'}: {turn.text}") for turn in turns]
    so_far = f"Summary so far: {summary}\n\n" if summary else ""
    return [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": f"{so_far}The chat goes on:\n" + "\n".join(lines) + "\n\nSummary of everything:"},
    ]
