"""Describes passages that a search found: their scores, and an answer's use of each."""

from __future__ import annotations

from bot.knowledge.decision import QUOTED_ABOVE, ReplyDecision, ReplyKind
from bot.knowledge.library import FoundPassage
from bot.knowledge.quoting import cite_one
from bot.localization.sentences import decimal, gettext, percent
from bot.text.sanitize import escape_inline
from storage.knowledge.search import Passage
from storage.wording import shorten

EXCERPT_CHARS = 160


def describe_found(found: FoundPassage) -> str:
    """Return a passage's document, its score, whether it would be quoted, and its first words."""
    passage = found.passage
    excerpt = shorten(" ".join(passage.text.split()), EXCERPT_CHARS)
    score = escape_inline(describe_score(passage))
    return f"- {cite_one(passage.title, passage.link)} · {score} · **{gettext(found.use)}**\n  {escape_inline(excerpt)}"


def describe_score(passage: Passage) -> str:
    """Return how similar a passage is to a question in meaning, and which of its words raise its score."""
    words = gettext("{share} of the words ({words})", share=percent(passage.word_share), words=", ".join(passage.words))
    if passage.similarity is None:
        return words
    if not passage.words:
        return gettext("similarity {similarity}", similarity=decimal(passage.similarity, 2))
    return gettext(
        "similarity {similarity} + {bonus} for {words} = {relevance}",
        similarity=decimal(passage.similarity, 2),
        bonus=decimal(passage.words_bonus, 2),
        words=words,
        relevance=decimal(passage.relevance, 2),
    )


def explain_decision(decision: ReplyDecision) -> str:
    """Return the reply to a question, and its certainty."""
    if decision.answered is None or decision.asks_server is None:
        if decision.outcome is ReplyKind.QUOTED:
            return gettext(
                "The line is quoted, because it contains most of the words in this question. Only words were compared."
            )
        return gettext(
            "The model answers alone, because no line contains enough of the words. Only words were compared."
        )
    sure, asks = percent(decision.answered), percent(decision.asks_server)
    if decision.outcome is ReplyKind.QUOTED:
        return gettext("The line is quoted: it is {share} likely to answer this.", share=sure)
    if decision.outcome is ReplyKind.NEAREST:
        return gettext(
            "The nearest lines are shown, marked as uncertain: the first is {share} likely to answer, and one is "
            "quoted from {limit} on.",
            share=sure,
            limit=percent(QUOTED_ABOVE),
        )
    if decision.outcome is ReplyKind.UNKNOWN:
        return gettext("I'd say that I don't know: the nearest line is only {share} likely to answer.", share=sure)
    return gettext("The model answers alone: this is only {share} likely to be about this server.", share=asks)
