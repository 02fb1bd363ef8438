"""Turns a message into a question: its vectors, alone, in its context and in parts, and the messages it resembles."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.knowledge.chunking import lines_of
from bot.knowledge.decision import Line
from storage.knowledge.search import Passage, Question, in_context
from storage.models.bundled import Encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

BACKGROUND = Path(__file__).with_name("background.txt")
NEAREST_EXAMPLES = 4
"""Number of nearest examples whose average similarity is a message's similarity to a kind."""
CONSIDERED = 24
"""Number of passages whose lines are compared with a question."""
FEWEST_PART_WORDS = 3
_PARTS = re.compile(
    r"(?<=[,;.!?])\s+|\s+[-–—]\s+|\b(?:and|but|because|so|und|aber|weil)\s+(?=(?:what|when|where|who|how|is|are|can|do|does"
    r"|was|wann|wo|wer|wie|gibt|kann)\b)",
    re.IGNORECASE,
)

Background = Mapping[str, "NDArray[Any]"]
"""The vectors of the examples of each kind, (N, D)."""


def embed_question(encoder: Encoder, words: str, earlier: Sequence[str] = ()) -> Question:
    """Return the words as a question; `earlier` holds earlier messages of people, newest first."""
    import numpy as np

    parts = _parts_of(words)
    alone, *others = encoder.encode([words, *(["\n".join(earlier)] if earlier else []), *parts])
    context = in_context(alone, others.pop(0)) if earlier else alone[None]
    return Question(words, np.stack([*context, *others]), encoder.name, tuple(earlier))


def _parts_of(words: str) -> list[str]:
    """Return the clauses of a message: "I've never played, is there somebody who explains it?" has two."""
    parts = [part.strip() for part in _PARTS.split(words) if len(part.split()) >= FEWEST_PART_WORDS]
    return parts if len(parts) > 1 else []


def read_background(encoder: Encoder, *, without: Collection[str] = ()) -> Background:
    """Return the vectors of the examples, without some messages that an evaluation asks."""
    examples: dict[str, list[str]] = defaultdict(list)
    for line in BACKGROUND.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            kind, _, message = line.partition(": ")
            if message not in without:
                examples[kind].append(message)
    return {kind: encoder.encode(messages) for kind, messages in examples.items()}


def background_of(question: Question, background: Background) -> dict[str, float]:
    """Return a message's similarity to each kind (mean cosine), by its part that is most like a question here.

    "I cut my finger, who should I tell?" is small talk at first.
    """
    import numpy as np

    assert question.embeddings is not None
    first_part = 2 if question.earlier else 1  # after the message alone, and in its context
    parts = [question.embeddings[0], *question.embeddings[first_part:]]
    resembled = [
        {kind: float(np.sort(vectors @ part)[-NEAREST_EXAMPLES:].mean()) for kind, vectors in background.items()}
        for part in parts
    ]
    return max(resembled, key=lambda one: one["server"] - max(one["talk"], one["general"]))


def lines_near(
    question: Question, passages: Sequence[Passage], encode: Callable[[Sequence[str]], Sequence[Any]]
) -> list[Line]:
    """Return the lines of the first passages, each with its similarity; `encode` may cache vectors."""
    found = [(passage, line) for passage in passages[:CONSIDERED] for line in lines_of(passage.text)]
    if question.embeddings is None:
        return [_line(passage, text, None, None) for passage, text in found]
    # A passage that is one line has a vector already.
    wholes = [passage.similarity if passage.text == text else None for passage, text in found]
    unknown = [
        f"{passage.heading}\n{text}" for (passage, text), whole in zip(found, wholes, strict=True) if whole is None
    ]
    vectors = iter(encode([*(text for _, text in found), *unknown]))
    alone = [question.similarity_to(next(vectors)) for _ in found]
    near = [question.similarity_to(next(vectors)) if whole is None else whole for whole in wholes]
    return [_line(passage, text, *both) for (passage, text), *both in zip(found, near, alone, strict=True)]


def _line(passage: Passage, text: str, near: float | None, near_alone: float | None) -> Line:
    return Line(
        passage.chunk_id, passage.document_id, passage.title, passage.link, passage.heading, text, near, near_alone
    )
