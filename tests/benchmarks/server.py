"""A small server over months: members talk, react and choose; rounds run each week; what people prefer is promoted.

Taste, pairs, evidence and releases are the product's own, in a database in memory. The policy is a stand-in, so that a
year takes seconds: answers come from a pool of the bundled model's, and a version prefers some of them by the weights
that a logistic regression learns from the round's pairs, which is what DPO does to a model's log-probabilities.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from bot.demo.community import find_taste, read_community_answers
from storage.conversations.replies import FinishedReply, NewReply, add_message, finish_reply, start_reply
from storage.database.columns import utc_now
from storage.database.database import open_database
from storage.database.enums import GateVerdict, Origin, Outcome, RoundStatus
from storage.members import note_members
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.releases.evidence import find_rival, read_contest
from storage.releases.judging import conclude
from storage.releases.versions import Version, id_of, read_alias, register
from storage.settings.sections import DataSettings, ReleaseSettings, Settings
from storage.taste.learning import GROUPS, LearnedTaste, learn_taste, style_of
from storage.taste.measures import measure_style
from storage.taste.model import Choices, Thumbs, fit, prior
from storage.training.evidence import RatedReply, Texts
from storage.training.rounds import claim_round, finish_round, request_round, set_manifest
from storage.votes.comparisons import Better, compare
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.benchmarks.report import machine, versions
from trainer.data.pairs import Pair
from trainer.data.plan import make_plan
from trainer.data.prepare import GROWN, WAITING
from trainer.data.survey import survey_votes

Floats = NDArray[Any]

CANDIDATES, EXPLORATION, SECOND_ANSWERS = 4, 0.15, 0.1
"""As in the default settings."""
CHOOSING_SHARE = 0.5
"""Of the blind pairs that are shown, those that somebody chooses in."""
SAME_SHARE = 0.8
"""Of the pairs that somebody likes equally well, those of which they say so."""
DRAWN = 8
"""Pool answers of which a policy gives one."""
SHARPNESS = 4.0
"""How much more a version prefers what its round's pairs prefer."""
TASTE_STRENGTH = 3.0
"""What a liked answer adds to the log odds of a 👍."""
BASE = BaseModel("stand-in", Path(), "0" * 16, "Pool")
FIRST_MEMBER = 1 << 40
"""Accounts as old as Discord."""
GUILD = 7
JUDGED = 200
"""Answers by which the true utility of a version is measured."""


@dataclass(frozen=True)
class Profile:
    """Who is on a server, and what they do in a week."""

    members: int
    answers_per_week: int
    vote_share: float
    like_share: float
    """Share of 👍 among votes on the base's answers."""
    regenerate_share: float
    noise: float
    """Share of choices between answers of which only one is liked that go the wrong way."""
    taste: Callable[[str, str], float]


PROFILES: dict[str, dict[str, Any]] = {
    "small": {"members": 10, "answers_per_week": 267, "like_share": 0.85},
    "medium": {"members": 40, "answers_per_week": 1_000, "like_share": 0.85},
    "large": {"members": 200, "answers_per_week": 4_000, "like_share": 0.88},
}


def profile_of(name: str, taste: str) -> Profile:
    shared = {"vote_share": 0.15, "regenerate_share": 0.1, "noise": 0.1, "taste": find_taste(taste)}
    return Profile(**shared | PROFILES[name])


@dataclass(frozen=True)
class Life:
    """What happened on one server."""

    ready_week: int | None
    """The week in which the first version was ready."""
    gains: tuple[float, ...]
    """Utility of what members saw in each week, above the base's mean."""
    promotions: int
    harmful: int
    """Promotions to a version that is truly worse than the one before."""


def run(
    *, profile: str = "small", taste: str = "warm", weeks: int = 8, seeds: int = 12, seed: int = 0
) -> dict[str, Any]:
    """Let several servers live, and return machine, versions, a row per server, and the summary."""
    began = time.monotonic()
    lives = [live(profile_of(profile, taste), weeks, seed + number) for number in range(seeds)]
    rows = [
        {"seed": seed + number, "ready_week": life.ready_week, "promotions": life.promotions, "harmful": life.harmful}
        | {"gains": life.gains}
        for number, life in enumerate(lives)
    ]
    return {
        "machine": machine(),
        "versions": versions("numpy", "sqlalchemy"),
        "server": {"profile": profile, "taste": taste, "weeks": weeks, "seeds": seeds, "policy": "stand-in"},
        "rows": rows,
        "summary": summary_of(lives, weeks) | {"seconds": time.monotonic() - began},
    }


def summary_of(lives: Sequence[Life], weeks: int) -> dict[str, Any]:
    promotions = sum(life.promotions for life in lives)
    looks = [week for week in (1, 4, 8, 26) if week <= weeks]
    return {
        "weeks_to_ready_median": median(life.ready_week or weeks + 1 for life in lives),
        **{f"utility_gain_week_{week}": fmean(life.gains[week - 1] for life in lives) for week in looks},
        "harmful_promotions_share": sum(life.harmful for life in lives) / promotions if promotions else 0.0,
        "promotions": promotions,
        "promoted_share": sum(life.promotions > 0 for life in lives) / len(lives),
    }


def live(profile: Profile, weeks: int, seed: int) -> Life:
    with _database() as session:
        return _Server(session, profile, seed).live(weeks)


@contextmanager
def _database() -> Iterator[Session]:
    """Yield a session of a new database; nothing of it is kept."""
    with tempfile.TemporaryDirectory(prefix="reactune-server-") as folder:
        settings = Settings(data=DataSettings(directory=Path(folder)))
        with closing(open_database(settings)) as database, database.transaction() as session:
            yield session


@cache
def _pool() -> tuple[str, ...]:
    return tuple(answer for answered in read_community_answers() for answer in answered.answers if answer)


@cache
def _styles() -> Floats:
    return style_of(_pool())


class _Server:
    def __init__(self, session: Session, profile: Profile, seed: int) -> None:
        self._session = session
        self._profile = profile
        self._random = random.Random(seed)
        self._settings = Settings(release=ReleaseSettings(auto_promote=True))
        self._personality = ensure_personality(session)
        joined = dict.fromkeys(range(FIRST_MEMBER, FIRST_MEMBER + profile.members), utc_now() - timedelta(days=365))
        note_members(session, GUILD, joined)
        self._liked = [profile.taste("", answer) for answer in _pool()]
        self._base_utility = fmean(self._liked)
        self._leniency = [self._random.gauss(0, 1) for _ in range(profile.members)]
        self._activity = [1 / rank for rank in range(1, profile.members + 1)]
        self._likes = self._intercept()
        self._policies: dict[int | None, Floats] = {None: np.zeros(_styles().shape[1])}
        self._made_in: dict[int, tuple[int, int]] = {}
        """Week and votes when a version was made."""
        self._taste: LearnedTaste | None = None
        self._questions = 0
        self._ready_week: int | None = None
        self._promotions = self._harmful = 0

    def live(self, weeks: int) -> Life:
        gains = []
        for week in range(1, weeks + 1):
            gains.append(self._week(week) - self._base_utility)
            self._train(week)
        return Life(self._ready_week, tuple(gains), self._promotions, self._harmful)

    def _week(self, week: int) -> float:
        """Let members talk for a week, and return the mean utility of what they saw."""
        seen = []
        for number in range(self._profile.answers_per_week):
            if number % 20 == 0:
                self._taste = learn_taste(self._session, self._personality, self._settings)
            seen.append(self._liked[self._talk(week)])
        return fmean(seen)

    def _talk(self, week: int) -> int:
        """Answer a question, and return the place in the pool of the answer that its member saw last."""
        self._questions += 1
        member = self._random.choices(range(self._profile.members), self._activity)[0]
        champion = read_alias(self._session, self._personality).version
        if self._random.random() < SECOND_ANSWERS:
            return self._compare(week, member, champion)
        answer = self._choose(champion)
        if self._random.random() < self._profile.regenerate_share and self._liked[answer] < self._random.random():
            self._store(member, answer, champion)
            answer = self._choose(champion)
            self._vote(self._store(member, answer, champion), member, answer)
        elif self._random.random() < self._profile.vote_share:
            self._vote(self._store(member, answer, champion), member, answer)
        return answer

    def _draw(self, version: Version | None) -> int:
        """Return the place in the pool of an answer of the version."""
        places = self._random.sample(range(len(_pool())), DRAWN)
        utility = SHARPNESS * _styles()[places] @ self._policies[id_of(version)]
        return self._random.choices(places, np.exp(utility - utility.max()))[0]

    def _choose(self, version: Version | None) -> int:
        """Return the one of several candidates that the taste, or chance, chooses."""
        if self._taste is None or not self._taste.may_act:
            return self._draw(version)
        places = [self._draw(version) for _ in range(CANDIDATES)]
        if self._random.random() < EXPLORATION:
            return places[0]
        utility = self._taste.posterior.score(_styles()[places])
        return places[int(utility.argmax())]

    def _compare(self, week: int, member: int, champion: Version | None) -> int:
        """Show two blind answers, the champion's and the newest waiting version's if there is one."""
        rival = find_rival(self._session, self._personality)
        others = [champion, rival.version if rival else champion]
        self._random.shuffle(others)
        places = [self._draw(version) for version in others]
        if self._random.random() < CHOOSING_SHARE and places[0] != places[1]:
            first, second = (
                self._store(member, place, version, origin)
                for place, version, origin in zip(places, others, (Origin.CHAT, Origin.ALTERNATIVE), strict=True)
            )
            compare(self._session, first, second, FIRST_MEMBER + member, self._prefer(*places))
            self._judge(week)
        return places[1]

    def _prefer(self, first: int, second: int) -> Better:
        better = self._liked[first] - self._liked[second]
        if abs(better) < 0.5:
            return Better.SAME if self._random.random() < SAME_SHARE else self._random.choice(list(Better)[:2])
        is_first = (better > 0) != (self._random.random() < self._profile.noise)
        return Better.FIRST if is_first else Better.SECOND

    def _judge(self, week: int) -> None:
        """Do what people's choices decide, as the bot does after each."""
        contest = read_contest(self._session, self._personality, self._settings.votes)
        if contest is None or contest.decision is None:
            return
        conclude(self._session, contest, contest.decision, self._settings.release)
        if contest.decision.verdict is GateVerdict.PASS:
            self._ready_week = self._ready_week or week
            self._promotions += 1
            self._harmful += self._utility(contest.rival.version) < self._utility(contest.champion) - 0.01

    def _utility(self, version: Version | None) -> float:
        state = self._random.getstate()
        utility = fmean(self._liked[self._draw(version)] for _ in range(JUDGED))
        self._random.setstate(state)
        return utility

    def _intercept(self) -> float:
        """Return the server's log odds of a 👍 under what it does not like, so that `like_share` of all are 👍."""
        low, high = -10.0, 10.0
        while high - low > 1e-3:
            middle = (low + high) / 2
            share = fmean(_logistic(middle + TASTE_STRENGTH * liked) for liked in self._liked)
            low, high = (middle, high) if share < self._profile.like_share else (low, middle)
        return low

    def _vote(self, reply_id: int, member: int, answer: int) -> None:
        odds = self._likes + self._leniency[member] + TASTE_STRENGTH * self._liked[answer]
        emoji = "👍" if self._random.random() < _logistic(odds) else "👎"
        append_events(self._session, [VoteEvent(reply_id, Thumb(10**9 + reply_id, FIRST_MEMBER + member, emoji), True)])

    def _store(self, member: int, answer: int, version: Version | None, origin: Origin = Origin.CHAT) -> int:
        question = f"question {self._questions}"
        new = NewReply(
            personality_id=self._personality,
            version_id=id_of(version),
            base_revision=BASE.revision,
            prompt=question,
            messages=[{"role": "user", "content": question}],
            sampling={},
            seed=0,
            prompt_tokens=1,
            dropped_turns=0,
            guild_id=GUILD,
            channel_id=1,
            author_id=FIRST_MEMBER + member,
            source_message_id=self._questions,
            basis=None,
            speakers=[FIRST_MEMBER + member],
            origin=origin,
        )
        reply_id = start_reply(self._session, new)
        finish_reply(self._session, reply_id, FinishedReply(answer=_pool()[answer], outcome=Outcome.COMPLETE))
        add_message(self._session, reply_id, 10**9 + reply_id, 1, 0)
        return reply_id

    def _train(self, week: int) -> None:
        """Run the round of the week, unless people compare a version that is young and learned from enough."""
        rival = find_rival(self._session, self._personality)
        survey = survey_votes(self._session, self._settings, BASE, self._personality)
        if rival is not None:
            made_in, votes = self._made_in[rival.version.id]
            if (week - made_in) * 7 < WAITING.days and survey.votes.total < GROWN * votes:
                return
        champion = read_alias(self._session, self._personality).version
        fresh = tuple(self._fresh(champion))
        texts = Texts({one.prompt: one.prompt for one in fresh}, {one.id: one.answer or "" for one in fresh})
        measures = {id_: np.array(measure_style(answer)) for id_, answer in texts.answers.items()}
        survey = replace(survey, ranked=fresh, measures=measures, read=lambda **_: texts)
        plan = make_plan(survey, self._settings, lambda _pair: True)
        if plan.pairs < self._settings.training.min_pairs:
            return
        request_round(self._session, self._personality, "the simulation")
        round_ = claim_round(self._session, "here")
        assert round_ is not None, "the round was just asked for"
        set_manifest(self._session, round_.id, [], parent_version_id=None, settings={}, evidence=plan.evidence)
        finish_round(self._session, round_.id, RoundStatus.PUBLISHED, "done")
        version = register(
            self._session,
            self._personality,
            digest=f"{round_.id:064x}",
            base_name=BASE.name,
            base_revision=BASE.revision,
            parent_id=None,
            round_id=round_.id,
            metrics={},
            verdict=GateVerdict.NOT_ENOUGH_EVIDENCE,
        )
        self._policies[version.id] = _learn(plan.train)
        self._made_in[version.id] = week, survey.votes.total

    def _fresh(self, version: Version | None) -> Iterator[RatedReply]:
        """Yield the version's answers to the prompts of the bank."""
        pairs = self._settings.pairs
        for prompt in range(pairs.ranked_prompts):
            for number in range(pairs.ranked_answers):
                id_ = 10**6 + prompt * pairs.ranked_answers + number
                yield RatedReply(id_, f"bank {prompt}", _pool()[self._draw(version)], is_sample=True)


def _learn(pairs: Sequence[Pair]) -> Floats:
    """Return the weights by which a version that was trained on these pairs prefers answers."""
    sides = style_of([text or "" for pair in pairs for text in (pair.chosen.text, pair.rejected.text)])
    weights = np.array([pair.weight for pair in pairs])
    choices = Choices(
        sides,
        np.arange(0, len(sides), 2),
        np.tile([1.0, 0.0], len(pairs)),
        weights / weights.mean(),  # AdamW's steps do not depend on the scale of the loss
    )
    nothing = Thumbs(sides[:0], np.zeros(0), np.zeros(0, dtype=np.intp), np.zeros(0))
    return fit(nothing, choices, GROUPS, prior(GROUPS)).mean


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
