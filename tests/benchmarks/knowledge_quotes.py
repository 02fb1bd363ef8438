"""Which lines are shown, rightly and in vain."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from bot.knowledge.asking import Background, background_of, lines_near
from bot.knowledge.decision import AskedMessage, Line, ReplyDecision, ReplyKind, decide_reply
from storage.knowledge.search import Passage, Question, search
from storage.models.bundled import Encoder
from tests.benchmarks.knowledge_set import TEST, Kind, SetQuestion, read_questions
from tests.benchmarks.knowledge_shelf import Asked, Shelf, ask
from tests.benchmarks.people import conversations
from tests.benchmarks.report import Row

SMALL_TALK = "small talk"
SMALL_TALK_MESSAGES = 400
SHORTEST_MESSAGE_CHARS = 10
CLOSINGS_TIMES = 5


def measure_quotes(shelf: Shelf, split: str) -> list[Row]:
    """Return a row for each kind of message."""
    with shelf.database.snapshot() as session:
        return [
            {"what": "quotes", "split": split, "kind": kind} | _quoted(session, shelf, ask(shelf.encoder, questions))
            for kind, questions in _messages_by_kind(split).items()
        ]


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


def _quoted(session: Session, shelf: Shelf, asked: Sequence[Asked]) -> Row:
    """Return the shares of messages for which the right line is shown, and for which only others are."""
    decisions = [
        decide_on(shelf.encoder, shelf.background, one.query, search(session, shelf.index, shelf.scope, one.query))
        for one in asked
    ]
    right = [holds_right(one, decision.lines) for one, decision in zip(asked, decisions, strict=True)]
    quoted = [decision.outcome is ReplyKind.QUOTED for decision in decisions]
    return {
        "messages": len(asked),
        "right": _share(right),
        "wrong": _share([is_quoted and not is_right for is_quoted, is_right in zip(quoted, right, strict=True)]),
        "unsure": _share([one.outcome in (ReplyKind.NEAREST, ReplyKind.UNKNOWN) for one in decisions]),
    }


def decide_on(
    encoder: Encoder, background: Background, question: Question, passages: Sequence[Passage]
) -> ReplyDecision:
    lines = lines_near(question, passages, encoder.encode)
    return decide_reply(AskedMessage(question.text, question.earlier, background_of(question, background)), lines)


def holds_right(one: Asked, lines: Sequence[Line]) -> bool:
    return any(line.title == one.question.document and one.question.is_answered_by(line.text) for line in lines)


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / len(flags), 3)
