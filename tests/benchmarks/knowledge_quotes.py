"""What is quoted, rightly and in vain, by the rule of today and by the one before."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from storage.knowledge.documents import SearchScope
from storage.knowledge.search import Passage, relevant, search
from storage.models.bundled import BundledEncoder
from storage.settings.sections import KnowledgeSettings
from tests.benchmarks.community import conversations
from tests.benchmarks.knowledge_before import choose_before
from tests.benchmarks.knowledge_set import TEST, Kind, SetQuestion, read_questions
from tests.benchmarks.knowledge_shelf import FEW_DOCUMENTS, Asked, Shelf, ask

SMALL_TALK = "small talk"
SMALL_TALK_MESSAGES = 400
SHORTEST_MESSAGE_CHARS = 10
CLOSINGS_TIMES = 5
LIMITS = (0.3, 0.35, 0.4, 0.45, 0.5)

Row = dict[str, Any]


def measure_quotes(shelf: Shelf, split: str, encoder: BundledEncoder, settings: KnowledgeSettings) -> list[Row]:
    """Return a row for each kind of message and size of server, and one for each limit on the large server."""
    messages = {kind: ask(encoder, questions) for kind, questions in _messages_by_kind(split).items()}
    rows = []
    with shelf.database.snapshot() as session:
        for is_small in (False, True):
            found = {kind: _Found(session, shelf, asked, is_small) for kind, asked in messages.items()}
            rows += [_kind_row(session, shelf, split, kind, one, settings) for kind, one in found.items()]
            if not is_small:
                rows += [_limit_row(split, found, limit, settings) for limit in LIMITS]
    return rows


def read_messages() -> list[str]:
    """Return what people wrote to each other, about none of the documents."""
    messages = [message for conversation in conversations() for message in conversation]
    return [text for text in messages if len(text) >= SHORTEST_MESSAGE_CHARS]


def _messages_by_kind(split: str) -> dict[str, list[SetQuestion]]:
    sets: dict[str, list[SetQuestion]] = {kind.value: read_questions(split, kind) for kind in Kind}
    asked, closings, small_talk = sets[Kind.PARAPHRASES], sets.pop(Kind.CLOSINGS), _small_talk(split)
    half = len(asked) // 2
    return sets | {
        SMALL_TALK: small_talk,
        "closings after a question": _after(asked, closings * CLOSINGS_TIMES),
        "small talk after a question": _after(asked, small_talk),
        "questions after one about something else": _after(asked, asked[half:] + asked[:half]),
    }


def _after(earlier: Sequence[SetQuestion], messages: Sequence[SetQuestion]) -> list[SetQuestion]:
    return [replace(message, earlier=(before.question,)) for message, before in zip(messages, itertools.cycle(earlier))]


def _small_talk(split: str) -> list[SetQuestion]:
    messages = random.Random(1).sample(read_messages(), 2 * SMALL_TALK_MESSAGES)
    chosen = messages[:SMALL_TALK_MESSAGES] if split == TEST else messages[SMALL_TALK_MESSAGES:]
    return [SetQuestion(words) for words in chosen]


class _Found:
    """Messages of a kind, where each was written, and what search finds for them there."""

    def __init__(self, session: Session, shelf: Shelf, asked: Sequence[Asked], is_small: bool) -> None:
        small = list(dict.fromkeys(shelf.small_servers.values()))
        self.asked = asked
        self.documents = FEW_DOCUMENTS if is_small else len(shelf.small_servers)
        self.scopes: list[SearchScope] = [
            shelf.small_servers.get(one.question.document, small[i % len(small)]) if is_small else shelf.scope
            for i, one in enumerate(asked)
        ]
        self._passages = [
            search(session, shelf.index, scope, one.query) for scope, one in zip(self.scopes, asked, strict=True)
        ]

    def chosen(self, limit: float, passages: int) -> list[list[Passage]]:
        return [relevant(found, limit)[:passages] for found in self._passages]

    def shares(self, chosen: Sequence[Sequence[Passage]]) -> tuple[float, float]:
        """Return the shares of messages for which the right passage is quoted, and for which only others are."""
        right = [holds_right(one, passages) for one, passages in zip(self.asked, chosen, strict=True)]
        quoted = sum(bool(passages) for passages in chosen)
        return round(sum(right) / len(right), 3), round((quoted - sum(right)) / len(right), 3)


def holds_right(one: Asked, passages: Sequence[Passage]) -> bool:
    return any(p.title == one.question.document and one.question.is_answered_by(p.text) for p in passages)


def _kind_row(session: Session, shelf: Shelf, split: str, kind: str, found: _Found, settings: KnowledgeSettings) -> Row:
    before = [
        choose_before(session, shelf.index, scope, one.query, settings.passages)
        for scope, one in zip(found.scopes, found.asked, strict=True)
    ]
    right_before, wrong_before = found.shares(before)
    right, wrong = found.shares(found.chosen(settings.min_similarity, settings.passages))
    return {
        "what": "quotes",
        "split": split,
        "documents": found.documents,
        "kind": kind,
        "messages": len(found.asked),
        "right_before": right_before,
        "right": right,
        "wrong_before": wrong_before,
        "wrong": wrong,
    }


def _limit_row(split: str, found: Mapping[str, _Found], limit: float, settings: KnowledgeSettings) -> Row:
    def shares(kind: str) -> tuple[float, float]:
        return found[kind].shares(found[kind].chosen(limit, settings.passages))

    return {
        "what": "limit",
        "split": split,
        "min_similarity": limit,
        "right_paraphrases": shares(Kind.PARAPHRASES)[0],
        "right_rare_words": shares(Kind.RARE_WORDS)[0],
        "wrong_unanswerable": shares(Kind.UNANSWERABLE)[1],
        "wrong_small_talk": shares(SMALL_TALK)[1],
    }
