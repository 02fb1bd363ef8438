"""Vote weights by account age and membership; vote histories."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from itertools import pairwise
from math import prod
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, func, select, tuple_
from sqlalchemy.orm import Session

from storage.database.database import vote_emoji_of
from storage.database.enums import QuarantineStatus
from storage.database.tables import (
    OptOutRow,
    QuarantinedVoteRow,
    QuarantineRow,
    ReplyRow,
    RoundRow,
    VoteEventRow,
)
from storage.members import Member, Memberships, Pseudonym, home_of, read_pseudonyms
from storage.settings.sections import VoteSettings
from storage.votes.corrections import wrong_facts
from storage.votes.votes import Vote, chosen_among, current_votes, meanings, quarantined_votes
from storage.wording import gettext_noop

DISCORD_EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
ROWS_AT_ONCE = 1_000
LEAST_WEIGHT = 0.1
"""Minimum weight: lighter votes and suggestions do not count at all; otherwise hundreds of them would add up."""
ACCOUNT_AGE, MEMBERSHIP = gettext_noop("account age"), gettext_noop("membership")
QUARANTINE = "quarantine"
WRONG_FACT = "wrong fact"
OPT_OUT = gettext_noop("opt-out")
RULES = {QUARANTINE: gettext_noop("suspicious votes"), "voter cap": gettext_noop("limit for each member")}
"""{rule: its words, if they differ from its name}"""


@dataclass(frozen=True)
class ThumbEvent:
    """A thumb that was added or removed; message, emoji and burst identify a member's reaction."""

    message_id: int
    emoji: str
    burst: bool
    added: bool
    created_at: datetime
    vote: Vote | None
    """The emoji's meaning; None if it no longer votes."""


@dataclass(frozen=True)
class VoteHistory:
    """All events of one member's thumbs under one reply, in the order of arrival."""

    events: tuple[ThumbEvent, ...]

    @property
    def now(self) -> Vote | None:
        return self._turns()[-1][1] if self.events else None

    @property
    def emoji(self) -> list[str]:
        """The voting emoji that are there now."""
        return [event.emoji for event in self.standing] if self.now else []

    @property
    def standing(self) -> tuple[ThumbEvent, ...]:
        """The additions of the voting emoji that are there now, also of those that cancel each other out."""
        return self._standing()[-1][1] if self.events else ()

    @property
    def since(self) -> datetime:
        """The time of the vote's last change."""
        turns = self._turns()
        since = turns[0][0]
        for (_, before), (moment, said) in pairwise(turns):
            if said is not before:
                since = moment
        return since

    @property
    def last_set_at(self) -> datetime:
        """The last time the member added a thumb; the vote is weighed at this moment."""
        return max(event.created_at for event in self.events if event.added)

    def before(self, moment: datetime) -> Vote | None:
        """Return the vote just before `moment`."""
        earlier = VoteHistory(tuple(event for event in self.events if event.created_at < moment))
        return earlier.now

    def _turns(self) -> list[tuple[datetime, Vote | None]]:
        """Return the vote after each event; likes and dislikes together are no vote."""
        return [(moment, _vote_of(standing)) for moment, standing in self._standing()]

    def _standing(self) -> list[tuple[datetime, tuple[ThumbEvent, ...]]]:
        """Return, after each event, the additions of the voting emoji that are there."""
        thumbs: dict[tuple[int, str, bool], ThumbEvent] = {}
        found = []
        for event in self.events:
            identity = (event.message_id, event.emoji, event.burst)
            if event.added and event.vote:
                thumbs[identity] = event
            else:
                thumbs.pop(identity, None)
            found.append((event.created_at, tuple(thumbs.values())))
        return found


def _vote_of(standing: Sequence[ThumbEvent]) -> Vote | None:
    said = {event.vote for event in standing}
    return said.pop() if len(said) == 1 else None


@dataclass(frozen=True)
class QuarantinePeriod:
    """A quarantine of a vote, current or past."""

    status: QuarantineStatus
    opened_at: datetime
    decided_at: datetime | None

    def covers(self, round_: RoundRow) -> bool:
        """Return whether it kept the vote out of the round; a round may open the quarantine itself."""
        opened_in_time = round_.finished_at is None or self.opened_at <= round_.finished_at
        counts_since = self.decided_at if self.status is QuarantineStatus.COUNTED else None
        return opened_in_time and (counts_since is None or counts_since > beginning(round_))


def counted_in(round_: RoundRow, history: VoteHistory, held: Iterable[QuarantinePeriod]) -> Vote | None:
    """Return the vote that counted when the round began; None if it was withdrawn, later, or `held` back then."""
    return None if any(one.covers(round_) for one in held) else history.before(beginning(round_))


QuarantinePeriods = Mapping[tuple[int, int], list[QuarantinePeriod]]
"""Quarantine periods by (reply, user)."""


def beginning(round_: RoundRow) -> datetime:
    return round_.started_at or round_.requested_at


def read_histories(session: Session, *which: ColumnElement[bool]) -> dict[tuple[int, int], VoteHistory]:
    """Return {(reply id, user id): history} of the vote events that `which` selects."""
    rows = session.execute(
        select(
            VoteEventRow.reply_id,
            VoteEventRow.user_id,
            VoteEventRow.message_id,
            VoteEventRow.emoji,
            VoteEventRow.burst,
            VoteEventRow.added,
            VoteEventRow.created_at,
        )
        .where(*which)
        .order_by(VoteEventRow.id)
    )
    events: dict[tuple[int, int], list[ThumbEvent]] = defaultdict(list)
    known = meanings(session)
    for reply_id, user_id, message_id, emoji, burst, added, created_at in rows:
        events[reply_id, user_id].append(ThumbEvent(message_id, emoji, burst, added, created_at, known.get(emoji)))
    return {whose: VoteHistory(tuple(of_one)) for whose, of_one in events.items()}


def read_quarantine_periods(session: Session, *which: ColumnElement[bool]) -> QuarantinePeriods:
    """Return the quarantines of the quarantined votes that `which` selects."""
    rows = session.execute(
        select(
            QuarantinedVoteRow.reply_id,
            QuarantinedVoteRow.user_id,
            QuarantineRow.status,
            QuarantineRow.opened_at,
            QuarantineRow.decided_at,
        )
        .join(QuarantineRow, QuarantineRow.id == QuarantinedVoteRow.quarantine_id)
        .where(*which)
    )
    holds: dict[tuple[int, int], list[QuarantinePeriod]] = defaultdict(list)
    for reply_id, user_id, status, opened_at, decided_at in rows:
        holds[reply_id, user_id].append(QuarantinePeriod(status, opened_at, decided_at))
    return holds


@dataclass(frozen=True)
class WeightedVote:
    """A vote with its weight, above 0 and up to 1."""

    voter: Pseudonym
    vote: Vote
    weight: float


@dataclass(frozen=True)
class WeightedVotes:
    """The votes of a personality that count, by reply and sorted by voter, and the weights removed by rules."""

    by_reply: dict[int, tuple[WeightedVote, ...]]
    given: int
    """Number of current votes before any rule, as `FeedbackCounts` counts votes."""
    removed: dict[str, float]
    """The weight that each rule removed of those votes; with what is left of them it adds up to their number."""
    uncounted: Mapping[str, int] = field(default_factory=dict)
    """Number of those votes that do not count at all, by rule."""
    in_part: int = 0
    """Number of those votes that count with less than their full weight."""
    people: frozenset[Pseudonym] = frozenset()
    """Members with at least one of those votes that counts."""

    @property
    def counted(self) -> int:
        return self.given - sum(self.uncounted.values())


class CurrentVote(NamedTuple):
    """A current vote, when its member last added a thumb there, and the weights of account age and membership."""

    reply_id: int
    user_id: int
    vote: Vote
    voted_at: datetime
    account: float
    membership: float

    @property
    def weight(self) -> float:
        return self.account * self.membership


def account_creation(user_id: int) -> datetime:
    """Return when the account was created: an id has the milliseconds since 2015 in its upper bits."""
    return DISCORD_EPOCH + timedelta(milliseconds=user_id >> 22)


def weights_of(
    given_at: datetime, created_at: datetime, joined_at: datetime | None, settings: VoteSettings
) -> tuple[float, float]:
    """Return the weights of account age and membership at that moment, 0 to 1 each.

    The total weight is their product; if it is below the least weight, the lighter of the two is 0. `joined_at` is None
    outside Discord, where only account age counts.
    """
    account = _ramp(given_at - created_at, settings.account_age_days)
    membership = 1.0 if joined_at is None else _ramp(given_at - joined_at, settings.membership_days)
    if account * membership >= LEAST_WEIGHT:
        return account, membership
    return (0.0, membership) if account <= membership else (account, 0.0)


def _ramp(age: timedelta, full_days: float) -> float:
    """Return a weight that grows from 0 to 1 in `full_days`; always 1 for 0 days."""
    if full_days == 0 or age.days >= full_days:
        return 1.0
    return min(1.0, max(0.0, age / timedelta(days=1) / full_days))


def read_weighted_votes(session: Session, personality_id: int, settings: VoteSettings) -> WeightedVotes:
    """Return the current votes that count, on answers in chat and in arenas, by reply.

    Votes in a quarantine that is open or that an admin left out do not count, even if they changed since; nor does a 👎
    for a wrong fact, which asks for knowledge, nor the vote of a member who opted out.
    """
    pseudonyms = read_pseudonyms(session)
    by_reply: dict[int, list[WeightedVote]] = defaultdict(list)
    removed = dict.fromkeys((ACCOUNT_AGE, MEMBERSHIP, QUARANTINE, WRONG_FACT, OPT_OUT), 0.0)
    choices = chosen_among(session, personality_id)
    given = in_part = 0
    uncounted: Counter[str] = Counter()
    people: set[Pseudonym] = set()
    weighted = lru_cache(maxsize=65_536)(WeightedVote)  # most votes of a member are equal
    for vote, rule in _ruled_votes(session, personality_id, settings):
        weight = vote.weight
        if rule is None and weight > 0.0:
            by_reply[vote.reply_id].append(weighted(pseudonyms.of(vote.user_id), vote.vote, weight))
        if vote.reply_id not in choices:
            given += 1
            if rule is not None:
                removed[rule] += 1.0
            elif weight < 1.0:
                removed[ACCOUNT_AGE] += 1.0 - vote.account
                removed[MEMBERSHIP] += vote.account * (1.0 - vote.membership)
            if rule is not None or not weight:
                uncounted[rule or (MEMBERSHIP if vote.account else ACCOUNT_AGE)] += 1
            else:
                people.add(pseudonyms.of(vote.user_id))
            in_part += rule is None and 0.0 < weight < 1.0
    ordered = {reply_id: tuple(sorted(found, key=attrgetter("voter"))) for reply_id, found in by_reply.items()}
    return WeightedVotes(ordered, given, removed, uncounted, in_part, frozenset(people))


def counted_votes(
    session: Session, personality_id: int, settings: VoteSettings, *, newest: int | None = None
) -> Iterator[CurrentVote]:
    """Yield the current votes that count, on answers in chat and in arenas; only on the `newest` answers with votes."""
    for vote, rule in _ruled_votes(session, personality_id, settings, newest):
        if rule is None and vote.weight > 0.0:
            yield vote


def counted_votes_on(
    session: Session, personality_id: int, settings: VoteSettings, reply_ids: Collection[int]
) -> Iterator[tuple[CurrentVote, float]]:
    """Yield the votes of `counted_votes` on a few answers, with their emoji's weights, in as few queries as possible.

    Every new vote is read this way, and the queries take longer than learning it.
    """
    replies = select(ReplyRow.id, ReplyRow.guild_id, ReplyRow.basis).where(
        ReplyRow.personality_id == personality_id, ReplyRow.id.in_(reply_ids)
    )
    homes = {reply_id: home_of(guild_id, basis) for reply_id, guild_id, basis in session.execute(replies)}
    held = quarantined_votes().where(QuarantinedVoteRow.reply_id.in_(reply_ids))
    histories = read_histories(
        session,
        VoteEventRow.reply_id.in_(homes),
        VoteEventRow.user_id.not_in(select(OptOutRow.user_id)),
        tuple_(VoteEventRow.reply_id, VoteEventRow.user_id).not_in(held),
    )
    disliked = {reply_id for (reply_id, _), history in histories.items() if history.now is Vote.DOWN}
    factual = wrong_facts(session, personality_id, disliked) if disliked else set()
    weights = VoteWeights(session, settings, {(homes[id_], user) for id_, user in histories})
    emoji = vote_emoji_of(session)
    for (reply_id, user_id), history in histories.items():
        said = history.now
        if said is None or (said is Vote.DOWN and (reply_id, user_id) in factual):
            continue
        vote = weights.weigh(reply_id, homes[reply_id], user_id, said, history.last_set_at)
        if vote.weight > 0.0:
            yield vote, emoji.strength(history.emoji)


def _ruled_votes(
    session: Session, personality_id: int, settings: VoteSettings, newest: int | None = None
) -> Iterator[tuple[CurrentVote, str | None]]:
    """Yield (current vote, the rule that removes it as a whole, or None)."""
    held, factual = quarantined(session, personality_id), wrong_facts(session, personality_id)
    opted_out = set(session.scalars(select(OptOutRow.user_id)))
    for vote in weigh_votes(session, personality_id, settings, newest=newest):
        key = (vote.reply_id, vote.user_id)
        if vote.user_id in opted_out:
            yield vote, OPT_OUT
        elif key in held:
            yield vote, QUARANTINE
        elif vote.vote is Vote.DOWN and key in factual:
            yield vote, WRONG_FACT
        else:
            yield vote, None


def quarantined(session: Session, personality_id: int) -> set[tuple[int, int]]:
    """Return (reply id, user id) of every vote that must not count."""
    rows = session.execute(quarantined_votes().where(QuarantineRow.personality_id == personality_id))
    return {(reply_id, user_id) for reply_id, user_id in rows}


class VoteWeights:
    """Weighs votes and corrections by account age and membership at the time they were given.

    `members` are their authors; without it, everyone's membership is read.
    """

    def __init__(self, session: Session, settings: VoteSettings, members: Collection[Member] | None = None) -> None:
        self._session = session
        self._settings = settings
        self._members = members
        # A million votes come from thousands of accounts. The cache is part of this object, because a trainer must not
        # keep ids.
        self._account_creation = lru_cache(maxsize=65_536)(account_creation)

    @cached_property
    def _memberships(self) -> Memberships:
        return Memberships(self._session, self._members)

    def weigh(self, reply_id: int, home: int | None, user_id: int, vote: Vote, voted_at: datetime) -> CurrentVote:
        """Return the vote with its weights; `voted_at` is the time of the member's last added thumb under the reply."""
        return CurrentVote(reply_id, user_id, vote, voted_at, *self.weights(home, user_id, voted_at))

    def weights(self, home: int | None, user_id: int, given_at: datetime) -> tuple[float, float]:
        """Return the weights of account age and membership at that moment, 0 to 1 each; `home` is as in `home_of`."""
        joined_at = None
        if home is not None and self._settings.membership_days:
            joined_at = self._memberships.since(home, user_id, given_at)
        return weights_of(given_at, self._account_creation(user_id), joined_at, self._settings)

    def weight(self, home: int | None, user_id: int, given_at: datetime) -> float:
        """Return the product of `weights`."""
        return prod(self.weights(home, user_id, given_at))


def weigh_by_account(
    session: Session, settings: VoteSettings, rows: Iterable[Row[*tuple[Any, ...]]]
) -> Iterator[tuple[Row[*tuple[Any, ...]], float]]:
    """Yield each row that counts, with its weight by account age and membership, above 0 and up to 1.

    A row has `user_id` (the author), `created_at`, and the answer's `guild_id` and `basis`.
    """
    homes = [(row, home_of(row.guild_id, row.basis)) for row in rows]
    weights = VoteWeights(session, settings, {(home, row.user_id) for row, home in homes})
    for row, home in homes:
        if (weight := weights.weight(home, row.user_id, row.created_at)) > 0:
            yield row, weight


def weigh_votes(
    session: Session, personality_id: int, settings: VoteSettings, *, newest: int | None = None
) -> Iterator[CurrentVote]:
    """Yield every current vote on the personality's answers, weighed as it was given; `newest` as in `counted_votes`.

    A vote that was found when reactions were read again gets the time of the reading, so it may be older.
    """
    replies = select(ReplyRow.id, ReplyRow.guild_id, ReplyRow.basis).where(ReplyRow.personality_id == personality_id)
    votes = current_votes(session, func.max(VoteEventRow.created_at).filter(VoteEventRow.added))
    if newest is not None and (oldest := _oldest_of_newest(session, personality_id, newest)) is not None:
        replies = replies.where(ReplyRow.id >= oldest)
        votes = votes.where(VoteEventRow.reply_id >= oldest)
    homes = {reply_id: home_of(guild_id, basis) for reply_id, guild_id, basis in session.execute(replies)}
    weights = VoteWeights(session, settings)
    for reply_id, user_id, is_up, voted_at in session.execute(votes, execution_options={"yield_per": ROWS_AT_ONCE}):
        if reply_id in homes:
            yield weights.weigh(reply_id, homes[reply_id], user_id, Vote.UP if is_up else Vote.DOWN, voted_at)


def _oldest_of_newest(session: Session, personality_id: int, newest: int) -> int | None:
    """Return the ID of the oldest of the newest answers with votes; None if there are fewer."""
    voted = (
        select(VoteEventRow.reply_id)
        .join(ReplyRow, ReplyRow.id == VoteEventRow.reply_id)
        .where(ReplyRow.personality_id == personality_id)
        .distinct()
    )
    return session.scalar(voted.order_by(VoteEventRow.reply_id.desc()).offset(newest - 1).limit(1))
