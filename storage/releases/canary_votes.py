"""A canary's votes: those on challenger and champion, their failures, and whether they decide the canary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.orm import Session

from storage.conversations.replies import FINISHED_WHOLE, SAID_IN_CHAT
from storage.database.enums import CanaryStatus, Outcome, QuarantineStatus
from storage.database.tables import QuarantineRow, ReplyMessageRow, ReplyRow, VoteEventRow
from storage.members import home_of
from storage.releases.canaries import Canary, latest_canary, running_canary
from storage.releases.versions import Version, find_version, id_of, name_of, read_alias
from storage.settings.sections import VoteSettings
from storage.statistics import Approval, ApprovalComparison, PreferredSide, compare_approval
from storage.votes.votes import Vote
from storage.votes.weights import CurrentVote, VoteWeights, read_histories, read_quarantine_periods
from storage.wording import count, tenths

CONVERSATIONS_OF_ONE = 3
"""Conversations in which one member counts for each version, so that nobody decides a canary alone."""


@dataclass(frozen=True)
class Trial:
    """Votes on one version's answers since the canary started; `up` and `down` are sums of weights."""

    up: float = 0
    down: float = 0
    given: int = 0
    """Number of these votes."""
    failures: int = 0
    """Answers that failed, timed out or were empty; each counts as a 👎 of `failure_weight`."""
    conversations: int = 0

    @property
    def votes(self) -> int:
        """Number of votes and failures, whatever they weigh."""
        return self.given + self.failures

    @property
    def failure_weight(self) -> float:
        """The mean weight of this version's votes and of one additional full vote.

        The mean over both versions would be wrong: if one version's voters are new, failures would outweigh its votes,
        and two equal versions would look different. The additional vote gives failures weight when there are few votes
        or none; with n votes it adds less than 1/n to the weight of a failure.
        """
        return (1 + self.up + self.down) / (1 + self.given)

    @property
    def approval(self) -> Approval:
        return Approval(self.up, self.down + self.failures * self.failure_weight)


class AnswerPlace(NamedTuple):
    """The conversation and server of an answer, and the version that gave it."""

    conversation_id: int
    version_id: int | None
    home: int | None
    """See `members.home_of`."""


@dataclass(frozen=True)
class CanaryDecision:
    """The end of a canary, with the reason in a sentence."""

    status: CanaryStatus
    reason: str


@dataclass(frozen=True)
class CanaryVotes:
    """A running canary and its votes so far."""

    canary: Canary
    challenger: Version
    champion: Version | None
    challenger_votes: Trial
    champion_votes: Trial
    comparison: ApprovalComparison
    champion_moved: bool

    @property
    def decision(self) -> CanaryDecision | None:
        """The decision that these votes make; None if they do not decide the canary yet."""
        challenger, champion = self.challenger.name, name_of(self.champion)
        if self.champion_moved:
            return CanaryDecision(
                CanaryStatus.STOPPED, f"{champion}, which it was compared with, is no longer the champion"
            )
        votes = f"{_share(challenger, self.challenger_votes)} against {_share(champion, self.champion_votes)}"
        if self.comparison.preferred is PreferredSide.CHALLENGER:
            return CanaryDecision(CanaryStatus.PROMOTED, f"members like {challenger} better than {champion}: {votes}")
        if self.comparison.preferred is PreferredSide.CHAMPION:
            return CanaryDecision(CanaryStatus.ROLLED_BACK, f"members like {challenger} less than {champion}: {votes}")
        if self.challenger_votes.votes >= self.canary.max_votes:
            return CanaryDecision(
                CanaryStatus.INCONCLUSIVE, f"no difference between {challenger} and {champion}: {votes}"
            )
        return None

    @property
    def numbers(self) -> dict[str, Any]:
        sides = {"challenger": asdict(self.challenger_votes), "champion": asdict(self.champion_votes)}
        return sides | asdict(self.comparison)


@dataclass(frozen=True)
class CanaryState:
    """The running canary, or the last one."""

    running: CanaryVotes | None
    last: Canary | None = None
    """If none is running."""
    last_challenger: str = ""


def _share(name: str, trial: Trial) -> str:
    said = f"{share_of_votes(trial)} for {name}"
    return f"{said}, {count(trial.failures, 'failure')} among them" if trial.failures else said


def share_of_votes(trial: Trial) -> str:
    """Return "80% of 10 votes", failures included, and what the votes are worth if some weigh less than one."""
    if not trial.votes:
        return "no votes"
    worth = tenths(trial.approval.votes)
    if worth == "0":
        return "no votes with any weight"
    said = f"{trial.approval.share:.0%} of {count(trial.votes, 'vote')}"
    return said if worth == tenths(trial.votes) else f"{said} worth {worth}"


def read_canary(session: Session, personality_id: int, settings: VoteSettings) -> CanaryVotes | None:
    """Return the running canary with its votes so far; nothing is written."""
    canary = running_canary(session, personality_id)
    if canary is None:
        return None
    challenger = find_version(session, canary.challenger_id)
    assert challenger is not None, "a challenger has a row"
    trials = _trials(session, canary, settings)
    challenger_votes, champion_votes = trials.get(challenger.id, Trial()), trials.get(canary.champion_id, Trial())
    return CanaryVotes(
        canary=canary,
        challenger=challenger,
        champion=find_version(session, canary.champion_id),
        challenger_votes=challenger_votes,
        champion_votes=champion_votes,
        comparison=compare_approval(challenger_votes.approval, champion_votes.approval, canary.alpha),
        champion_moved=id_of(read_alias(session, personality_id).version) != canary.champion_id,
    )


def read_canary_state(session: Session, personality_id: int, settings: VoteSettings) -> CanaryState:
    running = read_canary(session, personality_id, settings)
    last = latest_canary(session, personality_id)
    if running is not None or last is None:
        return CanaryState(running)
    return CanaryState(None, last, name_of(find_version(session, last.challenger_id)))


def _trials(session: Session, canary: Canary, settings: VoteSettings) -> dict[int | None, Trial]:
    """Return {version id: trial} of challenger and champion."""
    of_canary = _answers_of(canary)
    votes = _weigh_votes(session, of_canary, settings)
    rows = session.execute(
        select(
            ReplyRow.version_id,
            func.sum(case((_went_wrong(), 1), else_=0)),
            func.count(ReplyRow.channel_id.distinct()),
        )
        .where(*of_canary)
        .group_by(ReplyRow.version_id)
    )
    return {
        version_id: Trial(
            up=_weight(votes[version_id], Vote.UP),
            down=_weight(votes[version_id], Vote.DOWN),
            given=len(votes[version_id]),
            failures=failures,
            conversations=conversations,
        )
        for version_id, failures, conversations in rows
    }


def _answers_of(canary: Canary) -> tuple[ColumnElement[bool], ...]:
    """Select the chat answers of both versions since the canary started, at full adapter strength."""
    return (
        ReplyRow.personality_id == canary.personality_id,
        ReplyRow.created_at >= canary.started_at,
        ReplyRow.origin.in_(SAID_IN_CHAT),
        ReplyRow.strength == 1.0,
        or_(ReplyRow.version_id == canary.challenger_id, ReplyRow.version_id.is_not_distinct_from(canary.champion_id)),
    )


def _went_wrong() -> ColumnElement[bool]:
    """Select failed and empty answers; an answer that Discord did not accept is not the version's fault."""
    was_shown = select(ReplyMessageRow.message_id).where(ReplyMessageRow.reply_id == ReplyRow.id).exists()
    is_empty = and_(ReplyRow.outcome.in_(FINISHED_WHOLE), ReplyRow.answer == "")
    return and_(or_(ReplyRow.outcome.in_((Outcome.FAILED, Outcome.TIMEOUT)), is_empty), was_shown)


def _weight(votes: Sequence[CurrentVote], said: Vote) -> float:
    return sum(vote.weight for vote in votes if vote.vote is said)


def _weigh_votes(
    session: Session, of_canary: tuple[ColumnElement[bool], ...], settings: VoteSettings
) -> dict[int | None, list[CurrentVote]]:
    """Return the votes that count by version, weighted as in a round: those of new accounts and members count less."""
    has_votes = select(VoteEventRow.id).where(VoteEventRow.reply_id == ReplyRow.id).exists()
    voted_on = (*of_canary, ReplyRow.outcome.in_(FINISHED_WHOLE), ReplyRow.answer != "", has_votes)
    columns = (ReplyRow.id, ReplyRow.channel_id, ReplyRow.version_id, ReplyRow.guild_id, ReplyRow.basis)
    rows = session.execute(select(*columns).where(*voted_on))
    places = {
        reply_id: AnswerPlace(conversation, version, home_of(guild_id, basis))
        for reply_id, conversation, version, guild_id, basis in rows
    }
    histories = read_histories(session, VoteEventRow.reply_id.in_(select(ReplyRow.id).where(*voted_on)))
    # Outside a snapshot, a reply can get its first vote between the two queries.
    votes = {vote_of: history.now for vote_of, history in histories.items() if vote_of[0] in places}
    quarantined_votes = read_quarantine_periods(session, QuarantineRow.status != QuarantineStatus.COUNTED)
    quarantined = {user_id for reply_id, user_id in quarantined_votes if reply_id in places}
    first = first_votes(votes, places, quarantined)
    weights = VoteWeights(session, settings, {(places[reply_id].home, user_id) for reply_id, user_id in first})
    weighed: dict[int | None, list[CurrentVote]] = defaultdict(list)
    for (reply_id, user_id), vote in first.items():
        place, voted_at = places[reply_id], histories[reply_id, user_id].last_set_at
        weighed[place.version_id].append(weights.weigh(reply_id, place.home, user_id, vote, voted_at))
    return weighed


def first_votes(
    votes: Mapping[tuple[int, int], Vote | None],
    places: Mapping[int, AnswerPlace],
    quarantined: Collection[int],
) -> dict[tuple[int, int], Vote]:
    """Return the votes that count by (reply id, user id): a member's first on a version, in up to 3 conversations.

    `votes` are the present votes in the order in which they were first given, None if withdrawn; `places` are by reply
    id; `quarantined` are the members of a quarantine that was not counted.

    Later votes of a member in the same conversation are not independent. They must not replace the first vote either:
    with numbers that are drawn again all the time, frequent looks will eventually show a difference that is not there.
    """
    seen: dict[tuple[int, int | None], set[int]] = defaultdict(set)
    first: dict[tuple[int, int], Vote] = {}
    for (reply_id, user_id), vote in votes.items():
        place = places[reply_id]
        conversations = seen[user_id, place.version_id]
        is_further = place.conversation_id not in conversations and len(conversations) < CONVERSATIONS_OF_ONE
        if vote is not None and user_id not in quarantined and is_further:
            conversations.add(place.conversation_id)
            first[reply_id, user_id] = vote
    return first
