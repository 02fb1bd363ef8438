"""Decides from a server's documents on the reply: a quoted line, the nearest ones, "I don't know", or the model.

It works in two steps. Does the message ask for something of this server? Evidence is its similarity to questions about
servers, to small talk and to questions about the world, its form, and the documents. Then, does the best line answer
it? Evidence is the line's similarity in meaning and in words, and its lead over the others.

The weights are those of `python -m tests.benchmarks.knowledge_weights`, which docs/internals/statistics.md describes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.knowledge.answer_types import AnswerType, asked_type, asks_for_past, asks_the_world, focus_of, holds
from bot.knowledge.matching import best_match, match_all, words_of
from bot.text.questions import asks_in_part

QUOTED_ABOVE = 0.75
"""A line is quoted as the answer from this probability on."""
NEAREST_ABOVE = 0.05
"""From this probability up to QUOTED_ABOVE, the nearest lines are shown as uncertain answers."""
ASKS_SERVER_ABOVE = 0.55
"""A message is taken to ask for something of the server from this probability on."""
UNASKED_ABOVE = 0.8
"""The probability needed if a message is not phrased as a question."""
OTHER_SCORE = 5.3
"""Median score of the lines that follow the best; it stands in where a server has fewer than four lines."""
MEASURED = (AnswerType.PRICE, AnswerType.TIME, AnswerType.NUMBER, AnswerType.CONTACT)
"""Questions for these need a line of that kind: the workshop's date does not answer "How much is the workshop?"."""
CLEAR_LEAD, FOLLOW_UP_LEAD = 3.0, 6.0
"""The best line is quoted alone if its score is this far ahead of the second."""
NEAREST_LINES = 4
MAX_WORDS = 32
"""Number of words of a message that are compared with the lines."""
EARLIER_WORDS = 0.5
"""Weight of a word of the earlier message."""
HEADING_WORDS = 0.7
"""Weight of a word that only the line's headings hold."""
FEWEST_WORDS, LEAST_SHARE = 2, 0.6
"""Without vectors, a quoted line holds at least this many of the words, and this share of them by rarity."""
MOST_NATS = 3.0
"""Maximum weight of one rare word, so that no name decides alone."""

LINE_WEIGHTS: Mapping[str, float] = {
    "near": 13.5,
    "near_alone": 7.55,
    "share": 6.75,
    "words": -0.36,
    "type": 0.85,
}
ANSWERED_WEIGHTS: Mapping[str, float] = {
    "": -2.33,
    "score": 0.05,
    "lead": -0.07,
    "lead_of_three": 0.53,
    "near": -1.39,
    "near_alone": 1.26,
    "share": 1.14,
    "words": -1.26,
    "type": 0.36,
    "unknown": -0.28,
    "focus": -2.44,
    "past": -1.88,
}
SERVER_WEIGHTS: Mapping[str, float] = {
    "": -10.17,
    "server_or_talk": 12.41,
    "server_or_world": 10.56,
    "question": 3.68,
    "world": -5.84,
    "asking": 1.6,
    "here": 2.0,
    "to_bot": -1.06,
    "long": 0.26,
    "follow_up": 4.64,
    "score": 0.29,
    "near": 10.02,
    "near_alone": -1.81,
    "near_lead": -1.76,
    "words": 0.53,
    "unknown": -0.57,
}

_FORMS: Mapping[str, re.Pattern[str]] = {
    name: re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    for name, words in {
        "asking": r"who|what|when|where|which|how|whom|whose|can|could|does|do|is|are|may|must|need|any|anyone"
        r"|wer|was|wann|wo|wie|kann|darf|muss|gibts?|welche\w*|wem",
        "here": r"here|you guys|this server|we|our|the (?:club|server|guild)|ihr|euch|eure\w*|hier",
        "to_bot": r"you|u|ur|your|du|dir|dein\w*|bot",
    }.items()
}
"""Words that help to tell whether a message asks for something of the server."""


class ReplyKind(StrEnum):
    QUOTED = "quoted"
    """The best line answers the message."""
    NEAREST = "nearest"
    """The message asks about this server, and the nearest lines may or may not answer it."""
    UNKNOWN = "unknown"
    """The message asks for something of this server, and no line is near."""
    MODEL = "model"
    """The message is about something else: the model answers alone."""


@dataclass(frozen=True)
class Line:
    """A line of a document, and its similarity to the message in meaning (cosine; None without vectors)."""

    chunk_id: int
    document_id: int
    title: str
    link: str
    heading: str
    text: str
    near: float | None
    """Similarity of the line with its headings."""
    near_alone: float | None

    @property
    def place(self) -> str:
        """The headings below the title."""
        return self.heading.partition(" › ")[2]


@dataclass(frozen=True)
class AskedMessage:
    """A message, the same person's earlier ones (newest first), and its similarity to kinds of messages."""

    text: str
    earlier: tuple[str, ...] = ()
    background: Mapping[str, float] | None = None
    """Mean similarity to the nearest examples of each kind of message; None without vectors."""


@dataclass(frozen=True)
class ReplyDecision:
    outcome: ReplyKind
    lines: tuple[Line, ...] = ()
    """Quoted or nearest lines, best first."""
    answered: float | None = None
    """The probability that the best line answers; None without vectors, where words decide."""
    asks_server: float | None = None
    """The probability that the message asks for something of this server; None without vectors."""


NOTHING = ReplyDecision(ReplyKind.MODEL)


def decide_reply(asked: AskedMessage, lines: Sequence[Line]) -> ReplyDecision:
    """Return the decision about a message, given the nearest lines of the documents."""
    if not lines:
        return NOTHING
    return decide_ranked(asked, rank(asked, lines))


def decide_ranked(asked: AskedMessage, ranked: Ranked) -> ReplyDecision:
    if asked.background is None or ranked.best.line.near is None:
        return _decide_by_words(asked, ranked)
    answered = logistic(ANSWERED_WEIGHTS, answered_features(asked, ranked))
    asks_server = logistic(SERVER_WEIGHTS, server_features(asked, ranked))
    is_asking = asks_in_part(asked.text) or bool(asked.earlier)
    if asks_server < (ASKS_SERVER_ABOVE if is_asking else UNASKED_ABOVE):
        return ReplyDecision(ReplyKind.MODEL, (), answered, asks_server)
    lacks_kind = ranked.kind in MEASURED and ranked.best.features["type"] < 0
    if is_asking and answered >= QUOTED_ABOVE and not lacks_kind and not _lacks_focus(asked.text, ranked.best):
        return ReplyDecision(ReplyKind.QUOTED, _tied(asked, ranked), answered, asks_server)
    if answered >= NEAREST_ABOVE:
        nearest = tuple(one.line for one in ranked.lines[:NEAREST_LINES])
        return ReplyDecision(ReplyKind.NEAREST, nearest, answered, asks_server)
    return ReplyDecision(ReplyKind.UNKNOWN, (), answered, asks_server)


def _tied(asked: AskedMessage, ranked: Ranked) -> tuple[Line, ...]:
    """Return the best line, with the second one where the two are close, or the question builds on one before."""
    best, *others = ranked.lines[:2]
    lead = FOLLOW_UP_LEAD if asked.earlier else CLEAR_LEAD
    return (best.line, *(one.line for one in others if best.score - one.score < lead))


def _decide_by_words(asked: AskedMessage, ranked: Ranked) -> ReplyDecision:
    best = ranked.best
    if asks_in_part(asked.text) and best.matched >= FEWEST_WORDS and best.features["share"] >= LEAST_SHARE:
        return ReplyDecision(ReplyKind.QUOTED, (best.line,))
    return NOTHING


# Step 2: the best line


@dataclass(frozen=True)
class RankedLine:
    line: Line
    features: Mapping[str, float]
    matched: int
    """Number of the question's words in the line."""

    @property
    def score(self) -> float:
        return sum(LINE_WEIGHTS[name] * value for name, value in self.features.items())


@dataclass(frozen=True)
class Ranked:
    lines: tuple[RankedLine, ...]
    """Lines, best first; at least one."""
    unknown: float
    """The share of the question's words, by rarity, that no line holds."""
    kind: AnswerType | None

    @property
    def best(self) -> RankedLine:
        return self.lines[0]


def rank(asked: AskedMessage, lines: Sequence[Line]) -> Ranked:
    """Return the lines ranked by their fit to the question, best first."""
    own = words_of(asked.text)[:MAX_WORDS]
    weights = dict.fromkeys(words_of(" ".join(asked.earlier[:1]))[:MAX_WORDS], EARLIER_WORDS) | dict.fromkeys(own, 1.0)
    in_line = match_all(list(weights), [words_of(line.text) for line in lines])
    above = match_all(list(weights), [words_of(line.heading) for line in lines])
    matches = {
        word: [max(here, HEADING_WORDS * there) for here, there in zip(in_line[word], above[word], strict=True)]
        for word in weights
    }
    rarity = {word: weights[word] * _rarity(found) for word, found in matches.items()}
    total = sum(rarity.values()) or 1.0
    kind = asked_type(asked.text) or (asked_type(asked.earlier[0]) if asked.earlier else None)
    ranked = [
        RankedLine(
            line,
            {
                "near": line.near or 0.0,
                "near_alone": line.near_alone or 0.0,
                "share": sum(rarity[word] * matches[word][i] for word in weights) / total,
                "words": sum(min(rarity[word], MOST_NATS) * matches[word][i] for word in weights) / 5,
                "type": _fit(line, kind),
            },
            matched=sum(matches[word][i] > 0 for word in own),
        )
        for i, line in enumerate(lines)
    ]
    return Ranked(
        best_first(ranked),
        unknown=sum(rarity[word] for word, found in matches.items() if max(found) < 0.5) / total if weights else 1.0,
        kind=kind,
    )


def best_first(ranked: Iterable[RankedLine]) -> tuple[RankedLine, ...]:
    return tuple(sorted(ranked, key=lambda one: (-one.score, len(one.line.text), one.line.chunk_id)))


def _rarity(matches: Sequence[float]) -> float:
    """Return a word's rarity in nats: log((lines + 1) / (lines that hold it + 1/2))."""
    return math.log((len(matches) + 1) / (sum(found >= 0.5 for found in matches) + 0.5))


def _fit(line: Line, kind: AnswerType | None) -> float:
    """Return 1 if the line holds the kind of answer that is asked for, -1 if not, 0 if that is unknown."""
    if kind is None:
        return 0.0
    text = line.text if kind is AnswerType.PERSON else f"{line.place}: {line.text}"
    return 1.0 if holds(text, kind) else -1.0


def _lacks_focus(question: str, best: RankedLine) -> bool:
    """Return whether the line neither names the thing asked for nor holds an answer of that kind."""
    focus = focus_of(question)
    if focus is None or not words_of(focus) or best.features["type"] > 0:
        return False
    return best_match(focus, [*words_of(best.line.text), *words_of(best.line.heading)]) == 0


# The two probabilities


def answered_features(asked: AskedMessage, ranked: Ranked) -> dict[str, float]:
    """Return the features that predict whether the best line answers."""
    scores = [one.score for one in ranked.lines]
    following = [*scores[1:4], *([OTHER_SCORE] * 3)][:3]
    return {
        "": 1.0,
        "score": scores[0],
        "lead": scores[0] - following[0],
        "lead_of_three": scores[0] - sum(following) / len(following),
        **ranked.best.features,
        "unknown": ranked.unknown,
        "focus": float(_lacks_focus(asked.text, ranked.best)),
        "past": float(asks_for_past(asked.text, ranked.best.line.text)),
    }


def server_features(asked: AskedMessage, ranked: Ranked) -> dict[str, float]:
    """Return the features that predict whether the message asks for something of this server."""
    background, best = asked.background or {}, ranked.best.features
    nears = sorted((one.features["near"] for one in ranked.lines), reverse=True)
    return {
        "": 1.0,
        "server_or_talk": background["server"] - background["talk"],
        "server_or_world": background["server"] - background["general"],
        "question": float(asks_in_part(asked.text)),
        "world": float(asks_the_world(asked.text)),
        **{name: float(form.search(asked.text) is not None) for name, form in _FORMS.items()},
        "long": math.log(len(asked.text) + 5),
        "follow_up": float(bool(asked.earlier)),
        "score": ranked.best.score,
        "near": best["near"],
        "near_alone": best["near_alone"],
        "near_lead": nears[0] - nears[:5][-1],
        "words": best["words"],
        "unknown": ranked.unknown,
    }


def logistic(weights: Mapping[str, float], features: Mapping[str, float]) -> float:
    return 1 / (1 + math.exp(-sum(weights[name] * features[name] for name in weights)))
