"""How passages were chosen until November 2026, to compare with: by two rankings, and a limit on similarity alone.

Words gave a passage a better rank, but never carried it over the limit, and what was said before was not looked up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage.knowledge.documents import SearchScope
from storage.knowledge.search import CANDIDATES, LEEWAY, Passage, Question, documents_in, search
from storage.knowledge.vectors import VectorIndex
from storage.knowledge.words import content_words

RRF_K, WORDS_WEIGHT = 20, 0.3
MIN_SIMILARITY = 0.35


def choose_before(
    session: Session, index: VectorIndex, scope: SearchScope, question: Question, passages: int
) -> list[Passage]:
    """Return what was quoted for a question, best first."""
    found = {one.chunk_id: one for one in search(session, index, scope, question.alone)}
    by_meaning = sorted(found, key=lambda id_: -_similarity(found[id_]))[:CANDIDATES]
    scores = _fuse((1.0, by_meaning), (WORDS_WEIGHT, _by_words(session, documents_in(session, scope), question.text)))
    best = [found[id_] for id_ in sorted(scores, key=lambda id_: (-scores[id_], id_)) if id_ in found][:passages]
    if not any(_similarity(one) >= MIN_SIMILARITY for one in best):
        return []
    return [one for one in best if _similarity(one) >= MIN_SIMILARITY - LEEWAY]


def _similarity(passage: Passage) -> float:
    assert passage.similarity is not None
    return passage.similarity


def _fuse(*rankings: tuple[float, Sequence[int]]) -> dict[int, float]:
    scores: dict[int, float] = defaultdict(float)
    for weight, ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] += weight / (RRF_K + rank)
    return scores


def _by_words(session: Session, document_ids: Collection[int], question: str) -> list[int]:
    """Return the ids of chunks in SQLite with some of the words, ranked by BM25; a word in a heading counts double."""
    words = content_words(question)
    if not words:
        return []
    rows = session.scalars(
        text(
            "SELECT chunk_words.rowid FROM chunk_words JOIN chunks ON chunks.id = chunk_words.rowid "
            "WHERE chunk_words MATCH :words AND rank MATCH 'bm25(2.0, 1.0)' "
            "AND chunks.document_id IN (SELECT value FROM json_each(:documents)) ORDER BY rank LIMIT :limit"
        ),
        {
            "words": " OR ".join(f'"{word}"' for word in words),
            "documents": str(list(document_ids)),
            "limit": CANDIDATES,
        },
    )
    return list(rows)
