"""How much a vote or a suggestion counts: nothing from a new account or member, growing to one.

Nothing while a vote is held back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from storage.database.tables import QuarantineRow, ReplyRow, VoteEventRow
from storage.members.memberships import Member, Memberships, home_of
from storage.members.pseudonyms import Pseudonym, read_pseudonyms
from storage.settings.sections import VoteSettings
from storage.votes.causes import wrong_facts
from storage.votes.votes import Vote, quarantined_votes, standing_count

DISCORD_EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
DAY_S = 86_400.0
ROWS_AT_ONCE = 1_000
LEAST_WEIGHT = 0.1
"""What weighs less counts nothing: hundreds of such votes or suggestions would make up by number what they lack."""
ACCOUNT_AGE, MEMBERSHIP, QUARANTINE = "account age", "membership", "quarantine"
WRONG_FACT = "wrong fact"


@dataclass(frozen=True)
class WeightedVote:
    """A vote that counts, with its weight above 0 and up to 1."""

    voter: Pseudonym
    vote: Vote
    weight: float


@dataclass(frozen=True)
class WeightedVotes:
    """The votes of a personality that count, by reply and ordered by voter, and what the rules took from the others."""

    by_reply: dict[int, tuple[WeightedVote, ...]]
    total: int
    """Standing votes before any rule."""
    removed: dict[str, float]
    """How many votes' worth each rule removed; with the weights of the ballots they make the total."""


class StandingVote(NamedTuple):
    """A standing vote, the moment its member last set a thumb there, and the weights of account and membership."""

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
    """Return when Discord made the account: an id holds the milliseconds since 2015 in its upper bits."""
    return DISCORD_EPOCH + timedelta(milliseconds=user_id >> 22)


def weights_of(
    given_at: datetime, created_at: datetime, joined_at: datetime | None, settings: VoteSettings
) -> tuple[float, float]:
    """Return what the account's age and the membership weigh, 0 to 1 each, for something given at that moment.

    Together they weigh their product; the lighter one is nothing where that is below the least. `joined_at` is None
    outside Discord, where only the account's age counts.
    """
    account = _ramp(given_at - created_at, settings.account_age_days)
    membership = 1.0 if joined_at is None else _ramp(given_at - joined_at, settings.membership_days)
    if account * membership >= LEAST_WEIGHT:
        return account, membership
    return (0.0, membership) if account <= membership else (account, 0.0)


def _ramp(age: timedelta, full_days: float) -> float:
    """Grow from 0 to 1 in `full_days`; 0 days are no such rule."""
    if full_days == 0 or age.days >= full_days:
        return 1.0
    return min(1.0, max(0.0, age.total_seconds() / DAY_S / full_days))


def read_weighted_votes(session: Session, personality_id: int, settings: VoteSettings) -> WeightedVotes:
    """Return the standing votes that count, on answers of chat and arena alike.

    Votes in a quarantine that is open or whose votes an admin left out count nothing, whatever they say since; nor does
    a 👎 for a wrong fact, which asks for knowledge.
    """
    held, factual = quarantined(session, personality_id), wrong_facts(session, personality_id)
    pseudonyms = read_pseudonyms(session)
    by_reply: dict[int, list[WeightedVote]] = defaultdict(list)
    removed = dict.fromkeys((ACCOUNT_AGE, MEMBERSHIP, QUARANTINE, WRONG_FACT), 0.0)
    total = 0
    for vote in weigh_votes(session, personality_id, settings):
        total += 1
        if (vote.reply_id, vote.user_id) in held:
            removed[QUARANTINE] += 1.0
            continue
        if vote.vote is Vote.DOWN and (vote.reply_id, vote.user_id) in factual:
            removed[WRONG_FACT] += 1.0
            continue
        weight = vote.weight
        if weight < 1.0:
            removed[ACCOUNT_AGE] += 1.0 - vote.account
            removed[MEMBERSHIP] += vote.account * (1.0 - vote.membership)
        if weight > 0.0:
            by_reply[vote.reply_id].append(_ballot(pseudonyms.of(vote.user_id), vote.vote, weight))
    ordered = {reply_id: tuple(sorted(found, key=attrgetter("voter"))) for reply_id, found in by_reply.items()}
    return WeightedVotes(ordered, total, removed)


@lru_cache(maxsize=65_536)  # most ballots of a member are alike
def _ballot(voter: Pseudonym, vote: Vote, weight: float) -> WeightedVote:
    return WeightedVote(voter, vote, weight)


def quarantined(session: Session, personality_id: int) -> set[tuple[int, int]]:
    """Return (reply id, user id) of every vote that must not count."""
    rows = session.execute(quarantined_votes().where(QuarantineRow.personality_id == personality_id))
    return {(reply_id, user_id) for reply_id, user_id in rows}


class VoteWeights:
    """Weighs votes and corrections by account age and membership at the moment they were given.

    `members` are all who gave them; without them, everyone's membership is read.
    """

    def __init__(self, session: Session, settings: VoteSettings, members: Collection[Member] | None = None) -> None:
        self._session = session
        self._settings = settings
        self._members = members
        # A million votes come from thousands of accounts. The cache goes with the scales: a trainer must keep no ids.
        self._account_creation = lru_cache(maxsize=65_536)(account_creation)

    @cached_property
    def _memberships(self) -> Memberships:
        return Memberships(self._session, self._members)

    def weigh(self, reply_id: int, home: int | None, user_id: int, vote: Vote, voted_at: datetime) -> StandingVote:
        """Return the vote with its weights; `voted_at` is when its member last set a thumb under the reply."""
        return StandingVote(reply_id, user_id, vote, voted_at, *self.weights(home, user_id, voted_at))

    def weights(self, home: int | None, user_id: int, given_at: datetime) -> tuple[float, float]:
        """Return what the account's age and the membership weigh, 0 to 1 each, at that moment; `home` as `home_of`."""
        joined_at = None
        if home is not None and self._settings.membership_days:
            joined_at = self._memberships.since(home, user_id, given_at)
        return weights_of(given_at, self._account_creation(user_id), joined_at, self._settings)


def weigh_votes(session: Session, personality_id: int, settings: VoteSettings) -> Iterator[StandingVote]:
    """Yield every standing vote on the personality's answers; weights are those of the moment it was given.

    A vote that was found when reactions were read again dates from that moment, so it may be older than it seems.
    """
    replies = select(ReplyRow.id, ReplyRow.guild_id, ReplyRow.basis).where(ReplyRow.personality_id == personality_id)
    homes = {reply_id: home_of(guild_id, basis) for reply_id, guild_id, basis in session.execute(replies)}
    scales = VoteWeights(session, settings)
    for reply_id, user_id, is_up, voted_at in session.execute(
        _standing_votes(), execution_options={"yield_per": ROWS_AT_ONCE}
    ):
        if reply_id in homes:
            yield scales.weigh(reply_id, homes[reply_id], user_id, Vote.UP if is_up else Vote.DOWN, voted_at)


def _standing_votes() -> Select[int, int, bool, datetime]:
    """Select reply, user, whether the vote is up, and when the user last set a thumb there; both thumbs cancel."""
    up, down = (standing_count(vote) > 0 for vote in Vote)
    return (
        select(
            VoteEventRow.reply_id,
            VoteEventRow.user_id,
            up,
            func.max(VoteEventRow.created_at).filter(VoteEventRow.standing),
        )
        .group_by(VoteEventRow.reply_id, VoteEventRow.user_id)
        .having(up != down)
    )
