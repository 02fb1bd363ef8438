"""Searches documents for a question, by meaning and by the rare words that a passage shares with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from storage.database.tables import ChunkRow, DocumentRow
from storage.knowledge.documents import SearchScope
from storage.knowledge.vectors import VectorIndex
from storage.knowledge.words import WordMatches, content_words, find_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS_WEIGHT = 0.15
"""Added to a passage's similarity if it holds all words of a question."""
EARLIER_WEIGHT = 0.8
"""Weight of earlier messages; the question's own is 1. With a larger one, thanks bring an answer back more often."""
LEAST_OWN_SIMILARITY = 0.15
"""Minimum similarity to a question with MANY_WORDS of a passage that earlier messages bring up."""
MANY_WORDS = 2
"""Content words from which a question names a subject; "and on Sundays?" has one, "how much is that?" none."""
CANDIDATES = 50
"""Chunks that each search returns."""


@dataclass(frozen=True)
class Question:
    """A question as words and, with an encoder, as vectors, (K, D): alone, in its context, and in parts."""

    text: str
    embeddings: NDArray[Any] | None
    encoder: str = ""
    earlier: tuple[str, ...] = ()
    """Earlier messages of people, newest first."""

    @property
    def alone(self) -> Question:
        """The question without its context."""
        kept = None if self.embeddings is None else self.embeddings[:1]
        return replace(self, embeddings=kept, earlier=())

    def similarity_to(self, vector: NDArray[Any]) -> float:
        """Return the similarity in meaning to a text, given its vector, (D,)."""
        assert self.embeddings is not None
        similarities = self.embeddings @ vector
        own = float(similarities[0])
        names_a_subject = len(content_words(self.text)) >= MANY_WORDS
        return own if names_a_subject and own < LEAST_OWN_SIMILARITY else float(similarities.max())


@dataclass(frozen=True)
class Passage:
    """A chunk that search found."""

    chunk_id: int
    document_id: int
    title: str
    link: str
    heading: str
    text: str
    similarity: float | None
    """Cosine of question and passage, or its weighted mean with that of the earlier messages if higher and if that
    counts; None if one is not embedded."""
    words: tuple[str, ...]
    """The question's words in the passage, without the commonest words."""
    word_share: float
    """Share of the question's words in the passage, from 0 to 1; rare words weigh more."""

    @property
    def words_bonus(self) -> float:
        return WORDS_WEIGHT * self.word_share

    @property
    def relevance(self) -> float:
        """The score by which search ranks the passage."""
        return (self.similarity or 0.0) + self.words_bonus


def search(session: Session, index: VectorIndex, scope: SearchScope, question: Question) -> list[Passage]:
    """Return the passages of the documents in scope that may be relevant, best first."""
    documents = documents_in(session, scope)
    matches = find_words(session, documents, question.text)
    near = find_near(session, index, scope.guild_id, documents, question)
    found = _read_passages(session, {*near, *matches.best(CANDIDATES)}, question, matches)
    # Of two passages with the same words, the shorter one says less about other things.
    return sorted(found, key=lambda one: (-one.relevance, len(one.text), one.chunk_id))


def in_context(question: NDArray[Any], earlier: NDArray[Any]) -> NDArray[Any]:
    """Return a question's vectors, given its own and that of the earlier messages, both of length 1, (2, D).

    "And on Sundays?" means nothing by itself. The second vector gives a passage the weighted mean of its similarities
    to both, so that after an answer neither thanks nor another subject brings its passages back.
    """
    import numpy as np

    return np.stack([question, (question + EARLIER_WEIGHT * earlier) / (1 + EARLIER_WEIGHT)])


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
    """Return the ids of the chunks nearest in meaning to each of the question's vectors, best first; [] without any."""
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
            similarity=_similarity(question, row.encoder, row.embedding),
            words=matches.words_in(row.id),
            word_share=matches.share_in(row.id),
        )
        for row in rows
    ]


def _similarity(question: Question, encoder: str, embedding: bytes | None) -> float | None:
    import numpy as np

    if question.embeddings is None or embedding is None or encoder != question.encoder:
        return None
    return question.similarity_to(np.frombuffer(embedding, "<f4"))
