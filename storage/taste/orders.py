"""Members' preferences as one order in the base's prompt, such as "End with a question.", until a version learns them.

Words steer some bases in some things, and make others worse. So a round draws a few answers with the order, and keeps
it only if these have more of the liked trait than those without it, and are no less relevant to their messages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from storage.conversations.example_turns import SHOWN_AS, ShownAs, order_in, without_examples
from storage.conversations.replies import FINISHED_WHOLE
from storage.database.enums import Basis, Origin
from storage.database.tables import ReplyRow
from storage.personalities.personalities import in_present_character
from storage.releases.bases import base_in_use
from storage.settings.sections import GenerationSettings
from storage.style import MEASURES, scaled
from storage.taste.learning import LearnedTaste, read_measures
from storage.taste.likings import Effect, Sureness, likings
from storage.taste.model import Floats
from storage.taste.relevance import read_relevance

MOST_TRIED = 2
"""Number of orders that are tried: those of the surest preferences that have one."""
TRIED_PROMPTS = 16
TRIED_ANSWERS = 2
"""Answers with the order to each of these prompts; without it, a round has more."""
FEWEST_PROMPTS = 8
"""Minimum number of prompts for which a mean difference counts."""
CLEAR = 2.0
"""Number of standard errors that a clear difference has."""
TINY = 1e-9
"""Minimum standard error: the same difference everywhere is clear."""
NEWEST = 1_000
"""Maximum number of answers that are read with an order, and without one: a round tries an order on a few prompts."""
ALONE = 2
"""Maximum number of messages of a prompt without examples: the system message, and one of the prompt bank."""
ORDERS: Mapping[str, tuple[str, str]] = {
    "words": ("Give long answers.", "Answer in at most ten words."),
    "sentences": ("Answer in three sentences or more.", "Answer in a single sentence."),
    "sentence length": ("Use long sentences.", "Use short sentences."),
    "word length": ("", "Use short and easy words."),
    "line breaks": ("Answer in two or three paragraphs.", "Answer in one paragraph."),
    "lists": ("Answer with a list.", "Use no lists."),
    "bold": ("Put the most important words in bold.", "Use no bold words."),
    "capital start": ("", "Write in small letters only."),
    "exclamation marks": ("Use many exclamation marks.", "Use no exclamation marks."),
    "any exclamation mark": ("Use an exclamation mark.", "Use no exclamation marks."),
    "question marks": ("Ask questions.", "Ask no questions."),
    "question at the end": ("End with a question.", "Do not end with a question."),
    "emoji": ("Use many emoji.", "Use no emoji."),
    "any emoji": ("Use an emoji.", "Use no emoji."),
    "starts with I": ('Begin with "I".', 'Do not begin with "I".'),
    "first person": ("Speak about yourself.", "Do not speak about yourself."),
    "second person": ('Say "you" often.', 'Do not say "you".'),
    "speaks to you": ('Say "you" to whoever asks.', 'Do not say "you".'),
    "we": ('Say "we" and "let\'s".', ""),
    "hedging": ('Say "maybe" or "perhaps".', 'Be certain: do not say "maybe".'),
    "warmth": ("Use a warm, kind word.", "Be matter-of-fact."),
    "much warmth": ("Be very warm and kind.", "Be matter-of-fact."),
    "apologies": ("", "Do not apologise."),
    "thanks": ("Say thanks.", "Do not say thanks."),
    "greetings": ("Begin with a greeting.", "Do not begin with a greeting."),
    "intensifiers": ('Say "very" and "really".', 'Do not say "very" or "really".'),
    "laughs": ('Laugh: say "haha".', ""),
    "slang": ("Use slang.", "Use no slang."),
    "examples": ("Give an example.", "Give no examples."),
    "advice": ("Give advice.", "Give no advice."),
    "reasons": ("Say why.", ""),
    "requests": ('Say "please".', ""),
    "31 to 60 words": ("Answer in 31 to 60 words.", ""),
    "61 to 120 words": ("Answer in 61 to 120 words.", ""),
}
"""Orders by measure, one for more of it and one for less. Measures that few would understand as an order have none."""


@dataclass(frozen=True)
class Order:
    text: str
    measure: int
    """The index in MEASURES of the measure that the order should move."""
    sign: int
    """1 if members like more of it, -1 if they like less."""


def orders_to_try(taste: LearnedTaste, settings: GenerationSettings) -> list[Order]:
    """Return the orders for traits that people surely or fairly surely like, the surest first.

    There are none while the taste may not rank, or if the operator's settings keep members' preferences from the base.
    """
    if not (settings.examples and taste.may_rank):
        return []
    sure = (effect for effect in likings(taste) if effect.sureness in (Sureness.SURE, Sureness.FAIRLY))
    return [order for order in map(_order_for, sure) if order.text][:MOST_TRIED]


def _order_for(effect: Effect) -> Order:
    more, less = ORDERS.get(effect.measure.name, ("", ""))
    is_more = effect.size > 0
    return Order(more if is_more else less, MEASURES.index(effect.measure), 1 if is_more else -1)


def order_in_use(session: Session, personality_id: int, taste: LearnedTaste, settings: GenerationSettings) -> str:
    """Return the order that is kept for the base in use; empty if there is none."""
    used = base_in_use(session)
    return kept_order(session, personality_id, used.revision, taste, settings) if used else ""


def kept_order(
    session: Session, personality_id: int, base_revision: str, taste: LearnedTaste, settings: GenerationSettings
) -> str:
    """Return the order that brought more of the liked trait when given to this base; empty if there is none."""
    orders = orders_to_try(taste, settings)
    drawn = _read_drawn(session, personality_id, base_revision) if orders else {}
    found = (order.text for order in orders if _brings_more(_differences(session, drawn, order, taste)))
    return next(found, "")


Drawn = Mapping[str, Mapping[tuple[str, ...], list[int]]]
"""Answers by the order in the base's prompt, empty for none, and by the prompt without it."""


def _read_drawn(session: Session, personality_id: int, base_revision: str) -> Drawn:
    """Return this base's answers to prompts of the bank, given without examples under the card's system prompt."""
    drawn = (
        select(ReplyRow.id, ReplyRow.messages)
        .where(
            ReplyRow.personality_id == personality_id,
            ReplyRow.base_revision == base_revision,
            in_present_character(session, personality_id),
            ReplyRow.version_id.is_(None),
            ReplyRow.basis == Basis.PROMPT_BANK,
            ReplyRow.origin == Origin.SAMPLE,
            ReplyRow.outcome.in_(FINISHED_WHOLE),
            ReplyRow.answer != "",
            func.json_array_length(ReplyRow.messages).between(1, ALONE),
        )
        .order_by(ReplyRow.id.desc())
        .limit(NEWEST)
    )
    shown = ReplyRow.messages[0][SHOWN_AS].as_string()
    told = session.execute(drawn.where(shown == ShownAs.ORDER)).all()
    # Every taste is learned again now and then, and most prompts were never tried with an order: their answers are not
    # read.
    tried = {messages[-1]["content"] for _, messages in told}
    said = [ReplyRow.messages[place]["content"].as_string() for place in range(ALONE)]
    plain = drawn.where(shown.is_(None), or_(*(one.in_(tried) for one in said)))
    found: dict[str, dict[tuple[str, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
    for reply_id, messages in [*told, *(session.execute(plain) if tried else ())]:
        prompt = tuple(message["content"] for message in without_examples(messages))
        found[order_in(messages)][prompt].append(reply_id)
    return found


def _differences(session: Session, drawn: Drawn, order: Order, taste: LearnedTaste) -> Floats:
    """Return the order's gains in the liked trait, utility and relevance, for each prompt, (P, 3).

    Relevance is NaN where it was not measured.
    """
    told, plain = drawn.get(order.text, {}), drawn.get("", {})
    arms = [(told[prompt], plain[prompt]) for prompt in told if prompt in plain]
    numbers = _read_numbers(session, {id_ for both in arms for ids in both for id_ in ids}, order, taste)
    means = [[np.mean([numbers[id_] for id_ in ids], axis=0) for ids in both] for both in arms]
    return np.array([with_it - without for with_it, without in means]).reshape(-1, 3)


def _read_numbers(session: Session, reply_ids: set[int], order: Order, taste: LearnedTaste) -> dict[int, Floats]:
    """Return {answer: (its amount of the liked trait, utility, relevance)}."""
    measures, relevance = read_measures(session, reply_ids), read_relevance(session, reply_ids)
    style = scaled(np.array(list(measures.values())).reshape(-1, len(MEASURES)))
    known = [relevance.get(reply_id, np.nan) for reply_id in measures]
    numbers = np.column_stack([order.sign * style[:, order.measure], taste.posterior.score(style), known])
    return dict(zip(measures, numbers, strict=True))


def _brings_more(differences: Floats) -> bool:
    liked, utility, relevance = differences.T
    falls = relevance[~np.isnan(relevance)]
    return _in_errors(liked) >= CLEAR and bool(utility.mean() > 0) and _in_errors(falls) > -CLEAR


def _in_errors(differences: Floats) -> float:
    """Return the mean in standard errors; 0 if there are too few differences."""
    if len(differences) < FEWEST_PROMPTS:
        return 0.0
    error = differences.std(ddof=1) / len(differences) ** 0.5
    return float(differences.mean() / max(error, TINY))
