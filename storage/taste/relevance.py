"""Measures the relevance of an answer to its message: the cosine of the two under the sentence encoder.

Taste judges style alone, so it would choose "Yay. That's amazing." for "My cat is sick." Relevance prevents that. It
takes 10 ms for each answer, and tells answers to their own message from those to another one better than
log-probabilities do (`trainer.evaluation.measures`): of such pairs by hand, it puts 0.96 to 0.99 in the right order in
three English styles and 0.84 in German, and 0.90 to 0.95 of the bundled model's own; the bundled model and Gemma 3 270M
have 0.89 and 0.92 over all. These two take no part in choosing, so they can judge the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from storage.database.rows import in_parts
from storage.database.tables import ReplyMeasuresRow
from storage.taste.model import Floats

RELEVANT = 0.2
"""Minimum relevance of an answer that fits its message.

Of the bundled model's answers 0.80 have as much, and of its answers to other messages 0.06. Of 40 with less, read one
by one, 34 make no sense where they stand. Of answers by hand 0.88 to 0.96 have as much in three English styles, and
0.71 in German.
"""
NOISE = 0.15
"""Standard deviation of the relevance of the bundled model's answers to one message."""

Encode = Callable[[Sequence[str]], Floats]
"""Returns vectors of length 1, (N, D)."""


def measure_relevance(exchanges: Sequence[tuple[str, str]], encode: Encode) -> Floats:
    """Return the cosine of each message and its answer, (N,)."""
    messages = {message: place for place, message in enumerate(dict.fromkeys(message for message, _ in exchanges))}
    vectors = encode([*messages, *(answer for _, answer in exchanges)])
    asked = vectors[[messages[message] for message, _ in exchanges]]
    relevance: Floats = (asked * vectors[len(messages) :]).sum(axis=1)
    return relevance


def are_relevant(relevance: Sequence[float | None]) -> list[bool]:
    """Return whether each answer fits its message; at least half do, and those that were not measured.

    If none of them reaches RELEVANT, as may happen after "hi", all do. The encoder knows English, and a glossary's
    German: in another language, answers can only be compared.
    """
    measured = [one for one in relevance if one is not None]
    is_told = bool(measured) and max(measured) >= RELEVANT
    least = min(RELEVANT, median(measured)) if is_told else -1.0
    return [one is None or one >= least for one in relevance]


def read_relevance(session: Session, reply_ids: Collection[int]) -> dict[int, float]:
    """Return {reply id: relevance} of the answers whose relevance was measured."""
    found: dict[int, float] = {}
    for some in in_parts(reply_ids):
        known = select(ReplyMeasuresRow.reply_id, ReplyMeasuresRow.relevance).where(
            ReplyMeasuresRow.reply_id.in_(some), ReplyMeasuresRow.relevance.is_not(None)
        )
        found |= {reply_id: relevance for reply_id, relevance in session.execute(known) if relevance is not None}
    return found


def store_relevance(session: Session, relevance: Mapping[int, float]) -> None:
    """Store the relevance of these answers; one that was deleted meanwhile has no row."""
    row = update(ReplyMeasuresRow).where(ReplyMeasuresRow.reply_id == bindparam("id"))
    row = row.values(relevance=bindparam("found"))
    if relevance:
        session.connection().execute(row, [{"id": id_, "found": found} for id_, found in relevance.items()])
