"""Summarizes conversations that outgrow the context window; the base model writes in the background."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import discord
from sqlalchemy.orm import Session

from bot.chat.ask import Ask
from bot.chat.conversation import (
    Conversation,
    History,
    HistoryReader,
    SpokenMessage,
    converse,
    own_ids,
    spoken_messages,
)
from bot.chat.prompting import ChatMessage, Turn, sanitize, to_messages, with_memory
from bot.engine import Engine, Finish, GenerationRequest, Sampling
from bot.errors import BotError, UserFacingError
from bot.knowledge.quoting import PromptWithQuotes, render_with_quotes
from bot.personalities.selection import places_of
from bot.privacy.recent_deletions import Deletions
from bot.releases.resolver import ReleaseCandidates, read_candidates
from bot.services import Services
from storage.conversations.memory import Memory, list_notes, read_memory, write_summary
from storage.conversations.replies import Sources, find_by_messages
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import NOBODY
from storage.knowledge.documents import SearchScope, has_chunks, source_messages, speakers_of
from storage.knowledge.search import Passage, Question
from storage.members import is_greeted
from storage.personalities.bindings import ActivePersonality, active_personality_at
from storage.personalities.cards import settings_of
from storage.privacy.consent import erased_since

log = logging.getLogger(__name__)


LANE = -1
"""Summaries take turns with the personalities' answers: at most one summary per round of turns."""
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

    def __init__(self, engine: Engine, database: Database, reader: HistoryReader, deletions: Deletions) -> None:
        self._engine = engine
        self._database = database
        self._reader = reader
        self._deletions = deletions
        self._busy: set[int] = set()

    async def bring_up_to_date(self, channel: discord.abc.Messageable, channel_id: int, *, kept_messages: int) -> None:
        """Extend the summary to all but the newest `kept_messages`, which prompts hold word for word."""
        if channel_id in self._busy:
            return
        self._busy.add(channel_id)
        try:
            await self._summarize(channel, channel_id, kept_messages)
        except (BotError, discord.HTTPException) as error:
            log.warning("The conversation in %d cannot be summarized now: %s", channel_id, error)
        finally:
            self._busy.discard(channel_id)

    async def _summarize(self, channel: discord.abc.Messageable, channel_id: int, kept_messages: int) -> None:
        started_at = utc_now()
        before = await self._database.read(read_memory, channel_id)
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
            if not await self._database.run(self._write, channel_id, before, after, started_at):
                return  # forgotten or deleted in the meantime, or written by another process
            before = after

    async def _read_after(self, channel: discord.abc.Messageable, message_id: int) -> list[SpokenMessage]:
        posts = await self._reader.read_after(channel, message_id, MOST_READ)
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
            GenerationRequest(prompt=prompt.text, seed=0, sampling=SAMPLING, adapter=None, lane=LANE)
        )
        async for _ in generation:
            pass
        completion = generation.completion
        summary = " ".join(completion.text.split())[:MAX_SUMMARY_CHARS]
        if not summary or completion.finish not in (Finish.STOP, Finish.LENGTH):
            raise BotError(f"the model wrote nothing ({completion.finish})")  # the previous summary stays
        return summary


def summary_prompt(summary: str, turns: Sequence[Turn]) -> list[ChatMessage]:
    """Return the request to extend a summary by these turns."""
    lines = [sanitize(f"{turn.speaker or 'you, the bot'}: {turn.text}") for turn in turns]
    so_far = f"Summary so far: {summary}\n\n" if summary else ""
    return [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": f"{so_far}The chat goes on:\n" + "\n".join(lines) + "\n\nSummary of everything:"},
    ]


NOTHING_ASKED = "I don't see a question. Mention me together with your question, or reply to one of my messages."
TOO_LONG = "That message is too long for me, even shortened."


@dataclass(frozen=True)
class Context:
    """A question that is ready to be answered."""

    ask: Ask
    conversation: Conversation
    is_greeted: bool
    """The member has received the privacy notice."""


async def gather(services: Services, history: History, message: discord.Message, asked_at: datetime) -> Context:
    """Return what the answer to a message is made from; `asked_at` is when reading its history began.

    Raises UserFacingError if there is nothing to answer, or if the message is too long.
    """
    rows = await _read_rows(services, history, message)
    conversation, active = rows.conversation, rows.active
    if all(turn.speaker is None for turn in conversation.turns):
        raise UserFacingError(NOTHING_ASKED)
    rendered = await _render(services, message.author.display_name, rows)
    documents = {quote.document_id: rows.documents[quote.document_id] for quote in rendered.quotes}
    ask = Ask(
        prompt=rendered.prompt,
        personality=active.personality,
        strength=active.strength,
        release=await services.releases.choose(rows.candidates, strength=active.strength),
        channel=message.channel,
        channel_id=message.channel.id,
        guild_id=message.guild.id if message.guild else None,
        author_id=message.author.id,
        speakers=_speakers(rows, message.author.id, documents),
        asked_at=asked_at,
        source_message_id=message.id,
        retrieved=rendered.retrieved,
        citations=tuple({quote.document_id: (quote.title, quote.link) for quote in rendered.quotes}.values()),
        sources=_sources(conversation, documents),
    )
    return Context(ask, conversation, rows.is_greeted)


@dataclass(frozen=True)
class _Document:
    """Where the text of a document comes from."""

    speakers: frozenset[int]
    messages: frozenset[int]


@dataclass(frozen=True)
class _Rows:
    conversation: Conversation
    active: ActivePersonality
    candidates: ReleaseCandidates
    notes: Sequence[str]
    passages: Sequence[Passage]
    documents: Mapping[int, _Document]
    is_greeted: bool
    has_documents: bool


async def _read_rows(services: Services, history: History, message: discord.Message) -> _Rows:
    library = services.library
    is_looked_up = message.guild is not None and services.settings.knowledge.enabled
    question = Question(history.newest_words, None)
    if is_looked_up and library.is_ready:
        question = await library.ask(question.text)
    rows = await services.database.read(_read, services, history, message, question if is_looked_up else None)
    if rows.has_documents and not library.is_ready:  # the encoder is loaded for the first question that needs it
        question = await library.ask(question.text)
        rows = await services.database.read(_read, services, history, message, question)
    return rows


def _read(
    session: Session, services: Services, history: History, message: discord.Message, question: Question | None
) -> _Rows:
    """Read everything in one snapshot; without a question, no document is looked up."""
    memory = read_memory(session, message.channel.id)
    active = active_personality_at(session, places_of(message.channel))
    passages: Sequence[Passage] = ()
    if question is not None and message.guild is not None:
        parent_id = getattr(message.channel, "parent_id", None) or message.channel.id
        scope = SearchScope(message.guild.id, frozenset({message.channel.id, parent_id}), active.personality.id)
        passages = services.library.look_up(session, scope, question)
    return _Rows(
        conversation=converse(history, memory, find_by_messages(session, history.own_ids)),
        active=active,
        candidates=read_candidates(session, active.personality.id, message.channel.id),
        notes=[note.text for note in list_notes(session, message.author.id)],
        passages=passages,
        documents={
            id_: _Document(speakers_of(session, [id_]), source_messages(session, [id_]))
            for id_ in {passage.document_id for passage in passages}
        },
        is_greeted=is_greeted(session, message.author.id),
        has_documents=question is not None and has_chunks(session),
    )


async def _render(services: Services, author: str, rows: _Rows) -> PromptWithQuotes:
    """Render the prompt; the memory is left out if there is no room for it."""
    own = settings_of(services.settings, rows.active.personality.card).chat.system_prompt
    budget = services.settings.knowledge.budget_tokens
    remembering = with_memory(own, rows.conversation.summary, author, rows.notes)
    for system_prompt in dict.fromkeys((remembering, own)):
        with contextlib.suppress(ValueError):
            messages = to_messages(system_prompt, rows.conversation.turns)
            return await render_with_quotes(services.engine, messages, rows.passages, budget)
    raise UserFacingError(TOO_LONG)


def _speakers(rows: _Rows, author_id: int, documents: Mapping[int, _Document]) -> frozenset[int]:
    """Return whose words the prompt holds: of the conversation, of notes and of quoted documents."""
    quoted = (document.speakers for document in documents.values())
    return rows.conversation.speakers.union({author_id} if rows.notes else (), *quoted)


def _sources(conversation: Conversation, documents: Mapping[int, _Document]) -> Sources:
    quoted = dict.fromkeys((id_ for document in documents.values() for id_ in document.messages), NOBODY)
    return replace(conversation.sources, messages=quoted | dict(conversation.sources.messages))
