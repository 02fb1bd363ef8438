"""`python -m tests.benchmarks.knowledge_weights` fits the weights of `bot.knowledge.decision`, and prints them.

It learns from `knowledge_servers`, without the one that judges, and the validation half of `knowledge_set`. A question
whose right line is taken out of the documents is one that they do not answer, asked as real ones are, next to lines
about the same things. Small talk and questions about the world are also the prompts that ship with the bot.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bot.knowledge import decision
from bot.knowledge.decision import (
    AskedMessage,
    Line,
    Ranked,
    answered_features,
    rank,
    server_features,
)
from bot.knowledge.extraction import MediaType
from bot.knowledge.matching import stem, words_of
from bot.knowledge.question_vectors import CONSIDERED, background_of, embed_question, read_background
from storage.conversations.prompt_bank import SHIPPED
from storage.models.bundled import BundledEncoder, Encoder
from storage.models.english import InEnglish
from tests.benchmarks.knowledge_servers import (
    ANSWERABLE,
    ELSEWHERE,
    FITTED,
    GENERAL,
    UNANSWERABLE,
    UNSEEN,
    Message,
    SmallServer,
    read_server,
)
from tests.benchmarks.knowledge_set import VALIDATION, Kind, read_documents, read_questions

OLDER = "older"
FEW_DOCUMENTS = 3
"""On each server that the older set is spread over."""
PROMPTS = 200
WORDS_BONUS = 0.15
SERVER_COUNTS = 2.0
"""A message of a server counts as much as so many of the older set, whose questions resemble its documents."""

UNANSWERABLE_COUNTS, TAKEN_OUT_COUNTS = 4.0, 0.5
"""Questions that were written to have no answer are few, and closer to life than those whose line was taken out."""


class Shelf:
    """The lines of a server with their vectors."""

    def __init__(self, server: SmallServer, encoder: Encoder) -> None:
        chunks = [(title, one) for title, some in server.chunks(encoder.count_tokens).items() for one in some]
        self.encoder = encoder
        self.lines = [Line(i, 0, title, "", one.heading, one.text, None, None) for i, (title, one) in enumerate(chunks)]
        self.near = encoder.encode([one.embedded_text for _, one in chunks])
        self.alone = encoder.encode([one.text for _, one in chunks])
        self.stems = [set(map(stem, words_of(one.embedded_text))) for _, one in chunks]

    def ask(
        self, message: Message, background: Mapping[str, Any], *, without: frozenset[int] = frozenset()
    ) -> tuple[AskedMessage, list[Line]]:
        """Return the message and the lines that come near it, as the bot would have them."""
        earlier = tuple(reversed(message.earlier))
        question = embed_question(self.encoder, message.question, earlier)
        assert question.embeddings is not None
        asked = list(map(stem, words_of(message.question)))
        found = [
            Line(
                line.chunk_id, 0, line.title, "", line.heading, line.text,
                question.similarity_to(self.near[i]), question.similarity_to(self.alone[i]),
            )
            for i, line in enumerate(self.lines)
            if i not in without
        ]  # fmt: skip

        def relevance(line: Line) -> float:
            share = sum(one in self.stems[line.chunk_id] for one in asked) / max(len(asked), 1)
            return (line.near or 0.0) + WORDS_BONUS * share

        nearest = sorted(found, key=relevance, reverse=True)[:CONSIDERED]
        resembled = background_of(question, background)
        return AskedMessage(message.question, earlier, resembled), nearest


@dataclass(frozen=True)
class Example:
    server: str
    message: Message
    is_taken_out: bool
    """Whether the documents lack the right line here."""
    weight: float
    asked: AskedMessage
    unordered: Ranked
    right: frozenset[int]
    """IDs of the right lines; empty if none answers."""
    asks_server: bool

    @property
    def ranked(self) -> Ranked:
        """The lines in the order that the weights of the moment give."""
        return replace(self.unordered, lines=decision.best_first(self.unordered.lines))


def read_older_servers() -> list[SmallServer]:
    """Return the documents of the older set, a few on each server, with the validation half of its questions."""
    texts = read_documents()
    titles = random.Random(4).sample(sorted(texts), len(texts))
    count = len(titles) // FEW_DOCUMENTS
    servers = [
        SmallServer({title: (MediaType.MARKDOWN, texts[title]) for title in titles[i::count]}) for i in range(count)
    ]
    for kind in Kind:
        for one in read_questions(VALIDATION, kind):
            next(server for server in servers if one.document in server.documents).messages.append(one)
    return servers


def collect(encoder: Encoder) -> Iterator[Example]:
    background = read_background(encoder)
    for part in (*FITTED, UNSEEN):
        server = read_server(part)
        others = read_background(encoder, without={message.question for message in server.messages})
        yield from _examples(part, server, encoder, others, SERVER_COUNTS)
    prompts = random.Random(5).sample(SHIPPED.read_text(encoding="utf-8").splitlines(), PROMPTS)
    older = read_older_servers()
    for i, server in enumerate(older):
        server.messages.extend(Message(GENERAL, prompt) for prompt in prompts[i :: len(older)])
        yield from _examples(OLDER, server, encoder, background, 1.0)


def _examples(
    name: str, server: SmallServer, encoder: Encoder, background: Mapping[str, Any], weight: float
) -> Iterator[Example]:
    shelf = Shelf(server, encoder)
    for message in server.messages:
        right = frozenset(line.chunk_id for line in shelf.lines if message.is_answered_by(line.title, line.text))
        asks_server = message.kind not in ELSEWHERE
        if right or message.kind not in ANSWERABLE:
            counts = weight * (UNANSWERABLE_COUNTS if message.kind == UNANSWERABLE else 1)
            asked, lines = shelf.ask(message, background)
            yield Example(name, message, False, counts, asked, rank(asked, lines), right, asks_server)
        if right:
            counts = weight * TAKEN_OUT_COUNTS
            asked, lines = shelf.ask(message, background, without=right)
            yield Example(name, message, True, counts, asked, rank(asked, lines), frozenset(), asks_server)


def fit_all(examples: Sequence[Example]) -> None:
    """Set the weights of the decision to those that fit the examples."""
    decision.LINE_WEIGHTS = fit_lines(examples)  # the other two see the ranking that it gives
    ranked = [one.ranked for one in examples]
    asking = [(one, found) for one, found in zip(examples, ranked, strict=True) if one.asks_server]
    decision.ANSWERED_WEIGHTS = _fit_features(
        [answered_features(one.asked, found) for one, found in asking],
        [found.best.line.chunk_id in one.right for one, found in asking],
        [one.weight for one, _ in asking],
    )
    decision.SERVER_WEIGHTS = _fit_features(
        [server_features(one.asked, found) for one, found in zip(examples, ranked, strict=True)],
        [one.asks_server for one in examples],
        [one.weight for one in examples],
    )


def fit_lines(examples: Sequence[Example]) -> dict[str, float]:
    """Return the weights with which the right line comes before each other one."""
    names, differences, weights = list(decision.LINE_WEIGHTS), [], []
    for one in examples:
        vectors = {
            ranked.line.chunk_id: np.array([ranked.features[name] for name in names]) for ranked in one.unordered.lines
        }
        right = [vectors[id_] for id_ in one.right if id_ in vectors]
        for id_, vector in vectors.items():
            if right and id_ not in one.right:
                differences.append(right[0] - vector)
                weights.append(one.weight / len(vectors))
    rows = np.array(differences)
    return _fit(names, np.concatenate([rows, -rows]), [1] * len(rows) + [0] * len(rows), weights * 2, intercept=False)


def _fit_features(
    features: Sequence[Mapping[str, float]], is_so: Sequence[bool], weights: Sequence[float]
) -> dict[str, float]:
    names = [name for name in features[0] if name]
    rows = np.array([[one[name] for name in names] for one in features])
    return _fit(names, rows, [int(one) for one in is_so], weights, intercept=True)


def _fit(
    names: Sequence[str], rows: Any, labels: Sequence[int], weights: Sequence[float], *, intercept: bool
) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression

    scale = rows.std(axis=0)
    scale[scale == 0] = 1.0
    fitted = LogisticRegression(
        C=0.5 if intercept else 30.0,
        fit_intercept=intercept,
        max_iter=1_000,
        class_weight="balanced" if intercept else None,
    )
    fitted.fit(rows / scale, labels, sample_weight=weights)
    found = {name: round(float(w), 2) for name, w in zip(names, fitted.coef_[0] / scale, strict=True)}
    return ({"": round(float(fitted.intercept_[0]), 2)} if intercept else {}) | found


def main() -> None:
    examples = list(collect(InEnglish(BundledEncoder())))
    fit_all([one for one in examples if one.server != UNSEEN])
    print("LINE_WEIGHTS =", json.dumps(decision.LINE_WEIGHTS))
    print("ANSWERED_WEIGHTS =", json.dumps(decision.ANSWERED_WEIGHTS))
    print("SERVER_WEIGHTS =", json.dumps(decision.SERVER_WEIGHTS))


if __name__ == "__main__":
    main()
