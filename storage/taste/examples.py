"""Chooses answers of the base's own that show it what people like, as earlier turns of its prompt (Brown et al. 2020).

They are answers to prompts of the prompt bank, which rounds have drawn, so no member's words are among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.degenerate import is_degenerate
from storage.database.enums import Basis, Outcome
from storage.database.tables import ReplyRow
from storage.settings.sections import Settings
from storage.taste.learning import LearnedTaste, style_of
from storage.taste.liked import read_liked_style
from storage.taste.measures import dodges

NEWEST = 1_000
"""Newest answers among which the examples are searched."""
FEWEST_WORDS = 5
"""Shorter answers would teach to say the same word to everything."""
TYPICAL = 0.5
"""Share of them that are most like liked answers in every measure: the best of all would be extreme in one."""


@dataclass(frozen=True)
class ExampleTurn:
    """A message of the prompt bank, and the base's answer."""

    message: str
    answer: str


def choose_examples(
    session: Session, personality_id: int, settings: Settings, taste: LearnedTaste
) -> tuple[ExampleTurn, ...]:
    """Return the best by the taste, each to another message; none while the taste may not act or nothing was liked."""
    liked = read_liked_style(session, personality_id, settings) if taste.may_act else None
    turns = _read_turns(session, personality_id) if liked and settings.generation.examples else []
    if liked is None or not turns:
        return ()
    style = style_of([turn.answer for turn in turns])
    distance = (((style - liked.mean) / liked.spread) ** 2).sum(axis=1)
    utility = np.where(distance <= np.quantile(distance, TYPICAL), taste.posterior.score(style), -np.inf)
    chosen: dict[str, ExampleTurn] = {}
    for place in np.argsort(-utility, kind="stable"):
        chosen.setdefault(turns[place].message, turns[place])
    return tuple(chosen.values())[: settings.generation.examples]


def _read_turns(session: Session, personality_id: int) -> list[ExampleTurn]:
    """Return whole answers of the base to prompts of the bank that say something."""
    rows = session.execute(
        select(ReplyRow.messages, ReplyRow.answer)
        .where(
            ReplyRow.personality_id == personality_id,
            ReplyRow.version_id.is_(None),
            ReplyRow.basis == Basis.PROMPT_BANK,
            ReplyRow.outcome == Outcome.COMPLETE,
        )
        .order_by(ReplyRow.id.desc())
        .limit(NEWEST)
    )
    return [
        ExampleTurn(messages[-1]["content"], answer)
        for messages, answer in rows
        if len(answer.split()) >= FEWEST_WORDS and not is_degenerate(answer) and not dodges(answer)
    ]
