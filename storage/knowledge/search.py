"""Searches documents for a question: by meaning, raised by the rare words that a passage shares with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, or_, select
from sqlalchemy.orm import Session

from storage.database.tables import ChunkRow, DocumentRow
from storage.knowledge.documents import SearchScope
from storage.knowledge.vectors import VectorIndex
from storage.knowledge.words import WordMatches, find_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS_WEIGHT = 0.2
"""What a passage gains, on the scale of similarity, if it holds all words of a question."""
EARLIER_WEIGHT = 0.5
"""Weight of what was said before a question; the question's own is 1."""
CANDIDATES = 50
"""Chunks that each search returns."""
LEEWAY = 0.1
"""A passage may be this far below knowledge.min_similarity if another one reaches it."""

FEWEST_WORDS = 2
LEAST_SHARE = 0.6
"""Of a question's words, if no meaning is known."""


@dataclass(frozen=True)
class Question:
    """A question as words and, with an encoder, as vectors of length 1, (K, D): alone, and in its context."""

    text: str
    embeddings: NDArray[Any] | None
    encoder: str = ""

    @property
    def alone(self) -> Question:
        """The question without its context."""
        return self if self.embeddings is None else replace(self, embeddings=self.embeddings[:1])


@dataclass(frozen=True)
class Passage:
    """A chunk that was found."""

    chunk_id: int
    document_id: int
    title: str
    link: str
    heading: str
    text: str
    similarity: float | None
    """Cosine of question and passage, alone or in its context, whichever is nearer; None if one is not embedded."""
    words: tuple[str, ...]
    """The question's words in the passage, without the commonest words."""
    word_share: float
    """The share of them that it has, from 0 to 1; rare words weigh more."""

    @property
    def words_bonus(self) -> float:
        return WORDS_WEIGHT * self.word_share

    @property
    def relevance(self) -> float:
        """What it is ranked by, and compared with knowledge.min_similarity."""
        return (self.similarity or 0.0) + self.words_bonus


def search(session: Session, index: VectorIndex, scope: SearchScope, question: Question) -> list[Passage]:
    """Return the passages of the documents in scope that may be relevant, best first."""
    documents = documents_in(session, scope)
    matches = find_words(session, documents, question.text)
    near = find_near(session, index, scope.guild_id, documents, question)
    found = _read_passages(session, {*near, *matches.best(CANDIDATES)}, question, matches)
    # Of two with the same words, the shorter one has less to say about other things.
    return sorted(found, key=lambda one: (-one.relevance, len(one.text), one.chunk_id))


def relevant(passages: Sequence[Passage], min_similarity: float) -> list[Passage]:
    """Return the passages to quote: if one is relevant enough, that one and the nearly relevant ones; else none.

    The best passage shows whether a message is about the documents at all, and the right one may be second.
    If no similarity is known, because nothing is embedded yet or there is no encoder, words decide.
    """
    if all(passage.similarity is None for passage in passages):
        return [one for one in passages if one.word_share >= LEAST_SHARE and len(one.words) >= FEWEST_WORDS]
    if not any(passage.relevance >= min_similarity for passage in passages):
        return []
    return [passage for passage in passages if passage.relevance >= min_similarity - LEEWAY]


def in_context(question: NDArray[Any], earlier: NDArray[Any]) -> NDArray[Any]:
    """Return a question alone, and leaning towards what was said before, (2, D); all vectors have length 1.

    "And on Sundays?" says nothing by itself. A question about something else is still found by itself.
    """
    import numpy as np

    leaning = question + EARLIER_WEIGHT * earlier
    return np.stack([question, leaning / np.linalg.norm(leaning)])


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
) -> list[int]:
    """Return the ids of the chunks nearest in meaning, to each vector of the question best first; none without."""
    if question.embeddings is None:
        return []
    found = [
        index.nearest(session, guild_id, document_ids, query=query, encoder=question.encoder, limit=CANDIDATES)
        for query in question.embeddings
    ]
    return [chunk_id for near in found for chunk_id in near]


def _read_passages(
    session: Session, chunk_ids: Collection[int], question: Question, matches: WordMatches
) -> list[Passage]:
    rows = session.execute(
        select(
            ChunkRow.id,
            ChunkRow.document_id,
            DocumentRow.title,
            DocumentRow.link,
            ChunkRow.heading,
            ChunkRow.text,
            ChunkRow.encoder,
            ChunkRow.embedding,
        )
        .join(DocumentRow)
        .where(ChunkRow.id.in_(chunk_ids))
    )
    return [
        Passage(
            *row[:6],
            similarity=_similarity(question, row),
            words=matches.words_in(row.id),
            word_share=matches.share_in(row.id),
        )
        for row in rows
    ]


def _similarity(question: Question, row: Row[Any]) -> float | None:
    import numpy as np

    if question.embeddings is None or row.encoder != question.encoder:
        return None
    return float((question.embeddings @ np.frombuffer(row.embedding, "<f4")).max())
