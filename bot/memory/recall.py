"""Finds notes again by their meaning, or without an encoder by their words."""

from __future__ import annotations

from collections.abc import Sequence

from bot.knowledge.library import Library
from bot.memory.facts import NAMED, Fact, topic_of
from storage.knowledge.search import Question
from storage.knowledge.words import content_words
from storage.memory import Note

LEAST_SIMILARITY = 0.2
"""Least similarity of a note to the question; a note below it is unrelated."""
SAME_SIMILARITY = 0.75
"""Least similarity of two notes about the same thing, such as "I love pizza" and "I hate pizza"."""


async def choose_notes(library: Library, notes: Sequence[Note], question: Question, limit: int) -> list[Note]:
    """Return the notes for a prompt, oldest first: the member's name, and those nearest to the question."""
    near = await _similarities(library, notes, question)
    scores = [2.0 if topic_of(note.text) == NAMED else score for note, score in zip(notes, near, strict=True)]
    found = [index for index, score in enumerate(scores) if score >= LEAST_SIMILARITY]
    chosen = sorted(found, key=lambda index: -scores[index])[:limit]
    return [notes[index] for index in sorted(chosen)]


async def _similarities(library: Library, notes: Sequence[Note], question: Question) -> list[float]:
    """Return each note's similarity to a question or its context; without an encoder, the share of common words."""
    vectors = None if question.embeddings is None else await library.embed([note.text for note in notes])
    if vectors is None:
        asked = set(content_words(question.text))
        return [len(asked.intersection(content_words(note.text))) / max(1, len(asked)) for note in notes]
    return [float(near) for near in (vectors @ question.embeddings.T).max(axis=1)]  # pyrefly: ignore[missing-attribute]


async def find_same(library: Library, fact: Fact, notes: Sequence[Note]) -> Note | None:
    """Return the note that is about the same thing as a fact, or None: "I live in Paris" for "I moved to Rome"."""
    of_topic = [note for note in notes if fact.topic and topic_of(note.text) == fact.topic]
    if of_topic or not notes:
        return of_topic[-1] if of_topic else None
    vectors = await library.embed([fact.text, *(note.text for note in notes)])
    if vectors is None:
        return None
    near = vectors[1:] @ vectors[0]
    return notes[int(near.argmax())] if near.max() >= SAME_SIMILARITY else None
