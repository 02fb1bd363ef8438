"""What people chose between a new version and the champion, and whether it decides about the version.

Only people's choices between two blind answers to one prompt count, one answer from each of the two versions: second
answers in chat, and arenas that compare just these two. Nothing that a model of ours thinks is evidence here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from math import ceil
from typing import Any, NamedTuple

from sqlalchemy import and_, or_, select, union
from sqlalchemy.orm import Session, aliased, load_only

from storage import sentences
from storage.database.columns import utc_now
from storage.database.enums import CanaryStatus, GateVerdict
from storage.database.rows import read_first, unindexed
from storage.database.tables import (
    ArenaAnswerRow,
    ComparisonRow,
    OptOutRow,
    ReplyRow,
    ReplySourceRow,
    VersionRow,
    VoteEventRow,
)
from storage.members import home_of
from storage.releases import canaries
from storage.releases.bases import of_base_in_use
from storage.releases.versions import Version, find_version, id_of, name_of, read_alias
from storage.settings.sections import VoteSettings
from storage.statistics import DECISIVE, bets_left, could_decide, e_value
from storage.votes.voter_caps import largest_share
from storage.votes.votes import Vote
from storage.votes.weights import VoteWeights, quarantined, read_histories

VOICES = 3.0
"""So many people, by weight, have to choose before choices decide, if so many voted on the personality lately."""
LATELY = timedelta(days=30)
WAITING = timedelta(days=28)
"""A scheduled round replaces a version that people are comparing after so long."""
FIRST_DAYS = 3.0
"""Before, it is not asked whether the days left can decide."""
HASTE = 3.0
"""So many times as many choices a day as until now might still come."""
NEEDED = ("guild_id", "basis", "messages", "source_message_id", "version_id", "strength")
"""What is read of an answer."""


class LeftOut(StrEnum):
    """Why a choice does not count."""

    NEW = "new"
    REPEATED = "repeated"
    BEYOND_SHARE = "beyond_share"
    OPTED_OUT = "opted_out"
    QUARANTINED = "quarantined"
    OTHER_STRENGTH = "other_strength"


@dataclass(frozen=True)
class Rival:
    """The version that people compare with the champion: a canary's, or the newest one that waits for their choices."""

    version: Version
    canary: canaries.Canary | None = None


class Bet(NamedTuple):
    """A choice that counts."""

    said_at: datetime
    amount: float
    """What was at stake; negative for a loss."""


@dataclass(frozen=True)
class Standing:
    """The choices between a version and the champion; each question or conversation counts once."""

    bets: tuple[Bet, ...] = ()
    """Oldest first."""
    ties: int = 0
    """Questions where nobody liked one better."""
    people: int = 0
    """Who decided the wins and losses."""
    voices: float = 0.0
    """The same people by their weight, at most 1 each."""
    needs_people: bool = False
    """The choices would decide, but they are those of too few of the people who vote."""
    left_out: Mapping[LeftOut, int] = field(default_factory=dict)
    """How many choices of one of the two do not count, by reason."""

    @cached_property
    def wins(self) -> int:
        return sum(amount > 0 for amount in self._amounts)

    @cached_property
    def losses(self) -> int:
        return len(self.bets) - self.wins

    @cached_property
    def better(self) -> float:
        """Return the e-value for "people like the version better"."""
        return e_value(self._amounts)

    @cached_property
    def worse(self) -> float:
        return e_value([-amount for amount in self._amounts])

    @cached_property
    def choices_left(self) -> int | None:
        """Return about how many more choices decide; None if neither leads."""
        return bets_left(self._amounts) or bets_left([-amount for amount in self._amounts])

    @property
    def verdict(self) -> GateVerdict:
        if self.needs_people:
            return GateVerdict.NOT_ENOUGH_EVIDENCE
        if self.better >= DECISIVE:
            return GateVerdict.PASS
        return GateVerdict.FAIL if self.worse >= DECISIVE else GateVerdict.NOT_ENOUGH_EVIDENCE

    @property
    def score(self) -> sentences.Sentence:
        """Return the score in words, as in "14 to 6 in blind pairs (4 about the same)"."""
        said = sentences.Sentence("{wins} to {losses} in blind pairs", wins=self.wins, losses=self.losses)
        if self.ties:
            said = sentences.joined(" ", [said, sentences.Sentence("({ties} about the same)", ties=self.ties)])
        by = [sentences.counted("by {count} person", "by {count} people", self.people)] if self.people else []
        return sentences.joined(", ", [said, *by])

    @property
    def numbers(self) -> dict[str, Any]:
        names = ("wins", "losses", "ties", "people", "needs_people", "better", "worse", "choices_left")
        return {name: getattr(self, name) for name in names} | {"left_out": dict(self.left_out)}

    def dead_end(self, begun_at: datetime, ends_at: datetime) -> str:
        """Return why the time that is left cannot decide, or nothing if it can.

        It cannot if even `HASTE` times as many choices a day as until now, as one-sided as those so far allow, would
        not. One choice more than there were is counted: if nobody chose so far, somebody still may.
        """
        now, day = utc_now(), timedelta(days=1)
        passed, left = (now - begun_at) / day, (ends_at - now) / day
        if passed < FIRST_DAYS or left <= 0:
            return ""
        choices = sum(bet.said_at >= begun_at for bet in self.bets)
        if could_decide(self._amounts, HASTE * (choices + 1) / passed * left):
            return ""
        return sentences.Sentence(
            "{pace}, {time} cannot decide",
            pace=sentences.counted("at {count} choice a day", "at {count} choices a day", choices / passed),
            time=sentences.counted("the {count} day left", "the {count} days left", ceil(left)),
        )

    @property
    def _amounts(self) -> list[float]:
        return [bet.amount for bet in self.bets]


@dataclass(frozen=True)
class Decision:
    """What people's choices, or the end of a canary's days, decide about a version."""

    verdict: GateVerdict
    canary: CanaryStatus
    """How its canary ends, if it has one."""
    reason: str


@dataclass(frozen=True)
class Contest:
    """A version, the champion, and what people chose between them so far."""

    rival: Rival
    champion: Version | None
    evidence: Standing

    @property
    def decision(self) -> Decision | None:
        """The decision, or None while there is none."""
        canary, verdict, score = self.rival.canary, self.evidence.verdict, self.evidence.score
        names = {"version": self.rival.version.name, "champion": name_of(self.champion)}
        if canary is not None and id_of(self.champion) != canary.champion_id:
            reason = sentences.Sentence(
                "{champion} became the champion, so that nothing can be compared with the one before",
                champion=names["champion"],
            )
            return Decision(GateVerdict.NOT_ENOUGH_EVIDENCE, CanaryStatus.STOPPED, reason)
        if verdict is GateVerdict.PASS:
            reason = sentences.Sentence("people prefer {version} to {champion}: {score}", **names, score=score)
            return Decision(verdict, CanaryStatus.PROMOTED, reason)
        if verdict is GateVerdict.FAIL:
            reason = sentences.Sentence("people like {version} less than {champion}: {score}", **names, score=score)
            return Decision(verdict, CanaryStatus.ROLLED_BACK, reason)
        if canary is not None and utc_now() >= canary.ends_at:
            reason = sentences.counted(
                "{count} day did not decide between {version} and {champion}: {score}",
                "{count} days did not decide between {version} and {champion}: {score}",
                canary.days,
                **names,
                score=score,
            )
            return Decision(verdict, CanaryStatus.INCONCLUSIVE, reason)
        if canary is not None and self.dead_end:
            reason = sentences.Sentence("{problem}: {score}", problem=self.dead_end, score=score)
            return Decision(verdict, CanaryStatus.INCONCLUSIVE, reason)
        return None

    @cached_property
    def dead_end(self) -> str:
        """Return why the canary's days, or those until a scheduled round replaces the version, cannot decide, if so."""
        version, canary = self.rival.version, self.rival.canary
        if canary is not None:
            return self.evidence.dead_end(canary.started_at, canary.ends_at)
        return self.evidence.dead_end(version.created_at, version.created_at + WAITING)

    @property
    def is_old(self) -> bool:
        """Whether a scheduled round may replace the version whatever people choose."""
        return utc_now() - self.rival.version.created_at > WAITING

    @property
    def numbers(self) -> dict[str, Any]:
        return self.evidence.numbers | {"champion": name_of(self.champion)}


class _Choice(NamedTuple):
    """What one person said of two answers to a question."""

    said_at: datetime
    reply_id: int
    """Of one of the two answers."""
    user_id: int
    home: int | None
    words: str
    """The last words of the question."""
    message_id: int | None
    """The Discord message with the question."""
    won: bool | None
    """Whether they like the version's answer better; None is "about the same"."""
    left_out: LeftOut | None
    """Why it does not count, if that is known before it is weighed."""


def find_rival(session: Session, personality_id: int) -> Rival | None:
    """Return the version whose answers should be compared with the champion's, if there is one."""
    canary = canaries.running_canary(session, personality_id)
    if canary is not None:
        challenger = find_version(session, canary.challenger_id)
        return Rival(challenger, canary) if challenger else None
    champion = read_alias(session, personality_id).version
    waiting = (
        select(VersionRow)
        .where(
            VersionRow.personality_id == personality_id,
            VersionRow.verdict == GateVerdict.NOT_ENOUGH_EVIDENCE,
            VersionRow.withdrawn_at.is_(None),
            VersionRow.number > (champion.number if champion else 0),
            of_base_in_use(session),
        )
        .order_by(VersionRow.number.desc())
    )
    version = read_first(session, Version, waiting)
    return Rival(version) if version else None


def read_contest(session: Session, personality_id: int, settings: VoteSettings) -> Contest | None:
    """Return the current comparison, or None. This writes nothing."""
    rival = find_rival(session, personality_id)
    if rival is None:
        return None
    champion = read_alias(session, personality_id).version
    return Contest(rival, champion, read_evidence(session, rival.version, champion, settings))


def read_evidence(session: Session, version: Version, champion: Version | None, settings: VoteSettings) -> Standing:
    """Return what people chose between the two versions so far."""
    silent = set(session.scalars(select(OptOutRow.user_id)))
    choices = sorted([*_comparisons(session, version, champion), *_picks(session, version, champion)])
    weights = VoteWeights(session, settings, {(choice.home, choice.user_id) for choice in choices})
    left_out: Counter[LeftOut] = Counter()
    weighed = []
    for choice in choices:
        account, membership = weights.weights(choice.home, choice.user_id, choice.said_at)
        reason = LeftOut.OPTED_OUT if choice.user_id in silent else choice.left_out
        if reason is None and account * membership > 0:
            weighed.append((choice, account * membership))
        elif choice.won is not None:
            left_out[reason or LeftOut.NEW] += 1
    found = _weigh(weighed, _units(session, [choice for choice, _ in weighed]), settings.max_voter_share, left_out)
    is_of_few = found.voices < VOICES and found.verdict is not GateVerdict.NOT_ENOUGH_EVIDENCE
    if is_of_few and _voices_lately(session, version.personality_id, settings) >= VOICES:
        return replace(found, needs_people=True)  # in which server somebody is most eager must not decide for all
    return found


def _voices_lately(session: Session, personality_id: int, settings: VoteSettings) -> float:
    """Return how many people voted on the personality's recent answers or chose between them, by their weight."""
    now = utc_now()
    answers = select(ReplyRow.guild_id, ReplyRow.basis).where(
        ReplyRow.personality_id == personality_id, ReplyRow.created_at >= now - LATELY
    )
    voted = answers.add_columns(VoteEventRow.user_id).join(VoteEventRow, VoteEventRow.reply_id == ReplyRow.id)
    chose = answers.add_columns(ComparisonRow.user_id).join(ComparisonRow, ComparisonRow.first_id == ReplyRow.id)
    people = {(home_of(guild_id, basis), user) for guild_id, basis, user in session.execute(union(voted, chose))}
    weights = VoteWeights(session, settings, people)
    heaviest: dict[int, float] = {}
    for home, user in people:
        account, membership = weights.weights(home, user, now)
        heaviest[user] = max(heaviest.get(user, 0.0), account * membership)
    return sum(heaviest.values())


def _comparisons(session: Session, version: Version, champion: Version | None) -> Iterator[_Choice]:
    """Yield people's choices between two answers in chat."""
    first, second = aliased(ReplyRow), aliased(ReplyRow)
    one_each = or_(
        and_(first.version_id == version.id, second.version_id.is_not_distinct_from(id_of(champion))),
        and_(second.version_id == version.id, first.version_id.is_not_distinct_from(id_of(champion))),
    )
    rows = session.execute(
        select(ComparisonRow, first, second.version_id, second.strength)
        .options(load_only(*(getattr(first, name) for name in NEEDED)))
        .join(first, first.id == ComparisonRow.first_id)
        .join(second, second.id == ComparisonRow.second_id)
        .where(
            unindexed(first.personality_id) == version.personality_id,  # there are far more answers
            first.created_at >= version.created_at,
            one_each,
        )
    )
    for said, reply, other_version, other_strength in rows:
        better = reply.version_id if said.better_id == reply.id else other_version
        won = None if said.better_id is None else better == version.id
        left_out = None if reply.strength == other_strength == 1.0 else LeftOut.OTHER_STRENGTH
        yield _choice(reply, said.user_id, said.created_at, won, left_out)


def _picks(session: Session, version: Version, champion: Version | None) -> Iterator[_Choice]:
    """Yield the picks in arenas where half of the answers came from each of the two versions.

    With a third version among the answers, the pick of one of the two would depend on which of them it resembles.
    """
    arenas: dict[int, list[ReplyRow]] = defaultdict(list)
    for arena_id, reply in session.execute(
        select(ArenaAnswerRow.arena_id, ReplyRow)
        .options(load_only(*(getattr(ReplyRow, name) for name in NEEDED)))
        .join(ReplyRow, ReplyRow.id == ArenaAnswerRow.reply_id)
        .where(unindexed(ReplyRow.personality_id) == version.personality_id, ReplyRow.created_at >= version.created_at)
    ):
        arenas[arena_id].append(reply)
    both = [version.id, id_of(champion)]
    replies = {
        reply.id: reply
        for answers in arenas.values()
        if Counter(answer.version_id for answer in answers) == Counter(both * (len(answers) // 2))
        for reply in answers
    }
    if not replies:
        return
    held = quarantined(session, version.personality_id)
    for (reply_id, user_id), history in read_histories(session, VoteEventRow.reply_id.in_(replies)).items():
        if history.now is Vote.UP:
            reply = replies[reply_id]
            left_out = LeftOut.QUARANTINED if (reply_id, user_id) in held else None
            yield _choice(reply, user_id, history.last_set_at, reply.version_id == version.id, left_out)


def _choice(reply: ReplyRow, user_id: int, said_at: datetime, won: bool | None, left_out: LeftOut | None) -> _Choice:
    words = normalized(reply.messages[-1]["content"]) if reply.messages else ""
    home = home_of(reply.guild_id, reply.basis)
    return _Choice(said_at, reply.id, user_id, home, words, reply.source_message_id, won, left_out)


def normalized(text: str) -> str:
    """Return the words of a text, without case and punctuation; a text without words stays as it is."""
    words = "".join(letter if letter.isalnum() else " " for letter in text.casefold()).split()
    return " ".join(words) or text.strip()


def _units(session: Session, choices: Sequence[_Choice]) -> list[int]:
    """Return the unit of each choice, oldest choice first: its question or its conversation.

    Outcomes of one unit resemble each other, so together they are one piece of evidence. Prompts with the same last
    words are one unit, and so are those that quote the question with which a unit began.
    """
    replies = {choice.reply_id for choice in choices}
    quoted: dict[int, set[int]] = defaultdict(set)
    sources = select(ReplySourceRow.reply_id, ReplySourceRow.message_id)
    for reply_id, message_id in session.execute(sources.where(ReplySourceRow.reply_id.in_(replies))):
        quoted[reply_id].add(message_id)
    by_words: dict[str, int] = {}
    by_message: dict[int | None, int] = {}
    units = []
    for position, choice in enumerate(choices):
        known = [by_message[message] for message in quoted[choice.reply_id] if message in by_message]
        unit = by_words.get(choice.words, min(known, default=position))
        if unit == position:
            by_words[choice.words] = by_message[choice.message_id] = position
        units.append(unit)
    return units


def _weigh(
    choices: Sequence[tuple[_Choice, float]], units: Sequence[int], max_share: float, left_out: Counter[LeftOut]
) -> Standing:
    """Turn the first decided choice of each unit into a bet, and add to `left_out` those that become none.

    What is at stake is known before the choice, so that the e-value is valid at every look: the weight of its author,
    or what keeps them within their share of all that was at stake until then.
    """
    decided: set[int] = set()
    staked: dict[int, float] = defaultdict(float)
    heaviest: dict[int, float] = {}
    bets = []
    for (choice, weight), unit in zip(choices, units, strict=True):
        if choice.won is None:
            continue
        if unit in decided:
            left_out[LeftOut.REPEATED] += 1
            continue
        user = choice.user_id
        heaviest[user] = max(heaviest.get(user, 0.0), weight)
        people = sum(heaviest.values()) / max(heaviest.values())
        stake = min(weight, _room(staked[user], sum(staked.values()), largest_share(people, max_share)))
        if not stake:  # somebody else may decide this one
            left_out[LeftOut.BEYOND_SHARE] += 1
            continue
        decided.add(unit)
        staked[user] += stake
        bets.append(Bet(choice.said_at, stake if choice.won else -stake))
    ties = {unit for (choice, _), unit in zip(choices, units, strict=True) if choice.won is None} - decided
    people = [user for user, stake in staked.items() if stake > 0]
    voices = sum(heaviest[user] for user in people)
    return Standing(tuple(bets), len(ties), len(people), voices, left_out=dict(left_out))


def _room(own: float, whole: float, largest: float) -> float:
    """Return how much somebody who staked `own` of `whole` may add, so that they hold at most the largest share."""
    return max(0.0, (largest * whole - own) / (1 - largest)) if largest < 1 else 1.0


@dataclass(frozen=True)
class CanaryState:
    """The current comparison, which may be a canary's, and the canary that was started last."""

    contest: Contest | None
    last: canaries.Canary | None
    last_challenger: str

    @property
    def running(self) -> Contest | None:
        """The running canary with what people chose so far."""
        return self.contest if self.contest and self.contest.rival.canary else None


def read_canary_state(session: Session, personality_id: int, settings: VoteSettings) -> CanaryState:
    contest, last = read_contest(session, personality_id, settings), canaries.latest_canary(session, personality_id)
    return CanaryState(contest, last, name_of(find_version(session, last.challenger_id)) if last else "")
