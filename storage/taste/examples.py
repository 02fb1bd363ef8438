"""Earlier turns that show the base how to answer, until a version has learned it (Brown et al. 2020, GPT-3).

They are the examples of its card, and liked answers of its own. These are answers to prompts of the prompt bank, which
rounds have drawn, so they contain no member's words. An order can express the same in words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.degenerate import is_degenerate
from storage.conversations.example_turns import SHOWN_AS, ShownAs, fewer_and_fewer, turns_of, with_earlier, with_order
from storage.database.enums import Basis, Origin, Outcome
from storage.database.tables import ReplyRow
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import in_present_character, read_personality
from storage.releases.bases import of_base_in_use
from storage.settings.sections import ModelSettings, Settings
from storage.style import dodges, scaled
from storage.taste.learning import WORDS, LearnedTaste, read_measures
from storage.taste.liked import read_liked_style
from storage.taste.relevance import are_relevant, read_relevance
from storage.words import count_words

NEWEST = 1_000
"""Newest answers among which the examples are searched."""
FEWEST_WORDS = 5
"""Minimum words of an example: shorter ones would teach the base to say the same word to everything."""
TYPICAL = 0.5
"""Share of the answers that is used, the closest to liked ones: the best of all would be extreme in one measure."""
LONGER = 0.5
"""An example may be longer than liked answers by this many standard deviations. Long answers contain more of nearly
everything, so the taste would choose the longest, and the base would ramble: docs/internals/statistics.md, "Examples".
"""
WINDOW_SHARE = 0.25
"""Largest share of the context for the examples."""
CHARS_PER_TOKEN = 4
"""Characters per token in usual text; prompts with other text leave out some more examples."""


@dataclass(frozen=True)
class ExampleTurn:
    """A message of the prompt bank, and the base's answer."""

    message: str
    answer: str


@dataclass(frozen=True)
class Examples:
    of_card: tuple[Example, ...] = ()
    liked: tuple[ExampleTurn, ...] = ()
    """The base's own answers that resemble liked ones."""
    budget_tokens: int = 0
    """Maximum number of tokens of both kinds if there are some of the card."""
    order: str = ""
    """The order with members' preferences, if it moves this base; empty: none."""

    @classmethod
    def of(cls, settings: Settings, card: Card, liked: tuple[ExampleTurn, ...] = (), order: str = "") -> Examples:
        return cls(examples_to_show(settings, card), liked, examples_budget(settings.model), order)

    def shown_with(self, messages: Sequence[Mapping[str, object]]) -> Iterator[tuple[list[dict[str, str]], int | None]]:
        """Yield the messages with the order and fewer and fewer examples, to try until they fit.

        Each comes with the most tokens that the examples may take; None is any number. The card's are left out first.
        """
        liked = turns_of([(one.message, one.answer) for one in self.liked], ShownAs.LIKED)
        for dialogues in fewer_and_fewer(len(self.of_card)):
            of_card = turns_of([example.dialogue for example in self.of_card[:dialogues]], ShownAs.CARD)
            if of_card or liked or self.order:
                shown = with_order(with_earlier(messages, of_card + liked), self.order)
                yield shown, self.budget_tokens if dialogues else None


NO_EXAMPLES = Examples()


def choose_examples(session: Session, personality_id: int, taste: LearnedTaste, most: int) -> tuple[ExampleTurn, ...]:
    """Return up to `most` answers to different messages, the taste's favourites first.

    There are none while the taste may not rank, or before people have liked anything. Members are served with them
    only once it may teach.
    """
    liked = read_liked_style(session, taste.opinions) if most and taste.may_rank else None
    turns = _read_turns(session, personality_id) if liked else {}
    measures, relevance = read_measures(session, set(turns)), read_relevance(session, turns)
    relevant = are_relevant([relevance.get(reply_id) for reply_id in measures])
    if liked is None or not measures:
        return ()
    style = scaled(np.array(list(measures.values())))
    distance = (((style - liked.mean) / liked.spread) ** 2).sum(axis=1)
    typical = np.flatnonzero(distance <= np.quantile(distance, TYPICAL))
    words, score = style[typical, WORDS], taste.posterior.score(style[typical])
    is_long = words > liked.mean[WORDS] + LONGER * liked.spread[WORDS]
    best_first = np.lexsort((np.where(is_long, words, -score), is_long))
    reply_ids = list(measures)
    chosen: dict[str, ExampleTurn] = {}
    for index, too_long in zip(typical[best_first], is_long[best_first], strict=True):
        if too_long and chosen:  # where members like shorter answers than all of these, the shortest one is used
            break
        turn = turns[reply_ids[index]]
        is_new = len(chosen) < most and turn.message not in chosen
        if is_new and relevant[index] and _says_something(turn.answer):
            chosen[turn.message] = turn
    return tuple(chosen.values())


def _read_turns(session: Session, personality_id: int) -> dict[int, ExampleTurn]:
    """Return the newest complete answers of the base in use to prompts of the bank, keyed by reply.

    Answers given after such examples or with an order are left out: they would become ever more alike. So are those
    that an earlier card shaped, by its system prompt or its examples.
    """
    card = read_personality(session, personality_id).card
    of_card = [said["content"] for said in turns_of([one.dialogue for one in card.examples], ShownAs.CARD)]
    rows = session.execute(
        select(ReplyRow.id, ReplyRow.messages, ReplyRow.answer)
        .where(
            ReplyRow.personality_id == personality_id,
            ReplyRow.version_id.is_(None),
            ReplyRow.basis == Basis.PROMPT_BANK,
            ReplyRow.origin == Origin.SAMPLE,  # an arena's prompt can be an admin's own
            ReplyRow.outcome == Outcome.COMPLETE,
            of_base_in_use(session, ReplyRow),
            in_present_character(session, personality_id),
        )
        .order_by(ReplyRow.id.desc())
        .limit(NEWEST)
    )
    return {
        reply_id: ExampleTurn(messages[-1]["content"], answer)
        for reply_id, messages, answer in rows
        if all(said.get(SHOWN_AS) is None or _is_of_card(said, of_card) for said in messages)
    }


def _is_of_card(said: Mapping[str, str], of_card: Collection[str]) -> bool:
    return said[SHOWN_AS] == ShownAs.CARD and said["content"] in of_card


def _says_something(answer: str) -> bool:
    return count_words(answer) >= FEWEST_WORDS and not is_degenerate(answer) and not dodges(answer)


def examples_budget(model: ModelSettings) -> int:
    """Return the most tokens that the examples may take."""
    return int(WINDOW_SHARE * model.context_tokens)


def examples_to_show(settings: Settings, card: Card) -> tuple[Example, ...]:
    """Return the first examples that fit, whole and in the card's order.

    A prompt's unchanged beginning is computed only once.
    """
    chosen: list[Example] = []
    left = CHARS_PER_TOKEN * examples_budget(settings.model)
    for example in card.examples:
        chars = sum(map(len, example.dialogue))
        if len(chosen) < settings.generation.card_examples and chars <= left:
            chosen.append(example)
            left -= chars
    return tuple(chosen)
