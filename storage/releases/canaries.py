"""Canaries: a challenger answers a share of conversations until votes say whether it is better than the champion."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from storage.conversations.replies import FINISHED_WHOLE, SAID_IN_CHAT
from storage.database.enums import CHALLENGER, CanaryStatus, GateVerdict, Outcome, QuarantineStatus
from storage.database.rows import from_row
from storage.database.tables import CanaryRow, QuarantineRow, ReplyMessageRow, ReplyRow, VoteEventRow
from storage.errors import AliasConflict, AlreadyChampion, CanaryRefused
from storage.members.memberships import home_of
from storage.releases.versions import (
    Version,
    ask_gate,
    end_canary,
    find_version,
    make_champion,
    move_alias,
    name_of,
    promote,
    read_alias,
)
from storage.settings.sections import ReleaseSettings, VoteSettings
from storage.statistics import Approval, ApprovalComparison, PreferredSide, compare_approval
from storage.votes.history import read_histories, read_quarantine_periods
from storage.votes.votes import Vote
from storage.votes.weights import StandingVote, VoteWeights
from storage.wording import count, tenths

DEFAULT_SHARE = 0.1
"""Of conversations, where neither the admin nor release.canary_share says another."""
CONVERSATIONS_OF_ONE = 3
"""In how many conversations one member counts for each version, so that nobody decides a canary alone."""
CANARY = "the canary"
GATE = "the gate"


@dataclass(frozen=True)
class Canary:
    id: int
    personality_id: int
    champion_id: int | None
    challenger_id: int
    share: float
    alpha: float
    max_votes: int
    status: CanaryStatus
    started_by: str
    start_reason: str
    overrides_gate: bool
    started_at: datetime
    ended_at: datetime | None
    reason: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """What became of one version's answers since the canary began; `up` and `down` are sums of weights."""

    up: float = 0
    down: float = 0
    given: int = 0
    """Votes behind these sums."""
    failures: int = 0
    """Answers that failed, ran out of time or had no words; each counts as a 👎 of `failure_weight`."""
    conversations: int = 0

    @property
    def votes(self) -> int:
        """Votes and failures, whatever they weigh."""
        return self.given + self.failures

    @property
    def failure_weight(self) -> float:
        """The mean weight of this version's votes and of one more that counts in full.

        Not that of both versions' votes: failures would then outweigh the votes of the version whose voters are new,
        and two equal versions would be told apart. The one in full gives failures weight where nobody voted, or hardly
        anybody; beside n votes it adds less than 1/n to the weight of a failure.
        """
        return (1 + self.up + self.down) / (1 + self.given)

    @property
    def approval(self) -> Approval:
        return Approval(self.up, self.down + self.failures * self.failure_weight)


class AnswerPlace(NamedTuple):
    """Where an answer was given, and by which version."""

    conversation_id: int
    version_id: int | None
    home: int | None
    """As `members.home_of` says."""


@dataclass(frozen=True)
class Ending:
    """How a canary ends, and why in a sentence."""

    status: CanaryStatus
    reason: str


@dataclass(frozen=True)
class Reading:
    """A running canary as its votes stand now."""

    canary: Canary
    challenger: Version
    champion: Version | None
    tried: Trial
    """Of the challenger."""
    kept: Trial
    """Of the champion."""
    comparison: ApprovalComparison
    champion_moved: bool

    @property
    def ending(self) -> Ending | None:
        """Return how the canary ends as its votes stand, or None where they leave it open."""
        challenger, champion = self.challenger.name, name_of(self.champion)
        if self.champion_moved:
            return Ending(CanaryStatus.STOPPED, f"{champion}, which it was compared with, is no longer the champion")
        votes = f"{_share(challenger, self.tried)} against {_share(champion, self.kept)}"
        if self.comparison.preferred is PreferredSide.CHALLENGER:
            return Ending(CanaryStatus.PROMOTED, f"members like {challenger} better than {champion}: {votes}")
        if self.comparison.preferred is PreferredSide.CHAMPION:
            return Ending(CanaryStatus.ROLLED_BACK, f"members like {challenger} less than {champion}: {votes}")
        if self.tried.votes >= self.canary.max_votes:
            return Ending(CanaryStatus.INCONCLUSIVE, f"no difference between {challenger} and {champion}: {votes}")
        return None

    @property
    def numbers(self) -> dict[str, Any]:
        return {"challenger": asdict(self.tried), "champion": asdict(self.kept)} | asdict(self.comparison)


def _share(name: str, trial: Trial) -> str:
    said = f"{share_of_votes(trial)} for {name}"
    return f"{said}, {count(trial.failures, 'failure')} among them" if trial.failures else said


def share_of_votes(trial: Trial) -> str:
    """Return "80% of 10 votes", with what they are worth where some weigh less than one; failures are among them."""
    if not trial.votes:
        return "no votes"
    worth = tenths(trial.approval.votes)
    if worth == "0":
        return "no votes that weigh anything"
    said = f"{trial.approval.share:.0%} of {count(trial.votes, 'vote')}"
    return said if worth == tenths(trial.votes) else f"{said} worth {worth}"


def answers_with_challenger(canary_id: int, conversation_id: int, share: float) -> bool:
    """Return whether the conversation belongs to the challenger's share: always the same answer for one canary."""
    digest = hashlib.sha256(f"{canary_id}:{conversation_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def start_canary(
    session: Session,
    personality_id: int,
    version: Version | None,
    settings: ReleaseSettings,
    *,
    by: str,
    reason: str,
    share: float | None = None,
    override: bool = False,
) -> Canary:
    """Let a version answer a share of conversations beside the champion.

    Share and limits stay those of this moment. Raises CanaryRefused where one runs already or the share is none,
    AlreadyChampion, AliasConflict where somebody starts one at the same time, and what `versions.ask_gate` raises.
    """
    chosen = share if share is not None else settings.canary_share or DEFAULT_SHARE
    # Read before anything is checked, so that whoever starts one after the checks has moved it.
    alias = read_alias(session, personality_id, CHALLENGER)
    challenger = _require_challenger(session, personality_id, version, chosen)
    overrides = ask_gate(session, challenger, override=override, reason=reason)
    champion = read_alias(session, personality_id).version
    move_alias(
        session,
        personality_id,
        CHALLENGER,
        challenger,
        expected_generation=alias.generation,
        by=by,
        reason=reason,
        overrides_gate=overrides,
    )
    row = CanaryRow(
        personality_id=personality_id,
        champion_id=champion.id if champion else None,
        challenger_id=challenger.id,
        share=chosen,
        alpha=settings.canary_alpha,
        max_votes=settings.canary_max_votes,
        started_by=by,
        start_reason=reason,
        overrides_gate=overrides,
    )
    session.add(row)
    session.flush()
    return from_row(Canary, row)


def _require_challenger(session: Session, personality_id: int, version: Version | None, share: float) -> Version:
    """Return the version if a canary may try it now."""
    if version is None:
        raise CanaryRefused("the base model cannot be a canary: promote base instead")
    if not 0 < share < 1:
        raise CanaryRefused(f"{share:g} is not a valid share: choose one between 0 and 1, such as {DEFAULT_SHARE}")
    running = running_canary(session, personality_id)
    if running is not None:
        name = name_of(find_version(session, running.challenger_id))
        raise CanaryRefused(f"a canary of {name} is running: stop it first, or wait until it ends")
    champion = read_alias(session, personality_id).version
    if champion is not None and champion.id == version.id:
        raise AlreadyChampion(version.name)
    return version


def running_canary(session: Session, personality_id: int) -> Canary | None:
    row = session.scalar(
        select(CanaryRow)
        .where(CanaryRow.personality_id == personality_id, CanaryRow.status == CanaryStatus.RUNNING)
        .execution_options(populate_existing=True)
    )
    return from_row(Canary, row) if row else None


def canary_in(session: Session, personality_id: int, conversation_id: int) -> Canary | None:
    """Return the running canary if its challenger answers in the conversation."""
    canary = running_canary(session, personality_id)
    return canary if canary and answers_with_challenger(canary.id, conversation_id, canary.share) else None


def latest_canary(session: Session, personality_id: int) -> Canary | None:
    """Return the canary that was started last, running or not."""
    row = session.scalar(
        select(CanaryRow)
        .where(CanaryRow.personality_id == personality_id)
        .order_by(CanaryRow.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    return from_row(Canary, row) if row else None


def stop_canary(session: Session, personality_id: int, *, by: str, reason: str) -> Canary:
    """End the running canary by hand, and return it as it ran; raises CanaryRefused where none runs."""
    running = running_canary(session, personality_id)
    words = f"{by} stopped it" + (f": {reason}" if reason else "")
    if running is None or not end_canary(session, running.id, CanaryStatus.STOPPED, by=by, reason=words):
        raise CanaryRefused("no canary is running: nothing was changed")
    return running


def read_canary(session: Session, personality_id: int, settings: VoteSettings) -> Reading | None:
    """Return how the running canary stands, or None; nothing is written."""
    canary = running_canary(session, personality_id)
    if canary is None:
        return None
    challenger = find_version(session, canary.challenger_id)
    assert challenger is not None, "a challenger has a row"
    trials = _trials(session, canary, settings)
    tried, kept = trials.get(challenger.id, Trial()), trials.get(canary.champion_id, Trial())
    now = read_alias(session, personality_id).version
    return Reading(
        canary=canary,
        challenger=challenger,
        champion=find_version(session, canary.champion_id),
        tried=tried,
        kept=kept,
        comparison=compare_approval(tried.approval, kept.approval, canary.alpha),
        champion_moved=(now.id if now else None) != canary.champion_id,
    )


def note_numbers(session: Session, reading: Reading) -> None:
    """Keep the numbers of a canary that goes on."""
    session.execute(
        update(CanaryRow)
        .where(CanaryRow.id == reading.canary.id, CanaryRow.status == CanaryStatus.RUNNING)
        .values(numbers=reading.numbers)
    )


def conclude_canary(session: Session, reading: Reading, ending: Ending) -> bool:
    """End the canary, its challenger the new champion where it won; return False where it had ended already.

    Raises AliasConflict where an admin moves the champion at this moment.
    """
    canary = reading.canary
    if running_canary(session, canary.personality_id) is None:
        return False
    reason = ending.reason
    if ending.status is CanaryStatus.PROMOTED:
        if canary.overrides_gate:
            reason += f"; {canary.started_by} overrode the gate: {canary.start_reason}"
        _promote_challenger(session, reading, reason)
    ended = end_canary(session, canary.id, ending.status, by=CANARY, reason=reason, numbers=reading.numbers)
    if not ended:
        raise CanaryRefused(f"the canary of {reading.challenger.name} has already ended: nothing was changed")
    return True


def _promote_challenger(session: Session, reading: Reading, reason: str) -> None:
    canary = reading.canary
    champion = read_alias(session, canary.personality_id)
    moved = f"the champion changed while {reading.challenger.name} won its canary: nothing was changed"
    if (champion.version.id if champion.version else None) != canary.champion_id:
        raise CanaryRefused(moved)
    try:
        make_champion(
            session,
            canary.personality_id,
            reading.challenger,
            expected_generation=champion.generation,
            by=CANARY,
            reason=reason,
            overrides_gate=canary.overrides_gate,
        )
    except AlreadyChampion as error:  # another bot was quicker
        raise CanaryRefused(moved) from error


def release_passed(session: Session, personality_id: int, version: Version, settings: ReleaseSettings) -> str | None:
    """Release a new version that passed the gate, where release.auto_promote says so, and say what was done.

    It goes to everyone, or to release.canary_share of the conversations first. None means that it waits for an admin.
    """
    if not settings.auto_promote or version.verdict is not GateVerdict.PASS:
        return None
    running, champion = running_canary(session, personality_id), read_alias(session, personality_id)
    if running is not None:
        rival = name_of(find_version(session, running.challenger_id))
        return f"{version.name} waits for an admin: a canary of {rival} is running"
    if (champion.version.id if champion.version else None) != version.parent_id:
        return f"{version.name} waits for an admin: it was compared with its parent, and {champion.target} answers"
    try:
        if settings.canary_share > 0:
            start_canary(session, personality_id, version, settings, by=GATE, reason="it passed the gate")
            return f"{version.name} answers {settings.canary_share:.0%} of conversations as a canary"
        promote(
            session,
            personality_id,
            version,
            expected_generation=champion.generation,
            by=GATE,
            reason="it passed the gate",
        )
    except (AliasConflict, CanaryRefused):
        return f"{version.name} waits for an admin: somebody else moved an alias at the same moment"
    return f"{version.name} answers from now on"


# What members said


def _trials(session: Session, canary: Canary, settings: VoteSettings) -> dict[int | None, Trial]:
    """Return what became of the answers of challenger and champion."""
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
    """Select the answers in chat that both versions gave, as they were trained, since the canary began."""
    return (
        ReplyRow.personality_id == canary.personality_id,
        ReplyRow.created_at >= canary.started_at,
        ReplyRow.origin.in_(SAID_IN_CHAT),
        ReplyRow.strength == 1.0,
        or_(ReplyRow.version_id == canary.challenger_id, ReplyRow.version_id.is_not_distinct_from(canary.champion_id)),
    )


def _is_whole() -> ColumnElement[bool]:
    return and_(ReplyRow.outcome.in_(FINISHED_WHOLE), ReplyRow.answer != "")


def _went_wrong() -> ColumnElement[bool]:
    """Select failed and empty answers; one that Discord did not even take is not the version's fault."""
    was_shown = select(ReplyMessageRow.message_id).where(ReplyMessageRow.reply_id == ReplyRow.id).exists()
    is_empty = and_(ReplyRow.outcome.in_(FINISHED_WHOLE), ReplyRow.answer == "")
    return and_(or_(ReplyRow.outcome.in_((Outcome.FAILED, Outcome.TIMEOUT)), is_empty), was_shown)


def _weight(votes: Sequence[StandingVote], said: Vote) -> float:
    return sum(vote.weight for vote in votes if vote.vote is said)


def _weigh_votes(
    session: Session, of_canary: tuple[ColumnElement[bool], ...], settings: VoteSettings
) -> dict[int | None, list[StandingVote]]:
    """Return the votes that count, by version; a new account's or member's weighs as little as it does in a round."""
    has_votes = select(VoteEventRow.id).where(VoteEventRow.reply_id == ReplyRow.id).exists()
    voted_on = (*of_canary, _is_whole(), has_votes)
    columns = (ReplyRow.id, ReplyRow.channel_id, ReplyRow.version_id, ReplyRow.guild_id, ReplyRow.basis)
    rows = session.execute(select(*columns).where(*voted_on))
    places = {
        reply_id: AnswerPlace(conversation, version, home_of(guild_id, basis))
        for reply_id, conversation, version, guild_id, basis in rows
    }
    histories = read_histories(session, VoteEventRow.reply_id.in_(select(ReplyRow.id).where(*voted_on)))
    # Without a snapshot, a reply may have got its first vote between the two queries.
    votes = {vote_of: history.now for vote_of, history in histories.items() if vote_of[0] in places}
    holds = read_quarantine_periods(session, QuarantineRow.status != QuarantineStatus.COUNTED)
    held_back = {user_id for reply_id, user_id in holds if reply_id in places}
    first = first_votes(votes, places, held_back)
    scales = VoteWeights(session, settings, {(places[reply_id].home, user_id) for reply_id, user_id in first})
    weighed: dict[int | None, list[StandingVote]] = defaultdict(list)
    for (reply_id, user_id), vote in first.items():
        place, voted_at = places[reply_id], histories[reply_id, user_id].last_set_at
        weighed[place.version_id].append(scales.weigh(reply_id, place.home, user_id, vote, voted_at))
    return weighed


def first_votes(
    votes: Mapping[tuple[int, int], Vote | None],
    places: Mapping[int, AnswerPlace],
    held_back: Collection[int],
) -> dict[tuple[int, int], Vote]:
    """Return the votes that count, by reply and member: each one's first on a version, in three conversations at most.

    `votes` are in the order in which they were first given, as they stand now, None where nothing stands; `places` are
    by reply, `quarantined` the members of a quarantine that was not counted.

    Later votes of the same member there are no independent witnesses. Nor may they replace the first: of counts that
    are drawn anew all the time, somebody who looks all the time sees any difference sooner or later.
    """
    seen: dict[tuple[int, int | None], set[int]] = defaultdict(set)
    first: dict[tuple[int, int], Vote] = {}
    for (reply_id, user_id), vote in votes.items():
        place = places[reply_id]
        conversations = seen[user_id, place.version_id]
        is_further = place.conversation_id not in conversations and len(conversations) < CONVERSATIONS_OF_ONE
        if vote is not None and user_id not in held_back and is_further:
            conversations.add(place.conversation_id)
            first[reply_id, user_id] = vote
    return first
