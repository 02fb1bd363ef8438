"""`reactune bench few --weak`: whether it is found out what a weak vote means, and whether it helps.

Members of simulated servers vote on the demo's answers, and for each vote they go on twice with the conversation after
other answers. In some servers that means nothing, in some it means a part of a 👍, and in some three of ten members go
on after what the others dislike, and ten times as often. What is learned of it is judged on answers that nobody voted
on. No model answers and no round runs, so it takes a minute.
"""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.demo.community import Taste, find_taste, read_community_answers
from storage.database.database import open_database
from storage.database.enums import WeakVote
from storage.database.rows import count_rows
from storage.database.tables import FollowUpRow, PersonalityRow
from storage.emoji import DISLIKE, LIKE
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import DatabaseSettings, Settings, VoteSettings
from storage.statistics import Z_95
from storage.taste.learning import LearnedTaste, learn_taste, style_of
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.benchmarks.report import machine, versions
from tests.seeding import add_reply, message_of

Answered = tuple[str, str]
"""A message and an answer to it."""

SERVERS, VOTERS = 8, 10
PER_VOTE = 2
"""How often members go on, for each vote."""
GOING_ON = 0.4
"""Share of answers after which they go on, where the answer is like most."""
HELD_OUT = 0.4
"""Share of the answers that nobody votes on."""
BUYERS, TIMES = 3, 10
"""Members who go on after what others dislike, and how many times as often as others they are answered."""


@dataclass(frozen=True)
class Members:
    """Those of one server."""

    taste: Taste
    likes: tuple[float, float]
    """Share of likes, under what pleases them and under what does not."""
    worth: float
    """How much of a 👍 it means that they go on."""
    is_bought: bool
    random: random.Random

    def p_like(self, answered: Answered) -> float:
        pleased, elsewhere = self.likes
        return pleased if self.taste(*answered) > 0.5 else elsewhere

    def vote(self, answered: Answered) -> str:
        return LIKE if self.random.random() < self.p_like(answered) else DISLIKE

    def pick(self) -> int:
        """Return who is answered next, by their ID."""
        weights = [TIMES if self.is_bought and member < BUYERS else 1 for member in range(VOTERS)]
        return 1 + self.random.choices(range(VOTERS), weights)[0]

    def goes_on(self, member: int, answered: Answered) -> bool:
        if self.is_bought and member <= BUYERS:
            return self.taste(*answered) <= 0.5
        usual = fmean(log(share / (1 - share)) for share in self.likes)
        share = self.p_like(answered)
        odds = log(GOING_ON / (1 - GOING_ON)) + self.worth * (log(share / (1 - share)) - usual)
        return self.random.random() < 1 / (1 + exp(-odds))


def run(
    *, taste: str = "warm", votes: int = 40, noise: float = 0.1, polite: bool = False, weak: float = 0.3, seed: int = 0
) -> dict[str, Any]:
    """Return what is learned where going on means nothing, where it means `weak` of a 👍, and where it is abused."""
    began = time.monotonic()
    kinds = (("nothing", 0.0, False), ("worth", weak, False), ("bought", weak, True))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        stored = DatabaseSettings(url=f"sqlite:///{Path(folder) / 'weak.db'}")
        settings = Settings(database=stored, votes=VoteSettings(weak=("went on",)))
        with closing(open_database(settings)) as database:
            for kind, worth, is_bought in kinds:
                for number in range(SERVERS):
                    chance = random.Random(seed + number)
                    members = Members(find_taste(taste), (1 - noise, noise), worth, is_bought, chance)
                    rows.append({"server": kind} | database.call(_live, members, votes, settings))
    summary = {f"{key}_{kind}": number for kind, *_ in kinds for key, number in _summary(rows, kind).items()}
    inside = fmean(row["low"] <= weak <= row["high"] for row in rows if row["server"] == "worth")
    return {
        "machine": machine(),
        "versions": versions("numpy"),
        "servers": {"taste": taste, "votes": votes, "noise": noise, "polite": polite, "weak": weak, "seed": seed},
        "rows": rows,
        "summary": summary | {"within_interval_share": inside, "seconds": time.monotonic() - began},
    }


def _summary(rows: list[dict[str, Any]], kind: str) -> dict[str, float]:
    of_kind = [row for row in rows if row["server"] == kind]
    told = ("weight", "log_loss_votes", "log_loss_both", "pairs_right_votes", "pairs_right_both")
    return {key: fmean(row[key] for row in of_kind) for key in told}


def _live(session: Session, members: Members, votes: int, settings: Settings) -> dict[str, Any]:
    """Let members of a new server vote and go on, and return what their votes teach, alone and with the rest."""
    personality_id = ensure_personality(session, f"server-{count_rows(session, select(PersonalityRow))}")
    pool = [(answered.message, answer) for answered in read_community_answers() for answer in answered.answers]
    members.random.shuffle(pool)
    unseen, seen = pool[: int(HELD_OUT * len(pool))], pool[int(HELD_OUT * len(pool)) :]
    for answered in members.random.choices(seen, k=votes):
        reply_id = add_reply(session, answer=answered[1], personality_id=personality_id, author_id=members.pick())
        thumb = Thumb(message_of(reply_id), 1 + members.random.randrange(VOTERS), members.vote(answered))
        append_events(session, [VoteEvent(reply_id, thumb, added=True)])
    went_on = watched = 0
    while went_on < PER_VOTE * votes:
        answered, member = members.random.choice(seen), members.pick()
        goes_on = members.goes_on(member, answered)
        reply_id = add_reply(session, answer=answered[1], personality_id=personality_id, author_id=member)
        session.add(FollowUpRow(reply_id=reply_id, said=WeakVote.WENT_ON if goes_on else None))
        went_on, watched = went_on + goes_on, watched + 1
    both = learn_taste(session, personality_id, settings)
    alone = learn_taste(session, personality_id, settings.model_copy(update={"votes": VoteSettings()}))
    meaning = both.weak.meanings[0] if both.weak else None
    weight, reach = (meaning.weight, Z_95 * meaning.spread) if meaning else (0.0, 0.0)
    return (
        {"watched": watched, "went_on": went_on, "weight": weight, "low": weight - reach, "high": weight + reach}
        | {f"{key}_votes": number for key, number in _judge(alone, members, unseen).items()}
        | {f"{key}_both": number for key, number in _judge(both, members, unseen).items()}
    )


def _judge(taste: LearnedTaste, members: Members, unseen: list[Answered]) -> dict[str, float]:
    """Return the loss in nats of a 👍 or 👎 on unseen answers, and the share of pairs of them in the right order."""
    x = style_of([answer for _, answer in unseen])
    truth, expected = np.array([members.p_like(one) for one in unseen]), taste.posterior.p_liked(x)
    loss = -(truth * np.log(expected) + (1 - truth) * np.log(1 - expected)).mean()
    score, is_liked = taste.score([answer for _, answer in unseen]), truth == max(members.likes)
    return {"log_loss": float(loss), "pairs_right": float((score[is_liked][:, None] > score[~is_liked]).mean())}
