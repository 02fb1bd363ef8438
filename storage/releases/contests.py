"""People's choices between a new version and the champion, and the decision that follows from them.

Only people's choices between two blind answers to one prompt count, one answer from each of the two versions: second
answers in chat, and arenas that compare just these two. No judgement of a model counts here.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from math import ceil
from typing import Any, NamedTuple

from sqlalchemy import and_, func, or_, select, union
from sqlalchemy.orm import Session, aliased, load_only

from storage import sentences
from storage.database.columns import utc_now
from storage.database.enums import GateVerdict
from storage.database.rows import count_rows, read_first, unindexed
from storage.database.tables import (
    AliasMoveRow,
    ArenaAnswerRow,
    ArenaRow,
    ComparisonRow,
    OptOutRow,
    ReplyRow,
    ReplySourceRow,
    VersionRow,
    VoteEventRow,
)
from storage.members import home_of
from storage.releases.bases import of_base_in_use
from storage.releases.versions import Version, id_of, name_of, read_alias
from storage.settings.sections import VoteSettings
from storage.statistics import DECISIVE, bets_left, could_decide, e_value
from storage.votes.voter_caps import largest_share
from storage.votes.votes import Vote
from storage.votes.weights import VoteWeights, quarantined, read_histories

ENOUGH_PEOPLE = 3.0
"""Minimum number of people, by weight, whose choices decide, if as many have voted on the personality lately."""
LATELY = timedelta(days=30)
OPENING = 10.0
"""Everybody may stake their share of this much, and at least one choice, before others have chosen."""
LEADS = 3
"""The e-value from which a version leads: a single choice makes it 1.5, which is no lead."""
AS_GOOD = 0.1
"""A version is as good as the base if people choose it at most this much less often.

Simulated, in the median 52 pairs show it where both are liked in 98 % of cases, 123 where both are in 90 %, 290 where
both are in 60 %; where the version is liked ten points less often, 2 to 3 % of 300 comparisons of 600 pairs showed it.
"""
WAITING = timedelta(days=28)
"""Time after which a scheduled round replaces a version that people are comparing."""
FIRST_DAYS = 3.0
"""Days before the first forecast of whether the remaining days can decide."""
HASTE = 3.0
"""Assume at most this multiple of the pace so far."""
CLOCK_SLACK = timedelta(days=1)
"""A clock that was set back by less than this after a version was made costs it no choice."""
SAME_QUESTION = timedelta(days=7)
"""Time after which the same words are another question: "hi" is not answered once for all."""
NEEDED = ("guild_id", "basis", "messages", "source_message_id", "version_id", "strength")
"""Reply columns that weighing a choice needs."""


class LeftOut(StrEnum):
    """The reason why a choice does not count."""

    NEW = "new"
    REPEATED = "repeated"
    BEYOND_SHARE = "beyond_share"
    OPTED_OUT = "opted_out"
    QUARANTINED = "quarantined"
    OTHER_STRENGTH = "other_strength"


class Bet(NamedTuple):
    """A choice that counts."""

    said_at: datetime
    amount: float
    """The stake that was won, negative for a loss; of "about the same", the stake."""


@dataclass(frozen=True)
class Standing:
    """The choices between a version and the champion; each question or conversation counts once."""

    bets: tuple[Bet, ...] = ()
    """The wins and losses, oldest first."""
    tied: tuple[Bet, ...] = ()
    """The questions where nobody liked one answer better."""
    people: int = 0
    """Number of people whose choices made the wins and losses."""
    weighed_people: float = 0.0
    """The weights of the same people, at most 1 each, added up."""
    weighed_people_with_ties: float = 0.0
    """The same, of everybody whose choices count."""
    needs_people: bool = False
    """True if the choices would decide, but come from too few of the people who vote."""
    left_out: Mapping[LeftOut, int] = field(default_factory=dict)
    """Number of choices between the two that do not count, by reason."""

    @cached_property
    def wins(self) -> int:
        return sum(amount > 0 for amount in self._amounts)

    @cached_property
    def losses(self) -> int:
        return len(self.bets) - self.wins

    @property
    def ties(self) -> int:
        return len(self.tied)

    @cached_property
    def better(self) -> float:
        """Return the e-value for "people like the version better"."""
        return e_value(self._amounts)

    @cached_property
    def worse(self) -> float:
        return e_value([-amount for amount in self._amounts])

    @cached_property
    def as_good(self) -> float:
        """Return the e-value for "people like the version better at most AS_GOOD less often than the champion"."""
        return e_value(self._leniently)

    @cached_property
    def choices_left(self) -> int | None:
        """Return about how many more choices would decide; None if neither leads."""
        return bets_left(self._amounts) or bets_left([-amount for amount in self._amounts])

    @property
    def verdict(self) -> GateVerdict:
        if self.needs_people:
            return GateVerdict.NOT_ENOUGH_EVIDENCE
        if self.better >= DECISIVE:
            return GateVerdict.PASS
        return GateVerdict.FAIL if self.worse >= DECISIVE else GateVerdict.NOT_ENOUGH_EVIDENCE

    @property
    def is_decided(self) -> bool:
        return self.verdict is not GateVerdict.NOT_ENOUGH_EVIDENCE

    @property
    def score(self) -> sentences.Sentence:
        """Return the score in words, as in "14 to 6 in blind comparisons (4 about the same)"."""
        said = sentences.Sentence("{wins} to {losses} in blind comparisons", wins=self.wins, losses=self.losses)
        if self.ties:
            said = sentences.joined(" ", [said, sentences.Sentence("({ties} about the same)", ties=self.ties)])
        by = [sentences.counted("by {count} member", "by {count} members", self.people)] if self.people else []
        return sentences.joined(", ", [said, *by])

    @property
    def numbers(self) -> dict[str, Any]:
        names = ("wins", "losses", "ties", "people", "needs_people", "better", "worse", "choices_left")
        return {name: getattr(self, name) for name in names} | {"left_out": dict(self.left_out)}

    def dead_end(self, begun_at: datetime, ends_at: datetime, *, is_first: bool) -> str:
        """Return why the remaining time cannot decide, or "" if it can.

        It cannot if even `HASTE` times the daily choices so far, as one-sided as those allow, would not. One more
        choice than there were is counted, because somebody may still choose even if nobody has so far. A first version
        may also become as good as the base.
        """
        now, day = utc_now(), timedelta(days=1)
        passed, left = (now - begun_at) / day, (ends_at - now) / day
        if passed < FIRST_DAYS or left <= 0:
            return ""
        decided, tied = (sum(bet.said_at >= begun_at for bet in of) for of in (self.bets, self.tied))
        choices, most = decided + tied, HASTE / passed * left
        if could_decide(self._amounts, (decided + 1) * most):
            return ""
        needed = bets_left(self._leniently) if is_first else None
        if needed is not None and needed <= (choices + 1) * most:
            return ""
        return sentences.Sentence(
            "{pace}, {time} will not be enough to decide",
            pace=sentences.counted("at {count} choice a day", "at {count} choices a day", choices / passed),
            time=sentences.counted("the {count} day left", "the {count} days left", ceil(left)),
        )

    @property
    def _amounts(self) -> list[float]:
        return [bet.amount for bet in self.bets]

    @property
    def _leniently(self) -> list[float]:
        """The bets on "at most AS_GOOD less often"."""
        lenient = [bet.amount + AS_GOOD * abs(bet.amount) for bet in self.bets]
        return [*lenient, *(AS_GOOD * bet.amount for bet in self.tied)]


@dataclass(frozen=True)
class Decision:
    """The decision that people's choices make about a version."""

    verdict: GateVerdict
    reason: str


@dataclass(frozen=True)
class Contest:
    """A version, the champion, and people's choices between them so far."""

    rival: Version
    champion: Version | None
    members: Standing
    """Members' choices, which decide."""
    admins: Mapping[int, Standing] = field(default_factory=dict)
    """Each admin's choices, by user: a verdict of their own, in which nothing limits their share."""
    has_few_members: bool = False
    """True if there are too few members to wait for, so that an admin's verdict decides too."""

    @property
    def decision(self) -> Decision | None:
        """The decision; None if there is none yet."""
        standing = self.deciding
        names = {"version": self.rival.name, "champion": name_of(self.champion), "score": standing.score}
        if standing.verdict is GateVerdict.PASS:
            reason = sentences.Sentence("people prefer {version} to {champion}: {score}", **names)
        elif standing.verdict is GateVerdict.FAIL:
            reason = sentences.Sentence("people like {version} less than {champion}: {score}", **names)
        else:
            return None
        return Decision(standing.verdict, reason)

    @property
    def deciding(self) -> Standing:
        """The members' choices, or those of an admin whose verdict decides."""
        decided = [own for own in self.admins.values() if own.is_decided]
        agree = len({own.verdict for own in decided}) == 1
        return decided[0] if not self.members.is_decided and self.has_few_members and agree else self.members

    @property
    def standings(self) -> tuple[Standing, ...]:
        """The members' choices, and those of each admin."""
        return self.members, *self.admins.values()

    @property
    def forecast(self) -> Standing:
        """The standing from which the choices that are missing are told: the members', or the admin's with most."""
        return self.members if self.members.bets else max(self.standings, key=lambda one: len(one.bets))

    @property
    def is_as_good(self) -> bool:
        """Return whether it is as good as the base, which needs examples to be so good: an admin may promote it."""
        is_told = self.members.as_good >= DECISIVE and not self.members.needs_people
        return self.champion is None and is_told and self.members.verdict is not GateVerdict.FAIL

    @property
    def leads(self) -> bool:
        return self.is_as_good or any(standing.better >= LEADS for standing in self.standings)

    @cached_property
    def dead_end(self) -> str:
        """Return why the days until a scheduled round replaces the version cannot decide; "" if they can."""
        made = self.rival.created_at
        ends = [standing.dead_end(made, made + WAITING, is_first=self.champion is None) for standing in self.standings]
        return ends[0] if all(ends) else ""

    @property
    def is_old(self) -> bool:
        """True if a scheduled round may replace the version whatever people choose."""
        return utc_now() - self.rival.created_at > WAITING

    @property
    def numbers(self) -> dict[str, Any]:
        of_admins = [own.numbers for _, own in sorted(self.admins.items())]
        return self.members.numbers | {"champion": name_of(self.champion), "admins": of_admins}


class _Choice(NamedTuple):
    """One person's choice between two answers to a question."""

    said_at: datetime
    reply_id: int
    """Id of one of the two answers."""
    user_id: int
    home: int | None
    words: str
    """The last words of the question."""
    message_id: int | None
    """The Discord message with the question."""
    won: bool | None
    """True if they like the version's answer better, False if worse; None is "about the same"."""
    left_out: LeftOut | None
    """The reason why it does not count, if known before it is weighed."""
    arena_id: int | None = None
    by_admin: bool = False
    answers: tuple[int, ...] = ()
    """Ids of all answers among which they chose."""


_Question = tuple[int, list[tuple[_Choice, float]]]
"""The unit that a question belongs to, and the choices that make one bet, each with its author's weight."""


def find_rival(session: Session, personality_id: int) -> Version | None:
    """Return the version whose answers people compare with the champion's: the newest that waits, or None.

    Versions older than one that people prefer are not compared any more, unless that one was rolled back.
    """
    champion = read_alias(session, personality_id).version
    of_now = (VersionRow.personality_id == personality_id, VersionRow.withdrawn_at.is_(None), of_base_in_use(session))
    led = select(AliasMoveRow.to_version_id).where(AliasMoveRow.to_version_id.is_not(None))
    preferred = select(func.max(VersionRow.number)).where(
        *of_now, VersionRow.verdict == GateVerdict.PASS, VersionRow.decided_at.is_not(None), VersionRow.id.not_in(led)
    )
    waiting = (
        select(VersionRow)
        .where(
            *of_now,
            VersionRow.verdict == GateVerdict.NOT_ENOUGH_EVIDENCE,
            VersionRow.number > (champion.number if champion else 0),
            VersionRow.number > func.coalesce(preferred.scalar_subquery(), 0),
        )
        .order_by(VersionRow.number.desc())
    )
    return read_first(session, Version, waiting)


def count_compared(session: Session, personality_id: int) -> int:
    """Return the number of versions that people have compared with the champion, including the one that waits."""
    champion = read_alias(session, personality_id).version
    compared = select(VersionRow).where(
        VersionRow.personality_id == personality_id,
        VersionRow.number > (champion.number if champion else 0),
        or_(VersionRow.verdict == GateVerdict.NOT_ENOUGH_EVIDENCE, VersionRow.decided_at.is_not(None)),
        of_base_in_use(session),
    )
    return count_rows(session, compared)


def read_contest(session: Session, personality_id: int, settings: VoteSettings) -> Contest | None:
    """Return the current comparison, or None. This writes nothing."""
    rival = find_rival(session, personality_id)
    if rival is None:
        return None
    return contest_between(session, rival, read_alias(session, personality_id).version, settings)


def judging_answers(session: Session, contest: Contest) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """Return the pairs, and the arenas, in which people chose between the two versions, each as its answers' ids."""
    pairs = {choice.answers for choice in _comparisons(session, contest.rival, contest.champion)}
    return pairs, {choice.answers for choice in _picks(session, contest.rival, contest.champion)}


def contest_between(session: Session, version: Version, champion: Version | None, settings: VoteSettings) -> Contest:
    """Return people's choices between the two versions so far."""
    choices = sorted([*_comparisons(session, version, champion), *_picks(session, version, champion)])
    # A person who chose once as an admin counts as one here: their picks in arenas and direct messages are in their
    # verdict.
    admins = {choice.user_id for choice in choices if choice.by_admin}
    silent = set(session.scalars(select(OptOutRow.user_id)))
    members = [choice for choice in choices if choice.user_id not in admins]
    lately = _active_people(session, version.personality_id, admins, settings, version.created_at)
    found = _of_members(session, members, silent, settings, lately)
    verdicts = {
        admin: _of_admin(session, [choice for choice in choices if choice.user_id == admin])
        for admin in sorted(admins - silent)
    }
    is_decided = any(own.is_decided for own in (found, *verdicts.values()))
    if not is_decided and found.as_good < DECISIVE:
        return Contest(version, champion, found, verdicts)
    has_few = _active_people(session, version.personality_id, admins, settings, utc_now()) < ENOUGH_PEOPLE
    # The server in which a person is most active must not decide for all.
    if found.is_decided or found.as_good >= DECISIVE:
        people = found.weighed_people if found.is_decided else found.weighed_people_with_ties
        found = replace(found, needs_people=people < ENOUGH_PEOPLE and not has_few)
    return Contest(version, champion, found, verdicts, has_few)


def _of_members(
    session: Session, choices: Sequence[_Choice], silent: Collection[int], settings: VoteSettings, lately: float
) -> Standing:
    weights = VoteWeights(session, settings, {(choice.home, choice.user_id) for choice in choices})
    left_out: Counter[LeftOut] = Counter()
    weighed = []
    for choice in choices:
        weight = weights.weight(choice.home, choice.user_id, choice.said_at)
        reason = LeftOut.OPTED_OUT if choice.user_id in silent else choice.left_out
        if reason is None and weight > 0:
            weighed.append((choice, weight))
        elif choice.won is not None:
            left_out[reason or LeftOut.NEW] += 1
    units = _units(session, [choice for choice, _ in weighed])
    return _weigh(weighed, units, _Stakes(settings.max_voter_share, lately), left_out)


def _of_admin(session: Session, choices: Sequence[_Choice]) -> Standing:
    counted = [choice for choice in choices if choice.left_out is None]
    return _weigh([(choice, 1.0) for choice in counted], _units(session, counted), _Stakes(1.0), Counter())


def _active_people(
    session: Session, personality_id: int, admins: Collection[int], settings: VoteSettings, until: datetime
) -> float:
    """Return the number of members, by weight, who voted on the personality's answers or chose between them lately."""
    answers = select(ReplyRow.guild_id, ReplyRow.basis).where(
        unindexed(ReplyRow.personality_id) == personality_id,  # there are far more answers than votes
        ReplyRow.created_at.between(until - LATELY, until),
    )
    voted = answers.add_columns(VoteEventRow.user_id).join(VoteEventRow, VoteEventRow.reply_id == ReplyRow.id)
    chose = answers.add_columns(ComparisonRow.user_id).join(ComparisonRow, ComparisonRow.first_id == ReplyRow.id)
    people = {
        (home_of(guild_id, basis), user)
        for guild_id, basis, user in session.execute(union(voted, chose))
        if user not in admins
    }
    weights = VoteWeights(session, settings, people)
    heaviest: dict[int, float] = {}
    for home, user in people:
        heaviest[user] = max(heaviest.get(user, 0.0), weights.weight(home, user, until))
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
            first.created_at >= version.created_at - CLOCK_SLACK,
            one_each,
        )
    )
    for said, reply, other_version, other_strength in rows:
        better = reply.version_id if said.better_id == reply.id else other_version
        won = None if said.better_id is None else better == version.id
        left_out = None if reply.strength == other_strength == 1.0 else LeftOut.OTHER_STRENGTH
        choice = _choice(reply, said.user_id, said.created_at, won, left_out)
        yield choice._replace(by_admin=said.by_admin, answers=(said.first_id, said.second_id))


def _picks(session: Session, version: Version, champion: Version | None) -> Iterator[_Choice]:
    """Yield the picks in closed arenas where half of the answers came from each of the two versions.

    With a third version among the answers, the pick of one of the two would depend on the one that it resembles.
    """
    answers_of: dict[ArenaRow, list[ReplyRow]] = defaultdict(list)
    for arena, reply in session.execute(
        select(ArenaRow, ReplyRow)
        .options(load_only(*(getattr(ReplyRow, name) for name in NEEDED)))
        .join(ArenaAnswerRow, ArenaAnswerRow.arena_id == ArenaRow.id)
        .join(ReplyRow, ReplyRow.id == ArenaAnswerRow.reply_id)
        .where(
            unindexed(ReplyRow.personality_id) == version.personality_id,
            ReplyRow.created_at >= version.created_at - CLOCK_SLACK,
            ArenaRow.closed_at.is_not(None),
        )
    ):
        answers_of[arena].append(reply)
    both = [version.id, id_of(champion)]
    replies = {
        reply.id: (reply, arena)
        for arena, answers in answers_of.items()
        if Counter(answer.version_id for answer in answers) == Counter(both * (len(answers) // 2))
        for reply in answers
    }
    if not replies:
        return
    held = quarantined(session, version.personality_id)
    for (reply_id, user_id), history in read_histories(session, VoteEventRow.reply_id.in_(replies)).items():
        if history.now is Vote.UP:
            reply, arena = replies[reply_id]
            left_out = LeftOut.QUARANTINED if (reply_id, user_id) in held else None
            won = reply.version_id == version.id
            said_at = arena.closed_at or arena.closes_at
            answers = tuple(sorted(answer.id for answer in answers_of[arena]))
            yield _choice(reply, user_id, said_at, won, left_out)._replace(arena_id=arena.id, answers=answers)


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
    words are one unit for a while, and so are prompts that quote the question with which a unit began.
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
        unit = by_words.get(choice.words)
        if unit is None or choice.said_at - choices[unit].said_at >= SAME_QUESTION:
            unit = min(known, default=position)
        if unit == position:
            by_words[choice.words] = by_message[choice.message_id] = position
        units.append(unit)
    return units


def _weigh(
    choices: Sequence[tuple[_Choice, float]], units: Sequence[int], stakes: _Stakes, left_out: Counter[LeftOut]
) -> Standing:
    """Turn the first decided choice of each unit into a bet, and count the others in `left_out`.

    All picks of an arena are one bet, on their mean. A choice beyond its author's share waits until others have chosen.
    Its stake, and when it counts, follow from who chose and not from what, so that the e-value is valid at every look.
    """
    settled: set[int] = set()
    bets: list[Bet] = []
    tied: list[Bet] = []
    waiting: dict[tuple[int, ...], deque[_Question]] = defaultdict(deque)

    def take_first(queue: deque[_Question]) -> bool:
        unit, together = queue[0]
        if unit in settled:
            left_out[LeftOut.REPEATED] += len(together)
        else:
            parts = stakes.place(together)
            if not any(part for _, part in parts):
                return False
            settled.add(unit)
            left_out[LeftOut.BEYOND_SHARE] += sum(not part for _, part in parts)
            amount = round(sum(part if choice.won else -part for choice, part in parts), 9)
            bet = Bet(together[0][0].said_at, amount or sum(part for _, part in parts))
            (bets if amount else tied).append(bet)
        queue.popleft()
        return True

    for unit, together in _questions(choices, units):
        waiting[tuple(choice.user_id for choice, _ in together)].append((unit, together))
        while any(take_first(queue) for queue in waiting.values() if queue):
            pass
    left_out[LeftOut.BEYOND_SHARE] += sum(len(together) for queue in waiting.values() for _, together in queue)
    people, weighed = len(stakes.placed), stakes.weighed_people
    # Last, because the unit that somebody finds equal may be decided by somebody else.
    for (choice, weight), unit in zip(choices, units, strict=True):
        if choice.won is None and unit not in settled and (stake := stakes.place([(choice, weight)])[0][1]):
            settled.add(unit)
            tied.append(Bet(choice.said_at, stake))
    return Standing(tuple(bets), tuple(tied), people, weighed, stakes.weighed_people, left_out=dict(+left_out))


@dataclass
class _Stakes:
    """Each person's stakes so far, which limit their next ones."""

    max_share: float
    lately: float = 0.0
    """People who could choose, by weight, as far as that was known when the version was made."""
    placed: Counter[int] = field(default_factory=Counter)
    """The sum of a person's stakes, by user; only people with one."""
    _heaviest: dict[int, float] = field(default_factory=dict)

    @property
    def weighed_people(self) -> float:
        """The weights of the people who have a stake, added up."""
        return sum(self._heaviest[user] for user in self.placed)

    def place(self, together: Sequence[tuple[_Choice, float]]) -> list[tuple[_Choice, float]]:
        """Return the stake of each choice of one question, and remember it; 0 beyond its author's share.

        Together they stake the heaviest weight.
        """
        for choice, weight in together:
            self._heaviest[choice.user_id] = max(self._heaviest.get(choice.user_id, 0.0), weight)
        people = max(self.lately, sum(self._heaviest.values()) / max(self._heaviest.values()))
        stake, whole = max(weight for _, weight in together), sum(weight for _, weight in together)
        most = max(1.0, largest_share(people, self.max_share) * max(OPENING, self.placed.total() + stake))
        shares = [(choice, stake * weight / whole) for choice, weight in together]
        parts = [(choice, share if self.placed[choice.user_id] + share <= most else 0.0) for choice, share in shares]
        self.placed += Counter({choice.user_id: part for choice, part in parts})
        return parts


def _questions(choices: Sequence[tuple[_Choice, float]], units: Sequence[int]) -> Iterator[_Question]:
    """Yield (unit, choices) of each decided question, the picks of one arena together, ordered by first choice."""
    together: dict[tuple[str, int], list[tuple[_Choice, float]]] = defaultdict(list)
    unit_of: dict[tuple[str, int], int] = {}
    for position, (weighed, unit) in enumerate(zip(choices, units, strict=True)):
        choice, _ = weighed
        if choice.won is not None:
            question = ("chat", position) if choice.arena_id is None else ("arena", choice.arena_id)
            unit_of.setdefault(question, unit)
            together[question].append(weighed)
    for question, some in together.items():
        yield unit_of[question], some
