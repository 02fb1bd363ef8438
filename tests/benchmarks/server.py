"""A small server over months: members talk, react and choose; each night a round is due; what they prefer is promoted.

Taste, candidates, pairs, evidence, releases and retention are the product's own, in a temporary database whose rows
grow a day older each night. The model is real, which takes hours, or a stand-in, which takes seconds.
"""

from __future__ import annotations

import importlib
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from bot.chat.candidates import beginning_of, choose_beside, choose_liked
from bot.demo.community import find_taste
from bot.errors import BotError
from storage.conversations.degenerate import is_degenerate
from storage.conversations.replies import FinishedReply, NewReply, add_message, finish_reply, start_reply
from storage.database.columns import UtcDateTime, utc_now
from storage.database.database import Database, open_database
from storage.database.enums import NOBODY, OPERATOR, Basis, GateVerdict, Origin, Outcome, PairChoice
from storage.database.migrate import PSEUDONYM_KEY_BYTES
from storage.database.tables import Base, PseudonymKeyRow
from storage.members import note_members
from storage.personalities.personalities import ensure_personality, read_personality
from storage.privacy.consent import give_consent
from storage.privacy.retention import past_replies, prune_replies, read_expiry
from storage.releases.contests import Standing, find_rival, read_contest
from storage.releases.pair_share import read_pair_share
from storage.releases.promotion import conclude
from storage.releases.versions import Version, id_of, list_versions, read_alias
from storage.settings.sections import DataSettings, PrivacySettings, ReleaseSettings, Settings
from storage.sittings.sittings import (
    Answer,
    Sitting,
    add_pair,
    begin_sitting,
    choose_two,
    end_sitting,
    label_pair,
    next_pair,
)
from storage.taste.learning import LearnedTaste
from storage.taste.updating import learn_all
from storage.training.rounds import require_round
from storage.votes.arenas import PickGesture, close_arena, open_arena, pick, place_arena, prepare_arena
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import suggest
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.benchmarks.community import settings_of_bench, workshop
from tests.benchmarks.night import HOME
from tests.benchmarks.people import likes, say
from tests.benchmarks.report import report
from tests.benchmarks.served import Served, served_bot
from tests.benchmarks.server_policies import SERVED_ANSWERS, Policy, RealModel, StandIn, stored_answers

CHOOSING_SHARE = 0.5
"""Of the blind pairs that are shown, those that somebody chooses in."""
SAME_SHARE = 0.8
"""Of the pairs that somebody likes equally well, those of which they say so."""
TASTE_STRENGTH = 3.0
"""What a liked answer adds to the log odds of a 👍."""
LEARNS_AFTER = 40
"""Answers after which the taste is learned again."""
PICKERS = 4
FIRST_MEMBER = 1 << 40
"""Accounts as old as Discord."""
GUILD, CHANNEL = 7, 1
SITTING, SITTING_JUDGED = 40, 30
"""Pairs that an admin labels on day one, and blind pairs with each version that waits, unless fewer decide."""
JUDGED = 400
"""Answers by which the true utility of a version is measured."""
DAYS = 7
READY_SOON = 4
"""Weeks."""


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
    "village": {"members": 4, "answers_per_week": 33, "like_share": 0.85, "opt_in_share": 0.0, "arena_per_week": 0.0},
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
class Tally:
    """How people chose between a version and what was served."""

    won: int = 0
    tied: int = 0
    lost: int = 0
    e_value: float = 1.0

    @classmethod
    def of(cls, standing: Standing) -> Tally:
        return cls(standing.wins, standing.ties, standing.losses, standing.better)


@dataclass
class Candidacy:
    """A version, and how people took it."""

    version: str
    day: int
    """On which it was made."""
    votes: int
    """Behind its round."""
    pairs: int
    strength: float
    utility: float
    """Mean of its answers, each a single one, by the true taste."""
    utility_before: float
    """The same of what was served when it was made."""
    fit_share: float | None
    """Share of its answers whose own message is the likeliest of six; None of a stand-in."""
    fit_share_before: float | None
    shown: int = 0
    """Blind pairs with it in chat."""
    members: Tally = Tally()
    admin: Tally = Tally()
    decided_by: str | None = None
    ended: str = "waits"


@dataclass
class Life:
    """What happened on one server."""

    ready_week: int | None = None
    """The week in which the first version was ready."""
    gains: Sequence[float] = ()
    """Utility of what members saw in each week, above what the base said at first."""
    promotions: int = 0
    harmful: int = 0
    """Promotions to a version that is truly worse than what was served before."""
    asked: int = 0
    """Blind pairs that were shown."""
    unanswered: int = 0
    """Blind pairs that nobody chose in."""
    votes: int = 0
    """Votes and choices that the taste knew at the end."""
    versions: Sequence[Candidacy] = ()


def run(
    *,
    profile: str = "small",
    taste: str = "warm",
    weeks: int = 8,
    seeds: int = 12,
    seed: int = 0,
    real: bool = False,
    sitting: bool = False,
    judge: str = "",
) -> dict[str, Any]:
    """Let several servers live, and return machine, versions, a row per version and per server, and the summary.

    With `sitting`, an admin labels pairs on day one, and judges each version that waits.
    """
    began = time.monotonic()
    community = profile_of(profile, taste)
    numbers = range(seed, seed + seeds)
    lives = {number: live(community, weeks, number, real=real, sitting=sitting, judge=judge) for number in numbers}
    servers = [
        {"seed": number, "ready_week": life.ready_week, "promotions": life.promotions, "harmful": life.harmful}
        | {"gains": life.gains, "votes": life.votes}
        for number, life in lives.items()
    ]
    made = [{"seed": number} | _row(one) for number, life in lives.items() for one in life.versions]
    asked = {"profile": profile, "taste": taste, "weeks": weeks, "seeds": seeds, "sitting": sitting}
    asked["policy"] = "real model" if real else "stand-in"
    summary = summary_of(list(lives.values()), weeks) | {"seconds": time.monotonic() - began}
    packages = "numpy", "sqlalchemy", *(("torch", "transformers", "trl", "peft") if real else ())
    return report(made + servers, summary, *packages, server=asked)


def _row(made: Candidacy) -> dict[str, Any]:
    """Return a version's row, with a column for each number."""
    row = asdict(made)
    tallies = {f"{who}_{what}": number for who in ("members", "admin") for what, number in row.pop(who).items()}
    return row | tallies


def summary_of(lives: Sequence[Life], weeks: int) -> dict[str, Any]:
    promotions, asked = sum(life.promotions for life in lives), sum(life.asked for life in lives)
    looks = [week for week in (1, 4, 8, 26) if week <= weeks]
    return {
        "weeks_to_ready_median": median(life.ready_week or weeks + 1 for life in lives),
        "ready_within_4_weeks_share": fmean((life.ready_week or READY_SOON + 1) <= READY_SOON for life in lives),
        **{f"utility_gain_week_{week}": fmean(life.gains[week - 1] for life in lives) for week in looks},
        "harmful_promotions_share": sum(life.harmful for life in lives) / promotions if promotions else 0.0,
        "promotions": promotions,
        "promoted_share": sum(life.promotions > 0 for life in lives) / len(lives),
        "questions_left_unanswered": sum(life.unanswered for life in lives) / asked if asked else 0.0,
    }


def live(
    profile: Profile, weeks: int, seed: int, *, real: bool = False, sitting: bool = False, judge: str = ""
) -> Life:
    with _policy(seed, real=real, judge=judge) as (settings, database, policy):
        return _Server(database, settings, policy, profile, seed).live(weeks, sitting=sitting)


@contextmanager
def _policy(seed: int, *, real: bool, judge: str) -> Iterator[tuple[Settings, Database, Policy]]:
    """Yield what answers, with a temporary data folder; promotions need no admin."""
    own: dict[str, Any] = {
        "release": ReleaseSettings(auto_promote=True),
        "privacy": PrivacySettings(discord_training_permission=True),  # members still have to opt in
    }
    if real:
        with workshop() as folder:
            settings = settings_of_bench(folder, seed).model_copy(update=own)
            with served_bot(settings) as bot:
                yield settings, bot.services.database, RealModel(bot, judge)
    else:
        with tempfile.TemporaryDirectory(prefix="reactune-server-") as name:
            settings = Settings(data=DataSettings(directory=Path(name)), **own)
            with closing(open_database(settings)) as database:
                yield settings, database, StandIn(database, settings, database.call(ensure_personality))


Drawn = tuple[Version | None, Served]
"""An answer and whose it is."""


class _Server:
    _session: Session
    """Of the day that is being lived."""

    def __init__(self, database: Database, settings: Settings, policy: Policy, profile: Profile, seed: int) -> None:
        self._database = database
        self._settings = settings
        self._personality = database.call(ensure_personality)
        self._policy = policy
        self._profile = profile
        self._random = random.Random(seed)
        self._likes = cache(lambda one: profile.taste(one.message, one.text))
        self._leniency = [self._random.gauss(0, 1) for _ in range(profile.members)]
        self._activity = [1 / rank for rank in range(1, profile.members + 1)]
        self._known = [one for answers in stored_answers(SERVED_ANSWERS).values() for one in answers]
        """Answers of the base."""
        self._intercept = self._find_intercept()
        self._good = [one.text for one in self._known if self._likes(one) >= 0.5]
        self._opted_in = set(range(round(profile.members * profile.opt_in_share)))
        self._taste: LearnedTaste | None = None
        self._questions = self._day = 0
        self._versions: dict[int, Candidacy] = {}
        self._judged: set[int] = set()
        """Versions that the admin has judged."""
        self._life = Life()

    def live(self, weeks: int, *, sitting: bool = False) -> Life:
        self._settle()
        base, gains = self._utility(None), []
        if sitting:
            with self._database.transaction() as self._session:
                self._sit()
        for _ in range(weeks):
            seen: list[float] = []
            for _ in range(DAYS):
                self._day += 1
                with self._database.transaction() as self._session:
                    if sitting:
                        self._judge_as_admin()
                    seen += self._live_a_day()
                self._policy.train()
                with self._database.transaction() as self._session:
                    self._note_version()
                    _grow_older(self._session)
            gains.append(fmean(seen or [base]) - base)
        votes = len(self._taste.data) if self._taste else 0
        return replace(self._life, gains=gains, votes=votes, versions=[*self._versions.values()])

    def _settle(self) -> None:
        joined = utc_now() - timedelta(days=365)
        with self._database.transaction() as session:
            session.get_one(PseudonymKeyRow, 1).key = self._random.randbytes(PSEUDONYM_KEY_BYTES)
            everybody = range(FIRST_MEMBER, FIRST_MEMBER + self._profile.members)
            note_members(session, GUILD, dict.fromkeys(everybody, joined))
            for member in self._opted_in:
                give_consent(session, FIRST_MEMBER + member)

    def _live_a_day(self) -> list[float]:
        """Let members talk for a day, and return the utility of all that they saw."""
        for _ in range(self._often(self._profile.arena_per_week / DAYS)):
            self._hold_arena()
        seen = []
        self._learn()
        for number in range(1, self._often(self._profile.answers_per_week / DAYS) + 1):
            if number % LEARNS_AFTER == 0:
                self._learn()
            seen.append(self._likes(self._talk()))
        self._forget()
        return seen

    def _learn(self) -> None:
        known = learn_all(self._session, self._personality, self._settings)
        self._taste = known.taste
        self._policy.learned(known)

    def _sit(self) -> None:
        """Let an admin label pairs, which are chosen as those of a sitting are."""
        sitting = begin_sitting(self._session, self._personality, OPERATOR)
        for _ in range(SITTING):
            self._learn()
            drawn = self._policy.draw_to_teach(self._message(), self._random)
            places, chosen_by = choose_two([one.text for one in drawn], self._taste, self._random)
            first, second = (drawn[place] for place in places)
            self._label(sitting, (None, first), (None, second), chosen_by)
        end_sitting(self._session, sitting.id)

    def _judge_as_admin(self) -> None:
        """Let the same admin judge a version that waits blind, once."""
        rival = find_rival(self._session, self._personality)
        if rival is None or rival.id in self._judged:
            return
        self._judged.add(rival.id)
        champion = read_alias(self._session, self._personality).version
        sitting = begin_sitting(self._session, self._personality, OPERATOR)
        for _ in range(SITTING_JUDGED):
            self._learn()
            both = self._two_versions(champion, rival)
            while both[0][1].text == both[1][1].text:  # the bot takes another prompt too
                both = self._two_versions(champion, rival)
            self._label(sitting, *both, PairChoice.RIVALS)
            self._judge()
            if find_rival(self._session, self._personality) != rival:
                break
        end_sitting(self._session, sitting.id)

    def _label(self, sitting: Sitting, first: Drawn, second: Drawn, chosen_by: PairChoice) -> None:
        question = self._new("question")
        shown = self._labelled(question, *first), self._labelled(question, *second)
        card = read_personality(self._session, self._personality).card
        add_pair(self._session, sitting, question, shown, card=card, chosen_by=chosen_by)
        self._session.flush()
        pair = next_pair(self._session, sitting)
        assert pair is not None, "it was just added"
        liked = [likes(self._likes(answer), self._profile.noise, self._random) for _, answer in (first, second)]
        label_pair(self._session, sitting, pair.id, say(*liked), HOME, by_admin=True)

    def _labelled(self, question: str, version: Version | None, answer: Served) -> Answer:
        of_chat = self._reply(0, question, version, Origin.SITTING, Basis.PROMPT_BANK)
        return replace(of_chat, guild_id=None, channel_id=NOBODY, author_id=NOBODY, speakers=()), _finished(answer)

    def _note_version(self) -> None:
        """Keep what is known of a version that the night's round made."""
        for version in list_versions(self._session, self._personality):
            if version.id in self._versions or version.round_id is None:
                continue
            for waiting in self._versions.values():
                waiting.ended = "replaced" if waiting.ended == "waits" else waiting.ended
            round_ = require_round(self._session, version.round_id)
            champion = read_alias(self._session, self._personality).version
            self._versions[version.id] = Candidacy(
                version=version.name,
                day=self._day,
                votes=round_.learned_from["votes"],
                pairs=sum(round_.learned_from["pairs_by_source"].values()),
                strength=round_.metrics.get("strength", 1.0),
                utility=self._utility(version),
                utility_before=self._utility(champion),
                fit_share=self._policy.fit_share(version),
                fit_share_before=self._policy.fit_share(champion),
                ended="failed the gate" if version.verdict is GateVerdict.FAIL else "waits",
            )

    def _forget(self) -> None:
        expiry = read_expiry(self._settings.privacy)
        while expiry and (due := past_replies(self._session, expiry)):
            prune_replies(self._session, expiry, due)

    def _new(self, what: str) -> str:
        """Return a question that nobody has asked."""
        self._questions += 1
        return f"{what} {self._questions}"

    def _often(self, mean: float) -> int:
        """Return a whole number that is `mean` on average."""
        return math.floor(mean) + (self._random.random() < mean % 1)

    def _message(self, *, is_judged: bool = False) -> str:
        return self._random.choice(self._policy.messages(is_judged=is_judged))

    def _talk(self) -> Served:
        """Answer a question, and return the answer that its member saw last."""
        member = self._someone()
        champion = read_alias(self._session, self._personality).version
        rival = find_rival(self._session, self._personality)
        second_answers = self._settings.chat.second_answers
        if self._random.random() < read_pair_share(self._session, self._personality, rival, second_answers):
            return self._ask_twice(member, champion, rival)
        message, question = self._message(), self._new("question")
        answer = self._choose(champion, message)
        is_liked = self._likes(answer) > self._random.random()
        if not is_liked and self._random.random() < self._profile.regenerate_share:
            self._store(member, answer, champion, question)
            answer = self._choose(champion, message, after=answer)
            self._vote(member, answer, self._store(member, answer, champion, question))
        elif not is_liked and self._random.random() < self._profile.suggest_share and self._good:
            self._suggest(member, self._store(member, answer, champion, question))
        elif self._random.random() < self._profile.vote_share:
            self._vote(member, answer, self._store(member, answer, champion, question))
        return answer

    def _someone(self) -> int:
        return self._random.choices(range(self._profile.members), self._activity)[0]

    def _choose(
        self, version: Version | None, message: str, *, after: Served | None = None, beside: Served | None = None
    ) -> Served:
        """Return the one of several candidates that is shown, by itself, after another or as the second of two."""
        if self._taste is None or not self._taste.may_choose:
            return self._draw(version, message, 1, after or beside)[0]
        drawn = self._draw(version, message, self._settings.generation.candidates, after or beside)
        sound = [one for one in drawn if not is_degenerate(one.text)] or drawn
        begun = [beginning_of(one.text) for one in sound]
        if beside is not None:
            return sound[choose_beside(beginning_of(beside.text), begun, self._taste)]
        if self._random.random() < self._settings.generation.exploration:
            return self._random.choice(sound)
        return sound[choose_liked(begun, self._taste, exploration=0.0).shown]

    def _draw(
        self, version: Version | None, message: str, number: int = 1, other_than: Served | None = None
    ) -> list[Served]:
        drawn = self._policy.draw(version, message, number + (other_than is not None), self._random)
        return [one for one in drawn if one != other_than][:number] or drawn

    def _two_versions(self, champion: Version | None, rival: Version) -> list[Drawn]:
        """Return one answer of each to one message, in random order."""
        message = self._message(is_judged=True)
        both = [(version, *self._draw(version, message)) for version in (champion, rival)]
        self._random.shuffle(both)
        return both

    def _ask_twice(self, member: int, champion: Version | None, rival: Version | None) -> Served:
        """Show two blind answers: the champion's and the waiting version's, or two of the champion's."""
        if rival:
            both = self._two_versions(champion, rival)
            self._versions[rival.id].shown += 1
        else:
            message = self._message()
            first = self._draw(champion, message)[0]
            both = [(champion, first), (champion, self._choose(champion, message, beside=first))]
        (first_version, first), (second_version, second) = both
        self._life.asked += 1
        if self._random.random() >= CHOOSING_SHARE or first.text == second.text:
            self._life.unanswered += 1
            return second
        question = self._new("question")
        first_id = self._store(member, first, first_version, question)
        second_id = self._store(member, second, second_version, question, Origin.ALTERNATIVE)
        compare(self._session, first_id, second_id, FIRST_MEMBER + member, self._prefer(first, second))
        self._judge()
        return second

    def _prefer(self, first: Served, second: Served) -> Better:
        better = self._likes(first) - self._likes(second)
        if abs(better) < 0.5:
            return Better.SAME if self._random.random() < SAME_SHARE else self._random.choice(list(Better)[:2])
        is_first = (better > 0) != (self._random.random() < self._profile.noise)
        return Better.FIRST if is_first else Better.SECOND

    def _hold_arena(self) -> None:
        """Let some members pick the best of four answers: half of them are the rival's, if there is one."""
        champion = read_alias(self._session, self._personality).version
        rival = find_rival(self._session, self._personality)
        message = self._message(is_judged=rival is not None)
        drawn = [(champion, one) for one in self._draw(champion, message, 2 if rival else 4)]
        drawn += [(rival, one) for one in self._draw(rival, message, 2)] if rival else []
        self._random.shuffle(drawn)
        soon = utc_now() + timedelta(hours=1)
        where = {"personality_id": self._personality, "guild_id": GUILD, "channel_id": CHANNEL, "closes_at": soon}
        arena = prepare_arena(self._session, prompt=self._new("arena"), started_by="the simulation", **where)
        place_arena(self._session, arena.id, 10**12 + arena.id)
        rows = [
            (self._reply(0, arena.prompt, version, Origin.ARENA, Basis.PROMPT_BANK), _finished(answer))
            for version, answer in drawn
        ]
        open_arena(self._session, arena.id, rows, soon)
        for member in sorted({self._someone() for _ in range(PICKERS)}):
            best = max(range(len(drawn)), key=lambda place: (self._likes(drawn[place][1]), self._random.random()))
            place = self._random.randrange(len(drawn)) if self._random.random() < self._profile.noise else best
            pick(self._session, arena.id, FIRST_MEMBER + member, place + 1, PickGesture.PRESSED)
        close_arena(self._session, arena.id)
        self._judge()

    def _judge(self) -> None:
        """Do what people's choices decide, as the bot does after each."""
        contest = read_contest(self._session, self._personality, self._settings.votes)
        if contest is None:
            return
        judged = self._versions[contest.rival.id]
        judged.members = Tally.of(contest.members)
        if OPERATOR in contest.admins:
            judged.admin = Tally.of(contest.admins[OPERATOR])
        if contest.decision is None:
            return
        judged.decided_by = "members" if contest.deciding is contest.members else "admin"
        conclude(self._session, contest, contest.decision, self._settings.release)
        judged.ended = "dropped"
        if contest.decision.verdict is GateVerdict.PASS:
            judged.ended = "promoted"
            self._life.ready_week = self._life.ready_week or math.ceil(self._day / DAYS)
            self._life.promotions += 1
            self._life.harmful += judged.utility < self._utility(contest.champion) - 0.01

    def _utility(self, version: Version | None) -> float:
        chance = random.Random(0)
        messages = self._policy.messages(is_judged=True)
        drawn = (self._policy.draw(version, chance.choice(messages), 1, chance) for _ in range(JUDGED))
        return fmean(self._likes(one) for (one,) in drawn)

    def _find_intercept(self) -> float:
        """Return the log odds of a 👍 under what an average member does not like, who gives `like_share` 👍 in all."""
        low, high = -10.0, 10.0
        liked = [self._likes(one) for one in self._known]
        while high - low > 1e-3:
            middle = (low + high) / 2
            share = fmean(_logistic(middle + TASTE_STRENGTH * one) for one in liked)
            low, high = (middle, high) if share < self._profile.like_share else (low, middle)
        return low

    def _vote(self, member: int, answer: Served, reply_id: int) -> None:
        odds = self._intercept + self._leniency[member] + TASTE_STRENGTH * self._likes(answer)
        emoji = "👍" if self._random.random() < _logistic(odds) else "👎"
        thumb = Thumb(10**9 + reply_id, FIRST_MEMBER + member, emoji)
        append_events(self._session, [VoteEvent(reply_id, thumb, True)])

    def _suggest(self, member: int, reply_id: int) -> None:
        text = self._random.choice(self._good)
        suggest(self._session, reply_id, FIRST_MEMBER + member, text, self._basis_of(member))

    def _basis_of(self, member: int) -> Basis | None:
        return Basis.LIVE_CHAT if member in self._opted_in else None

    def _store(
        self, member: int, answer: Served, version: Version | None, question: str, origin: Origin = Origin.CHAT
    ) -> int:
        """Store an answer and return its id."""
        reply_id = start_reply(self._session, self._reply(member, question, version, origin, self._basis_of(member)))
        finish_reply(self._session, reply_id, _finished(answer))
        add_message(self._session, reply_id, 10**9 + reply_id, CHANNEL, 0)
        return reply_id

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


def _finished(answer: Served) -> FinishedReply:
    return FinishedReply(answer=answer.text, outcome=Outcome.COMPLETE)


def _grow_older(session: Session) -> None:
    """Make every row a day older, to the microsecond: what happened first stays first."""
    for table in Base.metadata.sorted_tables:
        moments = [column for column in table.columns if isinstance(column.type, UtcDateTime)]
        if moments:
            older = {
                moment: func.strftime("%Y-%m-%d %H:%M:%S", moment, "-1 days").concat(func.substr(moment, SECONDS_END))
                for moment in moments
            }
            session.execute(update(table).values(older))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
