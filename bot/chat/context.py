"""Gathers the inputs of an answer, and of another answer to the same question.

They are the conversation, memory, documents and the version that answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import discord
from sqlalchemy.orm import Session

from bot.attachments.material import honest_notes
from bot.chat.ask import Ask, Prompts
from bot.chat.conversation import Conversation, History, converse, own_ids
from bot.chat.prompting import ChatMessage
from bot.chat.rendering import TOO_LONG, add_examples, render_question
from bot.engine import RenderedPrompt
from bot.errors import NothingAsked, UserFacingError
from bot.knowledge.decision import NOTHING, ReplyDecision, ReplyKind
from bot.knowledge.quoting import Citation, citations_of, quote_unrendered
from bot.localization.languages import Languages
from bot.localization.sentences import gettext
from bot.memory.recall import choose_notes
from bot.personalities.binding import places_of
from bot.releases.resolver import ReleaseCandidates, read_candidates
from bot.services import Services
from storage.conversations.replies import Reply, Sources, count_siblings, find_by_messages
from storage.conversations.summaries import Memory, read_memory
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, Origin
from storage.knowledge.documents import SearchScope, has_chunks, source_messages, speakers_of
from storage.knowledge.search import Passage, Question
from storage.members import is_greeted
from storage.memory import Note, list_notes
from storage.personalities.bindings import ActivePersonality, active_personality_at
from storage.personalities.personalities import Personality, read_personality
from storage.releases.pair_share import read_pair_share
from storage.releases.versions import Version
from storage.wording import gettext_noop

UNSURE = {
    ReplyKind.UNKNOWN: gettext_noop("I don't know: nothing in this server's documents says so."),
    ReplyKind.NEAREST: gettext_noop(
        "I don't know for sure. This is the nearest that I find in this server's documents:"
    ),
}
MESSAGES_LOOKED_UP = 3
"""The newest message and people's earlier ones, which give a short question its context."""
MOST_SIBLINGS = 6
"""Maximum answers to the same question, including the first: after that, another question helps more."""
FIXED = gettext_noop("That sentence is fixed: I always say it, so there is nothing to rate, to improve or to repeat.")
FROM_DOCUMENTS = gettext_noop(
    "That answer is no more than what this server's documents say, so there is nothing to improve or to repeat. If it "
    "is wrong, choose **What is wrong with it?** in its menu."
)
EDITED = gettext_noop("A message that I answered there was edited since. Please ask again.")


@dataclass(frozen=True)
class Context:
    """A question that is ready to be answered."""

    ask: Ask
    conversation: Conversation
    is_greeted: bool
    """The member has received the privacy notice."""
    rival: Version | None
    pair_share: float
    """Share of answers like this one that come with a second one."""
    unsure: str = ""
    """The reply if the server's documents do not hold the answer, or not for sure; it replaces the model's answer."""


async def gather(services: Services, history: History, message: discord.Message, asked_at: datetime) -> Context:
    """Return the inputs of the answer to a message; `asked_at` is the time when reading its history began.

    Raises UserFacingError if there is nothing to answer, or if the message is too long.
    """
    rows = await _read_rows(services, history, message)
    conversation, active, notes = rows.conversation, rows.active, rows.notes
    if all(turn.speaker is None for turn in conversation.turns):
        raise NothingAsked
    decision = rows.decision
    unsure = UNSURE.get(decision.outcome)
    if unsure is None:
        rendered = await render_question(
            services,
            active.personality,
            conversation,
            author=message.author.display_name,
            notes=[note.text for note in notes],
            lines=decision.lines,
        )
    else:
        rendered = quote_unrendered(history.newest_words, decision.lines)
    documents = {quote.document_id: rows.documents[quote.document_id] for quote in rendered.quotes}
    plain = Prompts(rendered.prompt)
    ask = Ask(
        # Examples show a style, and a fact needs the line.
        prompts=plain
        if unsure or rendered.quotes
        else await add_examples(services, active.personality, rendered.prompt),
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
        origin=Origin.FIXED if unsure else Origin.CHAT,
        retrieved=rendered.retrieved,
        citations=tuple(Citation(quote.title, quote.link, quote.text) for quote in rendered.quotes),
        sources=_sources(rows, documents),
        notes=honest_notes(
            history.notes,
            [material for post in history.called for material in post.materials],
            "\n".join(message["content"] for message in rendered.prompt.messages),
        ),
        has_outside_text=conversation.has_outside_text or bool(notes),
    )
    return Context(
        ask,
        conversation,
        rows.is_greeted,
        rows.candidates.rival,
        rows.pair_share,
        gettext(unsure) if unsure else "",
    )


@dataclass(frozen=True)
class _Document:
    """The source of a document's text."""

    speakers: frozenset[int]
    messages: frozenset[int]


@dataclass(frozen=True)
class _Rows:
    conversation: Conversation
    active: ActivePersonality
    candidates: ReleaseCandidates
    pair_share: float
    memory: Memory
    notes: Sequence[Note]
    """The author's notes about themselves."""
    passages: Sequence[Passage]
    documents: Mapping[int, _Document]
    is_greeted: bool
    has_documents: bool
    decision: ReplyDecision = NOTHING


async def _read_rows(services: Services, history: History, message: discord.Message) -> _Rows:
    library, most_notes = services.library, services.settings.memory.notes_in_prompt
    is_looked_up = message.guild is not None and services.settings.knowledge.enabled
    newest, *earlier = [post.text for post in history.newest_of_people(MESSAGES_LOOKED_UP)] or [""]
    question = Question(newest, None)
    if is_looked_up and library.is_ready:
        question = await library.ask(newest, earlier)
    rows = await services.database.read(_read, services, history, message, question if is_looked_up else None)
    if rows.has_documents and not library.is_ready:  # the encoder is loaded for the first question that needs it
        question = await library.ask(newest, earlier)
        rows = await services.database.read(_read, services, history, message, question)
    looked_up = _without_forgotten(question, history, rows.memory)
    rows = replace(rows, decision=await library.decide(looked_up, rows.passages))
    if not rows.notes:
        return rows
    if question.embeddings is None:
        question = await library.ask(newest, earlier)
    asked = _without_forgotten(question, history, rows.memory)
    return replace(rows, notes=await choose_notes(library, rows.notes, asked, most_notes))


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
        passages = services.library.look_up(session, scope, _without_forgotten(question, history, memory))
    candidates = read_candidates(session, active.personality.id)
    second_answers = services.settings.chat.second_answers
    return _Rows(
        conversation=converse(history, memory, find_by_messages(session, own_ids(history.posts))),
        active=active,
        candidates=candidates,
        pair_share=read_pair_share(session, active.personality.id, candidates.rival, second_answers),
        memory=memory,
        notes=list_notes(session, message.author.id, message.guild.id if message.guild else None),
        passages=passages,
        documents={
            id_: _Document(speakers_of(session, [id_]), source_messages(session, [id_]))
            for id_ in {passage.document_id for passage in passages}
        },
        is_greeted=is_greeted(session, message.author.id),
        has_documents=question is not None and has_chunks(session),
    )


def _without_forgotten(question: Question, history: History, memory: Memory) -> Question:
    """Return the question; without its context if a part of the context is no longer in the conversation."""
    return question if history.remembers(memory, MESSAGES_LOOKED_UP) else question.alone


def _speakers(rows: _Rows, author_id: int, documents: Mapping[int, _Document]) -> frozenset[int]:
    """Return the people whose words the prompt holds: in the conversation, in notes and in quoted documents."""
    quoted = (document.speakers for document in documents.values())
    return rows.conversation.speakers.union({author_id} if rows.notes else (), *quoted)


def _sources(rows: _Rows, documents: Mapping[int, _Document]) -> Sources:
    quoted = dict.fromkeys((id_ for document in documents.values() for id_ in document.messages), NOBODY)
    said = rows.conversation.sources
    notes = frozenset(note.id for note in rows.notes)
    return replace(said, messages=quoted | dict(said.messages), notes=notes)


def require_written(reply: Reply, languages: Languages) -> None:
    """Raise UserFacingError if the answer is not the model's words."""
    if reply.origin is Origin.FIXED:
        raise UserFacingError(FROM_DOCUMENTS if is_from_documents(reply, languages) else FIXED)


def is_from_documents(reply: Reply, languages: Languages) -> bool:
    """Return whether a fixed answer quotes documents, or says that they do not tell it."""
    unknown = UNSURE[ReplyKind.UNKNOWN]
    said = (languages.find(code).translations.gettext(unknown) for code in languages.codes)
    return bool(reply.retrieved) or reply.answer in said


async def gather_again(services: Services, reply: Reply, channel: discord.abc.Messageable, user_id: int) -> Ask:
    """Return the same prompt for another answer by the personality that gave the first.

    If another base gave it, the same messages are rendered anew. Raises UserFacingError if another answer is not
    possible.
    """
    if reply.edited_at is not None:
        raise UserFacingError(EDITED)
    asked_at = utc_now()
    prompt = await _prompt_again(services, reply)
    siblings, personality, candidates, citations = await services.database.read(_read_again, reply, prompt.text)
    if siblings >= MOST_SIBLINGS:
        raise UserFacingError(
            "That question already has {limit} answers, and that is the most I give.", limit=MOST_SIBLINGS
        )
    if personality.archived_at is not None:
        raise UserFacingError("{name} is not in use any more. Please ask again.", name=personality.name)
    return Ask(
        prompts=Prompts(prompt),
        personality=personality,
        strength=reply.strength,
        release=await services.releases.choose(candidates, strength=reply.strength),
        channel=channel,
        channel_id=reply.channel_id,
        guild_id=reply.guild_id,
        author_id=user_id,
        speakers=frozenset(reply.speakers),
        asked_at=asked_at,
        source_message_id=reply.source_message_id,
        retrieved=reply.retrieved,
        citations=citations,
        sources=reply.sources,
        has_outside_text=reply.has_outside_text,
    )


def _read_again(
    session: Session, reply: Reply, prompt: str
) -> tuple[int, Personality, ReleaseCandidates, tuple[Citation, ...]]:
    """Return the number of answers so far, who gives another, the versions to choose from, and the quoted lines."""
    siblings, personality = count_siblings(session, reply, prompt), read_personality(session, reply.personality_id)
    return siblings, personality, read_candidates(session, personality.id), tuple(citations_of(session, reply))


async def _prompt_again(services: Services, reply: Reply) -> RenderedPrompt:
    messages = [ChatMessage(**message) for message in reply.messages]  # pyrefly: ignore[bad-argument-type]
    if reply.base_revision != services.base.revision:
        try:
            return await services.engine.render(messages)
        except ValueError as error:  # this base's window is smaller
            raise UserFacingError(TOO_LONG) from error
    return RenderedPrompt(
        text=reply.prompt,
        messages=tuple(messages),
        tokens=reply.prompt_tokens,
        dropped=reply.dropped_turns,
        shortened=False,
    )
