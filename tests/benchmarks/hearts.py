"""`reactune bench few --heart`: whether it is found out how many 👍 a ❤️ means.

Members of simulated servers vote on the demo's answers, and nothing but their votes says what a ❤️ means. No model
answers and no round runs, so it takes seconds.
"""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.demo.community import Taste, find_taste, read_community_answers
from storage.database.database import open_database
from storage.database.rows import count_rows
from storage.database.tables import PersonalityRow
from storage.emoji import DISLIKE, LIKE, plain
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import DatabaseSettings, Settings
from storage.statistics import Z_95
from storage.taste.learning import LearnedTaste, learn_taste
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.benchmarks.report import machine, versions
from tests.seeding import add_reply, message_of

HEART = "❤️"
SERVERS, VOTERS = 8, 10
LEAST_NOISE = 0.01
POLITE_LIKES = 0.96, 0.7
"""Share of likes of polite members, under what pleases them and under what does not."""
HEARTS_WHERE_PLEASED = 0.5
"""Share of hearts among the likes under what pleases."""


@dataclass(frozen=True)
class Members:
    """Those of one server."""

    taste: Taste
    heart: float
    """How many 👍 a ❤️ means to them."""
    likes: tuple[float, float]
    """Share of likes, under what pleases them and under what does not."""
    random: random.Random

    def say(self, message: str, answer: str) -> str:
        """Return the emoji that one of them gives the answer.

        A like is so many times likelier under what pleases than elsewhere, and a heart that means n likes is so n times
        over: its odds against a 👍 differ by that to the power of n - 1.
        """
        pleased, elsewhere = self.likes
        is_pleased = self.taste(message, answer) > 0.5
        if self.random.random() >= (pleased if is_pleased else elsewhere):
            return DISLIKE
        odds = HEARTS_WHERE_PLEASED / (1 - HEARTS_WHERE_PLEASED)
        odds *= 1.0 if is_pleased else (pleased / elsewhere) ** (1 - self.heart)
        return HEART if self.random.random() < odds / (1 + odds) else LIKE


def run(
    *, taste: str = "warm", votes: int = 40, noise: float = 0.1, polite: bool = False, heart: float = 2.0, seed: int = 0
) -> dict[str, Any]:
    """Return what each server's votes say of a ❤️, which the settings take for one 👍."""
    began = time.monotonic()
    likes = shares(noise, polite)
    with tempfile.TemporaryDirectory() as folder:
        stored = DatabaseSettings(url=f"sqlite:///{Path(folder) / 'hearts.db'}")
        settings = with_hearts(Settings(database=stored))
        servers = [Members(find_taste(taste), heart, likes, random.Random(seed + number)) for number in range(SERVERS)]
        with closing(open_database(settings)) as database:
            rows = [database.call(_let_vote, members, votes, settings) for members in servers]
    return {
        "machine": machine(),
        "versions": versions("numpy"),
        "servers": {"taste": taste, "votes": votes, "noise": noise, "polite": polite, "heart": heart, "seed": seed},
        "rows": rows,
        "summary": {
            "heart": heart,
            "heart_expected": 1.0,
            "heart_weight": fmean(row["weight"] for row in rows),
            "within_interval_share": fmean(row["low"] <= heart <= row["high"] for row in rows),
            "seconds": time.monotonic() - began,
        },
    }


def shares(noise: float, polite: bool) -> tuple[float, float]:
    """Return the share of likes under what pleases members, and under what does not."""
    noise = max(LEAST_NOISE, noise)
    return POLITE_LIKES if polite else (1 - noise, noise)


def with_hearts(settings: Settings) -> Settings:
    """Return the settings with one emoji beside thumbs, a ❤️ that is taken for one 👍."""
    return settings.model_copy(update={"votes": settings.votes.model_copy(update={"emoji": {HEART: 1.0}})})


def meaning_of_heart(taste: LearnedTaste) -> dict[str, float]:
    """Return how many 👍 a ❤️ means as far as was learned, and the 95 % interval."""
    found = taste.posterior.emoji
    place = found.names.index(plain(HEART))
    weight, reach = float(found.weight[place]), Z_95 * float(found.spread[place])
    return {"weight": weight, "low": weight - reach, "high": weight + reach}


def _let_vote(session: Session, members: Members, votes: int, settings: Settings) -> dict[str, Any]:
    """Let members of a new server vote, each time on another answer, and return what is learned of a ❤️."""
    personality_id = ensure_personality(session, f"server-{count_rows(session, select(PersonalityRow))}")
    pool = [(answered.message, answer) for answered in read_community_answers() for answer in answered.answers]
    hearts = 0
    for message, answer in members.random.choices(pool, k=votes):
        reply_id = add_reply(session, answer=answer, personality_id=personality_id)
        thumb = Thumb(message_of(reply_id), 1 + members.random.randrange(VOTERS), members.say(message, answer))
        append_events(session, [VoteEvent(reply_id, thumb, added=True)])
        hearts += thumb.emoji == HEART
    return {"hearts": hearts} | meaning_of_heart(learn_taste(session, personality_id, settings))
