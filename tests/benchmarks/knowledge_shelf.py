"""A database with the documents of the bench."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from bot.knowledge.asking import Background, embed_question, read_background
from bot.knowledge.chunking import cut_into_chunks
from bot.knowledge.extraction import parse_markdown
from storage.database.database import Database
from storage.database.enums import DocumentKind
from storage.knowledge.documents import NewDocument, SearchScope, add_document, store_embeddings, waiting_chunks
from storage.knowledge.search import Question
from storage.knowledge.vectors import VectorIndex
from storage.models.bundled import Encoder
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import KnowledgeSettings
from tests.benchmarks.knowledge_set import SetQuestion, read_documents

GUILD = 1


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
