"""A server with the documents of the bench, and which of their lines it shows, rightly and in vain."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from bot.knowledge.asking import Background, background_of, embed_question, lines_near, read_background
from bot.knowledge.chunking import cut_into_chunks
from bot.knowledge.decision import AskedMessage, Line, ReplyDecision, ReplyKind, decide_reply
from bot.knowledge.extraction import parse_markdown
from storage.database.database import Database
from storage.database.enums import DocumentKind
from storage.knowledge.documents import NewDocument, SearchScope, add_document, store_embeddings, waiting_chunks
from storage.knowledge.search import Passage, Question, search
from storage.knowledge.vectors import VectorIndex
from storage.models.bundled import Encoder
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import KnowledgeSettings
from tests.benchmarks.knowledge_set import TEST, Kind, SetQuestion, read_documents, read_questions
from tests.benchmarks.people import conversations
from tests.benchmarks.report import Row

GUILD = 1
SMALL_TALK = "small talk"
SMALL_TALK_MESSAGES = 400
SHORTEST_MESSAGE_CHARS = 10
CLOSINGS_TIMES = 5


@dataclass(frozen=True)
class Shelf:
    """A database with documents in it, and how to search it."""

    name: str
    database: Database
    scope: SearchScope
    index: VectorIndex
    encoder: Encoder
    background: Background


@dataclass(frozen=True)
class Asked:
    """A question of the set, with its embeddings."""

    question: SetQuestion
    query: Question


def ask(encoder: Encoder, questions: Sequence[SetQuestion]) -> list[Asked]:
    return [Asked(one, embed_question(encoder, one.question, tuple(reversed(one.earlier)))) for one in questions]


def fill_with_set(name: str, database: Database, encoder: Encoder, settings: KnowledgeSettings) -> Shelf:
    with database.transaction() as session:
        personality_id = ensure_personality(session)
        for title, text in sorted(read_documents().items()):
            add_document(session, _document(title, text, encoder, settings), settings)
        _embed(session, encoder)
    scope = SearchScope(GUILD, frozenset(), personality_id)
    return Shelf(name, database, scope, VectorIndex(), encoder, read_background(encoder))


def _document(title: str, body: str, encoder: Encoder, settings: KnowledgeSettings) -> NewDocument:
    chunks = cut_into_chunks(
        title,
        parse_markdown(body),
        encoder.count_tokens,
        chunk_tokens=settings.chunk_tokens,
        overlap_tokens=settings.overlap_tokens,
    )
    return NewDocument(
        guild_id=GUILD,
        channel_id=None,
        personality_id=None,
        title=title,
        kind=DocumentKind.TEXT,
        link="",
        media_type="text/markdown",
        text=body,
        chunks=chunks,
        speakers=(),
        added_by="bench",
    )


def _embed(session: Session, encoder: Encoder) -> None:
    waiting = waiting_chunks(session, encoder.name, limit=10_000)
    vectors: Any = encoder.encode([one.chunk.embedded_text for one in waiting])
    store_embeddings(session, encoder.name, {one.id: v.tobytes() for one, v in zip(waiting, vectors, strict=True)})


def measure_quotes(shelf: Shelf, split: str) -> list[Row]:
    """Return a row for each kind of message."""
    with shelf.database.snapshot() as session:
        return [
            {"what": "quotes", "split": split, "kind": kind} | _quoted(session, shelf, ask(shelf.encoder, questions))
            for kind, questions in _messages_by_kind(split).items()
        ]


def read_messages() -> list[str]:
    """Return what people wrote to each other, about none of the documents."""
    messages = [message for conversation in conversations() for message in conversation]
    return [text for text in messages if len(text) >= SHORTEST_MESSAGE_CHARS]


def _messages_by_kind(split: str) -> dict[str, list[SetQuestion]]:
    sets: dict[str, list[SetQuestion]] = {kind.value: read_questions(split, kind) for kind in Kind}
    asked, closings, small_talk = sets[Kind.PARAPHRASES], sets.pop(Kind.CLOSINGS), _small_talk(split)
    half = len(asked) // 2
    return sets | {
        SMALL_TALK: small_talk,
        "closings after a question": _after(asked, closings * CLOSINGS_TIMES),
        "small talk after a question": _after(asked, small_talk),
        "questions after one about something else": _after(asked, asked[half:] + asked[:half]),
    }


def _after(earlier: Sequence[SetQuestion], messages: Sequence[SetQuestion]) -> list[SetQuestion]:
    return [replace(message, earlier=(before.question,)) for message, before in zip(messages, itertools.cycle(earlier))]


def _small_talk(split: str) -> list[SetQuestion]:
    messages = random.Random(1).sample(read_messages(), 2 * SMALL_TALK_MESSAGES)
    chosen = messages[:SMALL_TALK_MESSAGES] if split == TEST else messages[SMALL_TALK_MESSAGES:]
    return [SetQuestion(words) for words in chosen]


def _quoted(session: Session, shelf: Shelf, asked: Sequence[Asked]) -> Row:
    """Return the shares of messages for which the right line is shown, and for which only others are."""
    decisions = [
        decide_on(shelf.encoder, shelf.background, one.query, search(session, shelf.index, shelf.scope, one.query))
        for one in asked
    ]
    right = [holds_right(one, decision.lines) for one, decision in zip(asked, decisions, strict=True)]
    quoted = [decision.outcome is ReplyKind.QUOTED for decision in decisions]
    return {
        "messages": len(asked),
        "right": _share(right),
        "wrong": _share([is_quoted and not is_right for is_quoted, is_right in zip(quoted, right, strict=True)]),
        "unsure": _share([one.outcome in (ReplyKind.NEAREST, ReplyKind.UNKNOWN) for one in decisions]),
    }


def decide_on(
    encoder: Encoder, background: Background, question: Question, passages: Sequence[Passage]
) -> ReplyDecision:
    lines = lines_near(question, passages, encoder.encode)
    return decide_reply(AskedMessage(question.text, question.earlier, background_of(question, background)), lines)


def holds_right(one: Asked, lines: Sequence[Line]) -> bool:
    return any(line.title == one.question.document and one.question.is_answered_by(line.text) for line in lines)


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / len(flags), 3)
