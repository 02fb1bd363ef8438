"""Describes passages that a search found: their scores, and what an answer would do with each."""

from __future__ import annotations

from bot.knowledge.library import FoundPassage
from bot.knowledge.quoting import cite_one
from bot.localization.sentences import decimal, gettext, ngettext, percent
from bot.services import Services
from bot.text.sanitize import escape_inline
from storage.knowledge.search import FEWEST_WORDS, LEAST_SHARE, Passage
from storage.wording import shorten

EXCERPT_CHARS = 160


def describe_found(found: FoundPassage) -> str:
    """Return a passage's document, its score, whether it would be quoted, and its first words."""
    passage = found.passage
    excerpt = shorten(" ".join(passage.text.split()), EXCERPT_CHARS)
    score = escape_inline(describe_score(passage))
    return f"- {cite_one(passage.title, passage.link)} · {score} · **{gettext(found.use)}**\n  {escape_inline(excerpt)}"


def describe_score(passage: Passage) -> str:
    """Return how near a passage is to a question in meaning, and what it gains by which words."""
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


def describe_limit(services: Services) -> str:
    """Return which passages an answer quotes."""
    settings = services.settings.knowledge
    return gettext(
        "An answer quotes at most {passages}, and none if none reaches {similarity} (knowledge.passages and "
        "knowledge.min_similarity) or holds {share} of the question's words, at least {words}. The fewer passages hold "
        "a word, the more it counts.",
        passages=ngettext("{count} passage", "{count} passages", settings.passages),
        similarity=decimal(settings.min_similarity, 2),
        share=percent(LEAST_SHARE),
        words=FEWEST_WORDS,
    )
