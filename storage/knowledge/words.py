"""Finds passages by the words of a question; rarer words count more."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from storage.database.rows import count_rows
from storage.database.tables import ChunkRow

MAX_WORDS = 32
"""Maximum words of a question that are searched, from the first on; more make the query slower but not better."""
MOST_HOLDERS = 1_000
"""Maximum passages, of all servers, that may hold a word; commoner words are slow to read and reveal little."""

_WORD = re.compile(r"\w+")
# They include all words that PostgreSQL's search ignores, so that both databases count the same words.
_COMMONEST = """
a about above after again against all am an and any anybody anyone anything are as at be because been before being
below between both but by can could d did do does doing don down during each everybody few for from further get go got
had has have having he her here hers herself him himself his how i if in into is it its itself just let ll m many may
me might more most much must my myself need no nor not now of off on once one only or other our ours ourselves out
over own please re s same shall she should so some somebody someone something such t than that the their theirs them
themselves then there these they this those through to too under until up us ve very want was we were what when where
which while who whom whose why will with would you your yours yourself yourselves
"""
STOP_WORDS = frozenset(_COMMONEST.split())


@dataclass(frozen=True)
class WordMatches:
    """The passages that hold each word of a question."""

    rarity: Mapping[str, float]
    """Rarity of each word, in nats: the logarithm of (passages + 1) / (passages that hold it + 1/2)."""
    holders: Mapping[str, Collection[int]]
    """Ids of the chunks that hold each word."""

    def best(self, limit: int) -> list[int]:
        """Return the ids of the chunks whose words are rarest together, best first."""
        totals: dict[int, float] = defaultdict(float)
        for word, chunk_ids in self.holders.items():
            for chunk_id in chunk_ids:
                totals[chunk_id] += self.rarity[word]
        return sorted(totals, key=lambda id_: (-totals[id_], id_))[:limit]

    def words_in(self, chunk_id: int) -> tuple[str, ...]:
        """Return the question's words that the chunk holds, in the question's order."""
        return tuple(word for word, chunk_ids in self.holders.items() if chunk_id in chunk_ids)

    def share_in(self, chunk_id: int) -> float:
        """Return the share of the question's words that the chunk holds, weighted by rarity, from 0 to 1."""
        total = sum(self.rarity.values())
        return sum(self.rarity[word] for word in self.words_in(chunk_id)) / total if total else 0.0


def find_words(
    session: Session, document_ids: Collection[int], text_: str, most_holders: int = MOST_HOLDERS
) -> WordMatches:
    """Return the passages of the documents that hold words of the text, whatever their endings.

    Words that more than `most_holders` passages hold, of all documents, are left out.
    """
    words = content_words(text_)
    if not words or not document_ids:
        return WordMatches({}, {})
    is_postgres = session.get_bind().dialect.name == "postgresql"
    find = _find_in_postgres if is_postgres else _find_in_sqlite
    holders = find(session, document_ids, words, most_holders)
    passages = count_rows(session, select(ChunkRow.id).where(ChunkRow.document_id.in_(document_ids)))
    rarity = {word: math.log((passages + 1) / (len(ids) + 0.5)) for word, ids in holders.items()}
    return WordMatches(rarity, holders)


def content_words(text_: str) -> list[str]:
    """Return the distinct words of a text in order, in lower case, without the commonest English ones."""
    words = dict.fromkeys(_WORD.findall(text_.lower()))
    return [word for word in words if word not in STOP_WORDS][:MAX_WORDS]


def _find_in_sqlite(
    session: Session, document_ids: Collection[int], words: Sequence[str], most: int
) -> dict[str, Collection[int]]:
    """Return the ids of the documents' chunks that hold each word, except words that more than `most` chunks hold."""
    holding = text("SELECT rowid FROM chunk_words WHERE chunk_words MATCH :word LIMIT :limit")
    values = {word: {"word": f'"{word}"', "limit": most + 1} for word in words}
    found = {word: set(session.scalars(holding, values[word])) for word in words}
    found = {word: ids for word, ids in found.items() if len(ids) <= most}
    in_scope = text(
        "SELECT id FROM chunks WHERE id IN (SELECT value FROM json_each(:ids)) "
        "AND document_id IN (SELECT value FROM json_each(:documents))"
    )
    searched = {"ids": str(list(set().union(*found.values()))), "documents": str(list(document_ids))}
    known = set(session.scalars(in_scope, searched))
    return {word: ids & known for word, ids in found.items()}


def _find_in_postgres(
    session: Session, document_ids: Collection[int], words: Sequence[str], most: int
) -> dict[str, Collection[int]]:
    # One statement finds all words: one for each word took half of a search's time.
    holding = "SELECT id, document_id FROM chunks WHERE words @@ to_tsquery('english', word) LIMIT :limit"
    query = text(
        "SELECT word, array_agg(id) FILTER (WHERE document_id = ANY(:documents)) AS ids "
        f"FROM unnest(CAST(:words AS text[])) AS word LEFT JOIN LATERAL ({holding}) AS held ON true "
        "GROUP BY word HAVING count(id) <= :most"
    )
    values = {"documents": list(document_ids), "words": list(words), "limit": most + 1, "most": most}
    found = {row.word: frozenset(row.ids or ()) for row in session.execute(query, values)}
    return {word: found[word] for word in words if word in found}  # in the question's order
