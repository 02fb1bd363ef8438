"""A small server over months: members talk, react and choose; rounds run each week; what people prefer is promoted.

Taste, pairs, evidence, releases and retention are the product's own, in a temporary database whose rows grow a week
older each week. The model is real, which takes hours, or a stand-in, which takes seconds.
"""

from __future__ import annotations

import importlib
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from bot.demo.community import find_taste
from bot.errors import BotError
from storage.conversations.replies import FinishedReply, NewReply, add_message, finish_reply, start_reply
from storage.database.columns import UtcDateTime, utc_now
from storage.database.database import Database, open_database
from storage.database.enums import Basis, GateVerdict, Origin, Outcome
from storage.database.migrate import PSEUDONYM_KEY_BYTES
from storage.database.tables import Base, PseudonymKeyRow
from storage.members import note_members
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import give_consent
from storage.privacy.retention import past_replies, prune_replies, read_expiry
from storage.releases.evidence import find_rival, read_contest
from storage.releases.judging import conclude
from storage.releases.versions import Version, id_of, read_alias
from storage.settings.sections import DataSettings, PrivacySettings, ReleaseSettings, Settings
from storage.taste.learning import LearnedTaste, learn_taste, style_of
from storage.votes.arenas import PickGesture, close_arena, open_arena, pick, place_arena, prepare_arena
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import suggest
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.benchmarks.community import settings_of_bench, workshop
from tests.benchmarks.report import machine, versions
from tests.benchmarks.server_policies import Floats, Policy, RealModel, StandIn, pool

CANDIDATES, EXPLORATION, SECOND_ANSWERS = 4, 0.15, 0.1
"""As in the default settings."""
CHOOSING_SHARE = 0.5
"""Of the blind pairs that are shown, those that somebody chooses in."""
SAME_SHARE = 0.8
"""Of the pairs that somebody likes equally well, those of which they say so."""
TASTE_STRENGTH = 3.0
"""What a liked answer adds to the log odds of a 👍."""
LEARNS_AFTER = 40
"""Answers after which the taste is learned again."""
PICKERS = 4
"""Members who pick in an arena."""
FIRST_MEMBER = 1 << 40
"""Accounts as old as Discord."""
GUILD, CHANNEL = 7, 1
JUDGED = 200
"""Answers by which the true utility of a version is measured."""
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Profile:
    """Who is on a server, and what they do."""

    members: int
    answers_per_week: int
    vote_share: float
    like_share: float
    """Share of 👍 among votes on the base's answers."""
    regenerate_share: float
    suggest_share: float
    """Share of the answers that are not liked for which their member writes a better one."""
    opt_in_share: float
    """Share of the members whose messages may be trained on."""
    arena_per_week: float
    noise: float
    """Share of choices between answers of which only one is liked that go the wrong way."""
    taste: Callable[[str, str], float]


SHARED = {"vote_share": 0.15, "regenerate_share": 0.1, "suggest_share": 0.01, "noise": 0.1}
SECONDS_END = 1 + len("2026-01-01 00:00:00")
"""Where the microseconds of a moment begin in SQLite's text of it."""
PROFILES: dict[str, dict[str, Any]] = {
    "small": {"members": 10, "answers_per_week": 267, "like_share": 0.85, "opt_in_share": 0.0, "arena_per_week": 0.0},
    "medium": {"members": 40, "answers_per_week": 1_000, "like_share": 0.85, "opt_in_share": 0.2, "arena_per_week": 1},
    "large": {"members": 200, "answers_per_week": 4_000, "like_share": 0.88, "opt_in_share": 0.2, "arena_per_week": 2},
}


class UnknownProfile(BotError):
    exit_code = 2

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no profile {name!r}: choose {', '.join(PROFILES)}, or write module:object")


def profile_of(name: str, taste: str) -> Profile:
    """Return a built-in profile with this taste, or the object that "module:object" names, with its own."""
    if name in PROFILES:
        return Profile(**SHARED | PROFILES[name], taste=find_taste(taste))
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        return Profile(**{field.name: getattr(found, field.name) for field in fields(Profile)})
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownProfile(name) from error


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
    asked: int = 0
    """Blind pairs that were shown."""
    unanswered: int = 0
    """Blind pairs that nobody chose in."""
    votes: int = 0
    """Votes and choices that the taste knew at the end."""


def run(
    *,
    profile: str = "small",
    taste: str = "warm",
    weeks: int = 8,
    seeds: int = 12,
    seed: int = 0,
    real: bool = False,
) -> dict[str, Any]:
    """Let several servers live, and return machine, versions, a row per server, and the summary."""
    began = time.monotonic()
    lives = [live(profile_of(profile, taste), weeks, seed + number, real=real) for number in range(seeds)]
    rows = [
        {"seed": seed + number, "ready_week": life.ready_week, "promotions": life.promotions, "harmful": life.harmful}
        | {"gains": life.gains, "votes": life.votes}
        for number, life in enumerate(lives)
    ]
    policy = "real model" if real else "stand-in"
    return {
        "machine": machine(),
        "versions": versions("numpy", "sqlalchemy", *(["torch", "transformers", "trl", "peft"] if real else [])),
        "server": {"profile": profile, "taste": taste, "weeks": weeks, "seeds": seeds, "policy": policy},
        "rows": rows,
        "summary": summary_of(lives, weeks) | {"seconds": time.monotonic() - began},
    }


def summary_of(lives: Sequence[Life], weeks: int) -> dict[str, Any]:
    promotions, asked = sum(life.promotions for life in lives), sum(life.asked for life in lives)
    looks = [week for week in (1, 4, 8, 26) if week <= weeks]
    return {
        "weeks_to_ready_median": median(life.ready_week or weeks + 1 for life in lives),
        **{f"utility_gain_week_{week}": fmean(life.gains[week - 1] for life in lives) for week in looks},
        "harmful_promotions_share": sum(life.harmful for life in lives) / promotions if promotions else 0.0,
        "promotions": promotions,
        "promoted_share": sum(life.promotions > 0 for life in lives) / len(lives),
        "questions_left_unanswered": sum(life.unanswered for life in lives) / asked if asked else 0.0,
    }


def live(profile: Profile, weeks: int, seed: int, *, real: bool = False) -> Life:
    with _settings(seed, real=real) as settings, closing(open_database(settings)) as database:
        with database.transaction() as session:
            personality_id = ensure_personality(session)
        policy = RealModel(settings) if real else StandIn(database, settings, personality_id)
        return _Server(database, settings, personality_id, policy, profile, seed).live(weeks)


@contextmanager
def _settings(seed: int, *, real: bool) -> Iterator[Settings]:
    """Yield settings with a temporary data folder; promotions need no admin."""
    own: dict[str, Any] = {
        "release": ReleaseSettings(auto_promote=True),
        "privacy": PrivacySettings(discord_training_permission=True),  # members still have to opt in
    }
    if real:
        with workshop() as folder:
            yield settings_of_bench(folder, seed).model_copy(update=own)
    else:
        with tempfile.TemporaryDirectory(prefix="reactune-server-") as name:
            yield Settings(data=DataSettings(directory=Path(name)), **own)


@cache
def _style(answer: str) -> Floats:
    return style_of([answer])[0]


class _Server:
    _session: Session
    """Of the week that is being lived."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        personality_id: int,
        policy: Policy,
        profile: Profile,
        seed: int,
    ) -> None:
        self._database = database
        self._settings = settings
        self._personality = personality_id
        self._policy = policy
        self._profile = profile
        self._random = random.Random(seed)
        self._likes = cache(lambda answer: profile.taste("", answer))
        self._leniency = [self._random.gauss(0, 1) for _ in range(profile.members)]
        self._activity = [1 / rank for rank in range(1, profile.members + 1)]
        self._intercept = self._find_intercept()
        self._good = [answer for answer in pool() if self._likes(answer) >= 0.5]
        self._opted_in = set(range(round(profile.members * profile.opt_in_share)))
        self._taste: LearnedTaste | None = None
        self._questions = 0
        self._ready_week: int | None = None
        self._promotions = self._harmful = self._asked = self._unanswered = 0

    def live(self, weeks: int) -> Life:
        self._settle()
        base, gains = self._utility(None), []
        for week in range(1, weeks + 1):
            with self._database.transaction() as self._session:
                gains.append(self._week(week) - base)
            self._policy.train()
            with self._database.transaction() as session:
                _grow_older(session)
        votes = len(self._taste.data) if self._taste else 0
        counts = self._promotions, self._harmful, self._asked, self._unanswered, votes
        return Life(self._ready_week, tuple(gains), *counts)

    def _settle(self) -> None:
        joined = utc_now() - timedelta(days=365)
        with self._database.transaction() as session:
            session.get_one(PseudonymKeyRow, 1).key = self._random.randbytes(PSEUDONYM_KEY_BYTES)
            everybody = range(FIRST_MEMBER, FIRST_MEMBER + self._profile.members)
            note_members(session, GUILD, dict.fromkeys(everybody, joined))
            for member in self._opted_in:
                give_consent(session, FIRST_MEMBER + member)

    def _week(self, week: int) -> float:
        """Let members talk for a week, and return the mean utility of what they saw."""
        for _ in range(self._often(self._profile.arena_per_week)):
            self._hold_arena(week)
        seen = []
        for number in range(self._profile.answers_per_week):
            if number % LEARNS_AFTER == 0:
                self._taste = learn_taste(self._session, self._personality, self._settings)
            seen.append(self._likes(self._talk(week)))
        self._forget()
        return fmean(seen)

    def _forget(self) -> None:
        expiry = read_expiry(self._settings.privacy)
        while expiry and (due := past_replies(self._session, expiry)):
            prune_replies(self._session, expiry, due)

    def _often(self, mean: float) -> int:
        """Return a whole number that is `mean` on average."""
        return math.floor(mean) + (self._random.random() < mean % 1)

    def _talk(self, week: int) -> str:
        """Answer a question, and return the answer that its member saw last."""
        member = self._someone()
        champion = read_alias(self._session, self._personality).version
        if self._random.random() < SECOND_ANSWERS:
            return self._ask_twice(week, member, champion)
        answer = self._choose(champion)
        is_liked = self._likes(answer) > self._random.random()
        if not is_liked and self._random.random() < self._profile.regenerate_share:
            question = self._store(member, answer, champion).question
            answer = self._choose(champion)
            self._vote(member, answer, self._store(member, answer, champion, question=question))
        elif not is_liked and self._random.random() < self._profile.suggest_share and self._good:
            self._suggest(member, self._store(member, answer, champion))
        elif self._random.random() < self._profile.vote_share:
            self._vote(member, answer, self._store(member, answer, champion))
        return answer

    def _someone(self) -> int:
        return self._random.choices(range(self._profile.members), self._activity)[0]

    def _choose(self, version: Version | None) -> str:
        """Return the one of several candidates that the taste, or chance, chooses."""
        if self._taste is None or not self._taste.may_choose:
            return self._draw(version)
        candidates = [self._draw(version) for _ in range(CANDIDATES)]
        if self._random.random() < EXPLORATION:
            return candidates[0]
        utility = self._taste.posterior.score(np.array([_style(answer) for answer in candidates]))
        return candidates[int(utility.argmax())]

    def _draw(self, version: Version | None) -> str:
        return self._policy.draw(version, self._random)

    def _ask_twice(self, week: int, member: int, champion: Version | None) -> str:
        """Show two blind answers, the champion's and the newest waiting version's if there is one."""
        rival = find_rival(self._session, self._personality)
        both = [champion, rival or champion]
        self._random.shuffle(both)
        answers = [self._draw(version) for version in both]
        self._asked += 1
        if self._random.random() >= CHOOSING_SHARE or answers[0] == answers[1]:
            self._unanswered += 1
            return answers[1]
        first = self._store(member, answers[0], both[0])
        second = self._store(member, answers[1], both[1], question=first.question, origin=Origin.ALTERNATIVE)
        compare(self._session, first.id, second.id, FIRST_MEMBER + member, self._prefer(*answers))
        self._judge(week)
        return answers[1]

    def _prefer(self, first: str, second: str) -> Better:
        better = self._likes(first) - self._likes(second)
        if abs(better) < 0.5:
            return Better.SAME if self._random.random() < SAME_SHARE else self._random.choice(list(Better)[:2])
        is_first = (better > 0) != (self._random.random() < self._profile.noise)
        return Better.FIRST if is_first else Better.SECOND

    def _hold_arena(self, week: int) -> None:
        """Let some members pick the best of four answers: half of them are the rival's, if there is one."""
        champion = read_alias(self._session, self._personality).version
        rival = find_rival(self._session, self._personality)
        both = [champion, champion, *([rival] * 2 if rival else [champion] * 2)]
        self._random.shuffle(both)
        answers = [self._draw(version) for version in both]
        soon = utc_now() + timedelta(hours=1)
        where = {"personality_id": self._personality, "guild_id": GUILD, "channel_id": CHANNEL, "closes_at": soon}
        self._questions += 1
        arena = prepare_arena(self._session, prompt=f"arena {self._questions}", started_by="the simulation", **where)
        place_arena(self._session, arena.id, 10**12 + arena.id)
        rows = [
            (self._reply(0, arena.prompt, version, Origin.ARENA, Basis.PROMPT_BANK), _finished(answer))
            for version, answer in zip(both, answers, strict=True)
        ]
        open_arena(self._session, arena.id, rows, soon)
        for member in sorted({self._someone() for _ in range(PICKERS)}):
            best = max(range(len(answers)), key=lambda place: (self._likes(answers[place]), self._random.random()))
            place = self._random.randrange(len(answers)) if self._random.random() < self._profile.noise else best
            pick(self._session, arena.id, FIRST_MEMBER + member, place + 1, PickGesture.PRESSED)
        close_arena(self._session, arena.id)
        self._judge(week)

    def _judge(self, week: int) -> None:
        """Do what people's choices decide, as the bot does after each."""
        contest = read_contest(self._session, self._personality, self._settings.votes)
        if contest is None or contest.decision is None:
            return
        conclude(self._session, contest, contest.decision, self._settings.release)
        if contest.decision.verdict is GateVerdict.PASS:
            self._ready_week = self._ready_week or week
            self._promotions += 1
            self._harmful += self._utility(contest.rival) < self._utility(contest.champion) - 0.01

    def _utility(self, version: Version | None) -> float:
        chance = random.Random(0)
        return fmean(self._likes(self._policy.draw(version, chance)) for _ in range(JUDGED))

    def _find_intercept(self) -> float:
        """Return the server's log odds of a 👍 under what it does not like, so that `like_share` of all are 👍."""
        low, high = -10.0, 10.0
        liked = [self._likes(answer) for answer in pool()]
        while high - low > 1e-3:
            middle = (low + high) / 2
            share = fmean(_logistic(middle + TASTE_STRENGTH * one) for one in liked)
            low, high = (middle, high) if share < self._profile.like_share else (low, middle)
        return low

    def _vote(self, member: int, answer: str, stored: _Stored) -> None:
        odds = self._intercept + self._leniency[member] + TASTE_STRENGTH * self._likes(answer)
        emoji = "👍" if self._random.random() < _logistic(odds) else "👎"
        thumb = Thumb(10**9 + stored.id, FIRST_MEMBER + member, emoji)
        append_events(self._session, [VoteEvent(stored.id, thumb, True)])

    def _suggest(self, member: int, stored: _Stored) -> None:
        text = self._random.choice(self._good)
        suggest(self._session, stored.id, FIRST_MEMBER + member, text, self._basis_of(member))

    def _basis_of(self, member: int) -> Basis | None:
        return Basis.LIVE_CHAT if member in self._opted_in else None

    def _store(
        self,
        member: int,
        answer: str,
        version: Version | None,
        *,
        question: str = "",
        origin: Origin = Origin.CHAT,
    ) -> _Stored:
        """Store an answer to this question, or to a new one."""
        if not question:
            self._questions += 1
            question = f"question {self._questions}"
        reply_id = start_reply(self._session, self._reply(member, question, version, origin, self._basis_of(member)))
        finish_reply(self._session, reply_id, _finished(answer))
        add_message(self._session, reply_id, 10**9 + reply_id, CHANNEL, 0)
        return _Stored(reply_id, question)

    def _reply(
        self, member: int, question: str, version: Version | None, origin: Origin, basis: Basis | None
    ) -> NewReply:
        return NewReply(
            personality_id=self._personality,
            version_id=id_of(version),
            base_revision=self._policy.base.revision,
            prompt=question,
            messages=[{"role": "user", "content": question}],
            sampling={},
            seed=0,
            prompt_tokens=1,
            dropped_turns=0,
            guild_id=GUILD,
            channel_id=CHANNEL,
            author_id=FIRST_MEMBER + member,
            source_message_id=self._questions,
            basis=basis,
            speakers=[FIRST_MEMBER + member],
            origin=origin,
        )


@dataclass(frozen=True)
class _Stored:
    """A stored answer."""

    id: int
    question: str


def _finished(answer: str) -> FinishedReply:
    return FinishedReply(answer=answer, outcome=Outcome.COMPLETE)


def _grow_older(session: Session) -> None:
    """Make every row a week older, to the microsecond: what happened first stays first."""
    for table in Base.metadata.sorted_tables:
        moments = [column for column in table.columns if isinstance(column.type, UtcDateTime)]
        if moments:
            earlier = f"-{WEEK.days} days"
            older = {
                moment: func.strftime("%Y-%m-%d %H:%M:%S", moment, earlier).concat(func.substr(moment, SECONDS_END))
                for moment in moments
            }
            session.execute(update(table).values(older))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
