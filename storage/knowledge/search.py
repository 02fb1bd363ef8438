"""Searches documents for a question: by words, by meaning, and by both rankings combined."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from storage.database.tables import ChunkRow, DocumentRow
from storage.knowledge.documents import SearchScope
from storage.knowledge.vectors import Near, VectorIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

RRF_K = 20
"""The larger, the less the first ranks stand out. Cormack, Clarke and Büttcher 2009 fused lists of 1,000 with 60; with
lists as short as these, a chunk that is low in both would then beat the first of one."""
WORDS_WEIGHT = 0.3
"""Weight of a rank by words; by meaning it is 1. Members rarely ask in the words of a document."""
CANDIDATES = 50
"""Chunks that each of the two searches returns."""
MAX_WORDS = 32
"""Only the first words of a question are searched; more make the query slower but not better."""

FEWEST_WORDS = 2
LEAST_COVERAGE = 0.6
"""Of a question's words, if its meaning is not known."""
LEEWAY = 0.1
"""A passage may be this far below knowledge.min_similarity if another one reaches it."""
MOST_HITS = 1_000
"""A word in more chunks than this is not searched."""

_WORD = re.compile(r"\w+")
_COMMONEST = """
a about an and any anybody anyone anything are as at be been being but by can could d did do does doing everybody for
from get go got had has have he her here hers him his how i if in into is it its just let ll m many may me might much
must my need no nor not of off on one or our ours out over please re s shall she should so some somebody someone
something such t than that the their them then there these they this those to too up us ve very want was we were what
when where which while who whom whose why will with would you your yours
"""
STOP_WORDS = frozenset(_COMMONEST.split())


@dataclass(frozen=True)
class Question:
    """A question as words and, with an encoder, as a vector of length 1, (D,)."""

    text: str
    embedding: NDArray[Any] | None
    encoder: str = ""


@dataclass(frozen=True)
class Passage:
    """A chunk that was found."""

    chunk_id: int
    document_id: int
    title: str
    link: str
    heading: str
    text: str
    score: float
    """The sum of its reciprocal ranks."""
    similarity: float | None
    """Cosine of question and passage; None if one is not embedded, or the passage is not among the nearest."""
    matches: int
    """Number of the question's words in the passage, without the commonest words."""
    coverage: float
    """The share of them that it has."""


def search(session: Session, index: VectorIndex, scope: SearchScope, question: Question, limit: int) -> list[Passage]:
    """Return the best passages of the documents in scope, best first."""
    documents = documents_in(session, scope)
    near = find_near(session, index, scope.guild_id, documents, question)
    by_words = find_words(session, documents, question.text)
    scores = fuse((1.0, [one.chunk_id for one in near]), (WORDS_WEIGHT, by_words))
    best = sorted(scores, key=lambda id_: (-scores[id_], id_))[:limit]
    return _passages(session, best, scores, {one.chunk_id: one.similarity for one in near}, question.text)


def relevant(passages: Sequence[Passage], min_similarity: float) -> list[Passage]:
    """Return the passages to quote: if one is similar enough, that one and the nearly similar ones; else none.

    The best passage shows whether a message is about the documents at all, and the right one may be second.
    If no similarity is known, because nothing is embedded yet or there is no encoder, words decide.
    """
    near = [(passage, passage.similarity) for passage in passages if passage.similarity is not None]
    if not near:
        return [one for one in passages if one.coverage >= LEAST_COVERAGE and one.matches >= FEWEST_WORDS]
    if not any(similarity >= min_similarity for _, similarity in near):
        return []
    return [passage for passage, similarity in near if similarity >= min_similarity - LEEWAY]


def documents_in(session: Session, scope: SearchScope) -> list[int]:
    """Return the ids of the documents in scope."""
    query = select(DocumentRow.id).where(
        DocumentRow.guild_id == scope.guild_id,
        DocumentRow.removed_at.is_(None),
        or_(DocumentRow.channel_id.is_(None), DocumentRow.channel_id.in_(scope.channel_ids)),
        or_(DocumentRow.personality_id.is_(None), DocumentRow.personality_id == scope.personality_id),
    )
    return list(session.scalars(query))


def find_near(
    session: Session, index: VectorIndex, guild_id: int, document_ids: Collection[int], question: Question
) -> list[Near]:
    """Return the chunks nearest in meaning, best first; none without an encoder."""
    if question.embedding is None:
        return []
    return index.nearest(
        session, guild_id, document_ids, query=question.embedding, encoder=question.encoder, limit=CANDIDATES
    )


def find_words(session: Session, document_ids: Collection[int], text_: str) -> list[int]:
    """Return the ids of the chunks with some of the words, best first; rare words count more."""
    words = content_words(text_)
    if not words or not document_ids:
        return []
    is_postgres = session.get_bind().dialect.name == "postgresql"
    count, find = (_count_in_postgres, _find_in_postgres) if is_postgres else (_count_in_sqlite, _find_in_sqlite)
    hits = count(session, words)
    # A word in most chunks says little, and ranking all of them takes longest.
    selective = {word: number for word, number in hits.items() if 0 < number <= MOST_HITS}
    return find(session, document_ids, selective) if selective else []


def content_words(text_: str) -> list[str]:
    """Return the distinct words of a text in order, in lower case, without the commonest English ones."""
    words = dict.fromkeys(_WORD.findall(text_.lower()))
    return [word for word in words if word not in STOP_WORDS][:MAX_WORDS]


def fuse(*rankings: tuple[float, Sequence[int]]) -> dict[int, float]:
    """Return the sum of weight / (RRF_K + rank) for each ranked item; ranks start at 1."""
    scores: dict[int, float] = defaultdict(float)
    for weight, ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] += weight / (RRF_K + rank)
    return dict(scores)


def _count_in_sqlite(session: Session, words: Sequence[str]) -> dict[str, int]:
    """Return how many chunks have each word, counted up to MOST_HITS + 1."""
    rows = "SELECT 1 FROM chunk_words WHERE chunk_words MATCH :word LIMIT :limit"

    def count(word: str) -> int:
        values = {"word": f'"{word}"', "limit": MOST_HITS + 1}
        return int(session.execute(text(f"SELECT count(*) FROM ({rows})"), values).scalar_one())

    return {word: count(word) for word in words}


def _find_in_sqlite(session: Session, document_ids: Collection[int], hits: Mapping[str, int]) -> list[int]:
    # Ranked by BM25; a word in a heading counts double.
    rows = session.scalars(
        text(
            "SELECT chunk_words.rowid FROM chunk_words JOIN chunks ON chunks.id = chunk_words.rowid "
            "WHERE chunk_words MATCH :words AND rank MATCH 'bm25(2.0, 1.0)' "
            "AND chunks.document_id IN (SELECT value FROM json_each(:documents)) ORDER BY rank LIMIT :limit"
        ),
        {
            "words": " OR ".join(f'"{word}"' for word in hits),
            "documents": str(list(document_ids)),
            "limit": CANDIDATES,
        },
    )
    return list(rows)


def _count_in_postgres(session: Session, words: Sequence[str]) -> dict[str, int]:
    # One statement for all words: one for each took half of a search's time.
    hits = "SELECT 1 FROM chunks WHERE words @@ to_tsquery('english', word) LIMIT :limit"
    rows = session.execute(
        text(
            f"SELECT word, (SELECT count(*) FROM ({hits}) AS hits) AS number "
            "FROM unnest(CAST(:words AS text[])) AS word"
        ),
        {"words": list(words), "limit": MOST_HITS + 1},
    )
    return {row.word: row.number for row in rows}


def _find_in_postgres(session: Session, document_ids: Collection[int], hits: Mapping[str, int]) -> list[int]:
    # PostgreSQL's rank ignores how rare a word is, so each word is ranked alone and weighted by its rarity.
    ranks = " + ".join(f"ts_rank(words, to_tsquery('english', :word_{i}), 1) * :weight_{i}" for i in range(len(hits)))
    values: dict[str, Any] = {"any": " | ".join(hits), "documents": list(document_ids), "limit": CANDIDATES}
    for i, (word, number) in enumerate(hits.items()):
        values |= {f"word_{i}": word, f"weight_{i}": math.log(MOST_HITS / number) + 1}
    rows = session.scalars(
        text(
            "SELECT id FROM chunks WHERE words @@ to_tsquery('english', :any) AND document_id = ANY(:documents) "
            f"ORDER BY {ranks} DESC, id LIMIT :limit"
        ),
        values,
    )
    return list(rows)


def _passages(
    session: Session,
    chunk_ids: Sequence[int],
    scores: dict[int, float],
    similarities: dict[int, float],
    question: str,
) -> list[Passage]:
    rows = session.execute(
        select(ChunkRow.id, ChunkRow.document_id, DocumentRow.title, DocumentRow.link, ChunkRow.heading, ChunkRow.text)
        .join(DocumentRow)
        .where(ChunkRow.id.in_(chunk_ids))
    )
    found = {row.id: row for row in rows}
    return [
        Passage(
            *found[id_],
            score=scores[id_],
            similarity=similarities.get(id_),
            matches=len(shared_words(question, f"{found[id_].heading} {found[id_].text}")),
            coverage=coverage(question, f"{found[id_].heading} {found[id_].text}"),
        )
        for id_ in chunk_ids
        if id_ in found
    ]


def coverage(question: str, passage: str) -> float:
    """Return the share of the question's words that the passage has, from 0 to 1."""
    wanted = content_words(question)
    return len(shared_words(question, passage)) / len(wanted) if wanted else 0.0


def shared_words(question: str, passage: str) -> set[str]:
    """Return the question's words that also occur in the passage, except very common ones; plurals match singulars."""
    held = {word.removesuffix("s") for word in _WORD.findall(passage.lower())}
    return {word for word in content_words(question) if word.removesuffix("s") in held}
