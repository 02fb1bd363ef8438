"""`reactune bench humans`: what the taste learns from ratings of real people, and when it acts. No model answers.

Strangers talked to each other and rated the chat from 1 to 10 (`chitchat-dataset`). Simulated servers get some of these
ratings as votes, a 👍 from 7 on, and the taste that they teach is judged on chats that nobody on the server rated. Long
chats are liked more, and a length alone is easily learned: so what is rated is the beginning, about an answer long.

Beside them stand servers without any taste, whose ratings are shuffled, and servers of polite members who like what one
rule says of the demo's answers. Such a rule is easier to learn than what real people like.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.demo.community import TASTES, read_community_answers
from storage.members import Pseudonym
from storage.style import measure_style, scaled
from storage.taste.learning import LearnedTaste, arrange, learn
from storage.taste.opinions import Opinion
from storage.words import first_words
from tests.benchmarks.people import POLITE, read_dataset
from tests.benchmarks.report import Row, report

VOTES = (40, 160, 640)
JUDGED_AT = 160
VOTERS = 10
LIKED_FROM = 7
"""Mean of a chat's ratings from which it counts as liked."""
UNTOUCHED = {5}
"""The sliders stand at 5 until somebody moves them."""
LEAST_WORDS = 5
"""Whoever wrote fewer words did not talk."""
BEGINNING = 60
"""Words of a chat that are rated: so long is an answer."""
HELD_OUT = 0.5
"""Share of the messages, or chats, whose answers nobody on a server rates."""
CANDIDATES, DRAWS = 4, 1_000
RULES = ("short", "question", "warm", "middle", "calm")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

Floats = NDArray[Any]


@dataclass(frozen=True)
class Rated:
    """Answers that are liked or not; where their likes differ from one vote to the next, by their shares."""

    about: tuple[str, ...]
    """What each answers."""
    texts: tuple[str, ...]
    measures: Floats
    """(N, D)"""
    is_liked: NDArray[np.bool_]
    """(N,)"""
    shares: tuple[float, float] = (1.0, 0.0)
    """Of likes among the votes on an answer that is liked, and on another."""

    @classmethod
    def measure(
        cls, about: Sequence[str], texts: Sequence[str], is_liked: Sequence[bool], shares: tuple[float, float]
    ) -> Rated:
        return cls(
            tuple(about), tuple(texts), np.array([measure_style(text) for text in texts]), np.array(is_liked), shares
        )


def run(*, servers: int = 16, seed: int = 0) -> Row:
    """Let so many servers of each kind learn, and return machine, versions, a row for each server, and the summary."""
    began = time.monotonic()
    rows = [
        {"data": name, "votes": votes, "seed": seed + number} | live(rated, votes, seed + number)
        for name, rated in read_ratings().items()
        for votes in VOTES
        for number in range(servers)
    ]
    return report(rows, summary_of(rows) | {"seconds": time.monotonic() - began}, "numpy", "chitchat-dataset")


def read_ratings() -> dict[str, Rated]:
    chats = read_chats()
    people = Rated.measure(
        [str(number) for number in range(len(chats))],
        [first_words(text, BEGINNING) for text, _ in chats],
        [rating >= LIKED_FROM for _, rating in chats],
        (1.0, 0.0),
    )
    shuffled = np.random.default_rng(0).permutation(people.is_liked)
    found = {"chitchat": people, "no_taste": Rated(people.about, people.texts, people.measures, shuffled)}
    answers = [(one.message, answer) for one in read_community_answers() for answer in one.answers]
    about, texts = zip(*answers, strict=True)
    for rule in RULES:
        found[f"rule_{rule}"] = Rated.measure(about, texts, [TASTES[rule](*one) > 0.5 for one in answers], POLITE)
    return found


def read_chats() -> list[tuple[str, float]]:
    """Return text and mean rating of each chat in which both talked, if somebody rated it."""
    found = []
    for chat in read_dataset():
        said = [message for turn in chat["messages"] for message in turn]
        words: Counter[str] = Counter()
        for message in said:
            words[message["sender"]] += len(message["text"].split())
        ratings = list((chat.get("ratings") or {}).values())
        talked = [sender for sender, number in words.items() if number >= LEAST_WORDS]
        if ratings and set(ratings) != UNTOUCHED and len(talked) > 1:
            found.append(("\n".join(message["text"] for message in said), fmean(ratings)))
    return found


def live(rated: Rated, votes: int, seed: int) -> Row:
    """Let a server vote so often, and return how its taste does with what nobody there has seen."""
    chance = np.random.default_rng(seed)
    seen, unseen = split(rated, chance)
    said = [
        Opinion(
            int(place),
            Pseudonym(1 + int(chance.integers(VOTERS))),
            bool(chance.random() < rated.shares[0 if rated.is_liked[place] else 1]),
            1.0,
            BEGAN + timedelta(minutes=number),
        )
        for number, place in enumerate(chance.choice(seen, votes, replace=votes > len(seen)))
    ]
    taste = learn(arrange(said, dict(enumerate(rated.measures))))
    score = taste.posterior.score(scaled(rated.measures[unseen]))
    return judge(taste, score, rated.is_liked[unseen], chance)


def split(rated: Rated, chance: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of answers to vote on and of held-out ones: no message and no text is on both sides."""
    messages = sorted(set(rated.about))
    held_out = set(chance.permutation(messages)[: int(HELD_OUT * len(messages))].tolist())
    is_seen = np.array([about not in held_out for about in rated.about])
    known = {text for text, seen in zip(rated.texts, is_seen, strict=True) if seen}
    return np.flatnonzero(is_seen), np.flatnonzero([text not in known for text in rated.texts])


def judge(taste: LearnedTaste, score: Floats, is_liked: Floats, chance: np.random.Generator) -> Row:
    better, worse = score[is_liked][:, None], score[~is_liked]
    drawn = chance.integers(len(score), size=(DRAWS, CANDIDATES))
    best = drawn[np.arange(DRAWS), score[drawn].argmax(axis=1)]
    return {
        "auc": float((better > worse).mean() + (better == worse).mean() / 2),
        "lift": float(is_liked[best].mean() - is_liked[drawn].mean()),
        "evidence": taste.e_value,
        "chooses": taste.may_choose,
        "teaches": taste.may_teach,
    }


def summary_of(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return for each set of ratings the AUC, the lift of the best of four, and in how many servers the taste acts.

    It acts where it chooses among candidates; where it teaches too, examples and rounds follow it. A mean of nothing is
    None.
    """
    found = {}
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == data]
        judged = [row for row in mine if row["votes"] == JUDGED_AT]
        found |= {
            f"{data}_auc_{votes}": _mean([row["auc"] for row in mine if row["votes"] == votes]) for votes in VOTES
        }
        found |= {
            f"{data}_lift_{JUDGED_AT}": _mean([row["lift"] for row in judged]),
            f"{data}_acts_share_{JUDGED_AT}": _mean([row["chooses"] for row in judged]),
            f"{data}_teaches_share_{JUDGED_AT}": _mean([row["teaches"] for row in judged]),
            f"{data}_lift_where_it_does_not_act": _mean([row["lift"] for row in mine if not row["chooses"]]),
            f"{data}_lift_where_it_does_not_teach": _mean([row["lift"] for row in mine if not row["teaches"]]),
        }
    return found


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
