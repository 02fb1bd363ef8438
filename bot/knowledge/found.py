"""Describes passages that a search found: their scores, and what an answer would do with each."""

from __future__ import annotations

from bot.knowledge.library import FoundPassage
from bot.knowledge.quoting import cite_one
from bot.services import Services
from bot.text.sanitize import escape_inline
from storage.knowledge.search import FEWEST_WORDS, LEAST_SHARE, Passage
from storage.wording import count, shorten

EXCERPT_CHARS = 160


def describe_found(found: FoundPassage) -> str:
    """Return a passage's document, its score, whether it would be quoted, and its first words."""
    passage = found.passage
    excerpt = shorten(" ".join(passage.text.split()), EXCERPT_CHARS)
    score = escape_inline(describe_score(passage))
    return f"- {cite_one(passage.title, passage.link)} · {score} · **{found.use}**\n  {escape_inline(excerpt)}"


def describe_score(passage: Passage) -> str:
    """Return how near a passage is to a question in meaning, and what it gains by which words."""
    words = f"{passage.word_share:.0%} of the words ({', '.join(passage.words)})"
    if passage.similarity is None:
        return words
    if not passage.words:
        return f"similarity {passage.similarity:.2f}"
    return f"similarity {passage.similarity:.2f} + {passage.words_bonus:.2f} for {words} = {passage.relevance:.2f}"


def describe_limit(services: Services) -> str:
    """Return which passages an answer quotes."""
    settings = services.settings.knowledge
    return (
        f"An answer quotes at most {count(settings.passages, 'passage')}, and none if none reaches "
        f"{settings.min_similarity:.2f} (knowledge.passages and knowledge.min_similarity) or holds {LEAST_SHARE:.0%} "
        f"of the question's words, at least {FEWEST_WORDS}. The fewer passages hold a word, the more it counts."
    )
