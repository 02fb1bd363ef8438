"""The state of a personality: its versions as a list and as a tree, its next round, its week, and its problems."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from apscheduler.triggers.base import BaseTrigger
from sqlalchemy import func, select, union_all
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import CHAMPION, LAST_GOOD, RoundStatus
from storage.database.rows import any_row, database_now, read_all, read_first
from storage.database.tables import (
    AliasMoveRow,
    BaseUseRow,
    ComparisonRow,
    ReplyRow,
    RoundRow,
    VersionRow,
    VoteEventRow,
)
from storage.insights.taste_report import AnsweringNow, answering_with, read_answering_now
from storage.operations.token_spend import Spend, spent_on
from storage.personalities.personalities import list_personalities
from storage.releases.bases import of_base_in_use
from storage.releases.before_after import BeforeAfter, compare_with_before
from storage.releases.contests import LATELY, Contest, count_compared, find_rival, read_contest
from storage.releases.pair_share import first_choices_left
from storage.releases.versions import (
    Alias,
    AliasMove,
    Version,
    failed_checks,
    find_version,
    id_of,
    list_versions,
    moves_of,
    name_of,
    read_alias,
    version_named,
)
from storage.runtime import processes
from storage.runtime.schedules import parse_schedule
from storage.settings.sections import Settings
from storage.taste.gain import CandidateGain, read_gain
from storage.taste.learning import learn_taste
from storage.taste.likings import Effect, likings
from storage.training import rounds
from storage.training.feedback import Outlook, look_ahead
from storage.votes.decisions import open_quarantines
from storage.votes.votes import FeedbackCounts, Tally, VersionVotes, read_version_votes

WEEK = timedelta(days=7)
WEEK_ENDS = "0 18 * * mon"
"""The end of a week, when it is announced; a cron expression in UTC."""


@dataclass(frozen=True)
class VersionList:
    versions: list[Version]
    """The versions, newest first."""
    contest: Contest | None
    votes: VersionVotes
    now: AnsweringNow


@dataclass(frozen=True)
class VersionDetails:
    version: Version
    parent: Version | None
    round: rounds.Round | None
    """The round that made it; None if it was imported."""
    votes: Tally
    moves: list[AliasMove]
    failed_checks: list[str]
    contest: Contest | None
    """The comparison of the champion with this version, while people compare it."""
    compared: BeforeAfter | None
    """Its answers beside those of the model that answered when it was made."""


def read_versions(session: Session, personality_id: int, settings: Settings) -> VersionList:
    return VersionList(
        versions=list_versions(session, personality_id),
        contest=read_contest(session, personality_id, settings.votes),
        votes=read_version_votes(session, personality_id),
        now=read_answering_now(session, personality_id, settings),
    )


def read_version(session: Session, personality_id: int, name: str, settings: Settings) -> VersionDetails | None:
    """Return the version's details; None for the base model. Raises VersionNotFound."""
    version = version_named(session, personality_id, name)
    if version is None:
        return None
    contest = read_contest(session, personality_id, settings.votes)
    return VersionDetails(
        version=version,
        parent=find_version(session, version.parent_id),
        round=rounds.find_round(session, version.round_id) if version.round_id else None,
        votes=read_version_votes(session, personality_id).on(version.id),
        moves=moves_of(session, version),
        failed_checks=failed_checks(session, version),
        contest=contest if contest and contest.rival.id == version.id else None,
        compared=compare_with_before(session, version),
    )


@dataclass(frozen=True)
class NextDecision:
    """What decides about the next version."""

    contest: Contest | None
    said_weekly: float
    """Recent number of people's votes and choices per week."""
    first_choices_left: int | None
    """Number of choices that the first round should still have; None once it made a version."""
    newest: Version | None
    """The newest version since the champion."""


def read_next_decision(session: Session, personality_id: int, settings: Settings) -> NextDecision:
    return NextDecision(
        contest=read_contest(session, personality_id, settings.votes),
        said_weekly=count_said_weekly(session, personality_id),
        first_choices_left=first_choices_left(session, personality_id),
        newest=newest_after(session, personality_id, read_alias(session, personality_id).version),
    )


@dataclass(frozen=True)
class ModelStatus(NextDecision):
    now: AnsweringNow
    last_good: Alias
    compared: int
    """Number of versions that people have compared with the champion."""
    gain: CandidateGain | None
    outlook: Outlook
    latest_round: rounds.Round | None
    trainers: list[processes.Heartbeat]
    running: list[rounds.Round]
    """Running rounds of all personalities."""
    spent: Spend
    """Tokens spent on remote servers today."""


def read_model_status(session: Session, personality_id: int, settings: Settings, base_revision: str) -> ModelStatus:
    outlook = look_ahead(session, personality_id, settings, base_revision)
    return ModelStatus(
        **vars(read_next_decision(session, personality_id, settings)),
        now=answering_with(session, personality_id, settings, outlook.taste),
        last_good=read_alias(session, personality_id, LAST_GOOD),
        compared=count_compared(session, personality_id),
        gain=read_gain(session, personality_id, settings.votes),
        outlook=outlook,
        latest_round=rounds.latest_round(session, personality_id),
        trainers=processes.live_processes(session, processes.TRAINER),
        running=rounds.running_rounds(session),
        spent=spent_on(session, utc_now().date()),
    )


def count_said_weekly(session: Session, personality_id: int) -> float:
    """Return the number of votes and choices per week, in the last thirty days or since the first of them."""
    since = utc_now() - LATELY
    voted = (
        select(func.min(VoteEventRow.created_at).label("said_at"))
        .join(ReplyRow, ReplyRow.id == VoteEventRow.reply_id)
        .where(ReplyRow.personality_id == personality_id, VoteEventRow.created_at >= since, VoteEventRow.added)
        .group_by(VoteEventRow.reply_id, VoteEventRow.user_id)
    )
    chose = (
        select(ComparisonRow.created_at.label("said_at"))
        .join(ReplyRow, ReplyRow.id == ComparisonRow.first_id)
        .where(ReplyRow.personality_id == personality_id, ComparisonRow.created_at >= since)
    )
    said = union_all(voted, chose).subquery()
    number, first = session.execute(select(func.count(), func.min(said.c.said_at))).one()
    return number / max(1.0, (utc_now() - first) / WEEK) if number else 0.0


def newest_after(session: Session, personality_id: int, champion: Version | None) -> Version | None:
    """Return the newest version since the champion; None if there is none.

    Versions of another base, without their files, or that were rolled back are no longer decided on.
    """
    newer = select(VersionRow).where(
        VersionRow.personality_id == personality_id,
        VersionRow.number > (champion.number if champion else 0),
        VersionRow.withdrawn_at.is_(None),
        VersionRow.id.not_in(_rolled_back(session, personality_id)),
        of_base_in_use(session),
    )
    return read_first(session, Version, newer.order_by(VersionRow.number.desc()))


class VersionMark(StrEnum):
    """A version's fate, in words that people read."""

    CHAMPION = "answers now"
    COMPARED = "compared with what answers now"
    ROLLED_BACK = "was rolled back"
    WITHDRAWN = "files withdrawn"


@dataclass(frozen=True)
class TreeNode:
    """A version, or the base, with the position of its parent."""

    version: Version | None
    parent: int | None
    """Position of the parent; None for the base."""
    column: int
    """The node's column: one more than the parent's where the tree branches."""
    marks: tuple[VersionMark, ...]

    @property
    def is_champion(self) -> bool:
        return VersionMark.CHAMPION in self.marks

    @property
    def name(self) -> str:
        return name_of(self.version)


def read_version_tree(session: Session, personality_id: int) -> list[TreeNode]:
    """Return the base and all versions: each parent before its children, the newest child first."""
    children: dict[int | None, list[Version]] = defaultdict(list)
    for version in list_versions(session, personality_id):
        children[version.parent_id].append(version)
    marked = _read_marks(session, personality_id)
    nodes: list[TreeNode] = []
    waiting: list[tuple[Version | None, int | None, int]] = [(None, None, 0)]
    while waiting:
        version, parent, column = waiting.pop()
        own = children[id_of(version)]
        waiting += [(child, len(nodes), column + (len(own) > 1)) for child in reversed(own)]
        nodes.append(TreeNode(version, parent, column, tuple(_marks_of(version, marked))))
    return nodes


def _marks_of(version: Version | None, marked: dict[int | None, VersionMark]) -> list[VersionMark]:
    marks = [marked[id_of(version)]] if id_of(version) in marked else []
    return [*marks, VersionMark.WITHDRAWN] if version and version.withdrawn_at else marks


def _read_marks(session: Session, personality_id: int) -> dict[int | None, VersionMark]:
    """Return {version id: mark}; a version's present role takes precedence over its past."""
    marked: dict[int | None, VersionMark] = dict.fromkeys(
        _rolled_back(session, personality_id), VersionMark.ROLLED_BACK
    )
    if (rival := find_rival(session, personality_id)) is not None:
        marked[rival.id] = VersionMark.COMPARED
    return marked | {id_of(read_alias(session, personality_id).version): VersionMark.CHAMPION}


def _rolled_back(session: Session, personality_id: int) -> set[int]:
    """Return former champions that an older version or the base replaced, while their own base answered."""
    answered = select(BaseUseRow.revision).where(BaseUseRow.begun_at <= AliasMoveRow.moved_at)
    in_use = answered.order_by(BaseUseRow.id.desc()).limit(1).scalar_subquery()
    moves = (
        select(AliasMoveRow.from_version_id, AliasMoveRow.to_version_id, VersionRow.base_revision != in_use)
        .outerjoin(VersionRow, VersionRow.id == AliasMoveRow.from_version_id)
        .where(AliasMoveRow.personality_id == personality_id, AliasMoveRow.alias == CHAMPION)
        .order_by(AliasMoveRow.id)
    )
    found: set[int] = set()
    for before, after, is_of_other_base in session.execute(moves):
        found.discard(after)  # it got another chance
        if before is not None and (after or 0) < before and not is_of_other_base:
            found.add(before)
    return found


@dataclass(frozen=True)
class Week:
    """A week of members' feedback, and the versions that came of it."""

    begins: datetime
    ends: datetime
    counts: FeedbackCounts
    """Numbers of what counts and was said this week."""
    liked: tuple[Effect, ...]
    """Traits that members like, by all votes so far, the surest first."""
    made: tuple[Version, ...]
    """Versions made this week, oldest first."""
    was_promoted: bool
    """True if the champion changed this week."""
    champion: str
    """The name of the version in use, or of the base."""
    rival: Version | None
    newest: Version | None
    """The newest version since the champion."""
    first_choices_left: int | None
    """Number of choices that the first round should still have; None once it made a version."""

    @property
    def is_empty(self) -> bool:
        """True if nothing happened."""
        return not (self.counts.total or self.made or self.was_promoted)


def week_trigger() -> BaseTrigger:
    trigger = parse_schedule("the end of a week", WEEK_ENDS)
    assert trigger is not None
    return trigger


def read_week(session: Session, personality_id: int, settings: Settings) -> Week:
    """Return the last full week; taste, rival and choices left are those of now."""
    ends = week_trigger().get_next_fire_time(None, database_now(session) - WEEK + timedelta(microseconds=1))
    begins = ends - WEEK
    taste = learn_taste(session, personality_id, settings)
    champion = read_alias(session, personality_id).version
    made = select(VersionRow).where(
        VersionRow.personality_id == personality_id, VersionRow.created_at >= begins, VersionRow.created_at < ends
    )
    moves = select(AliasMoveRow).where(
        AliasMoveRow.personality_id == personality_id,
        AliasMoveRow.alias == CHAMPION,
        AliasMoveRow.moved_at >= begins,
        AliasMoveRow.moved_at < ends,
    )
    return Week(
        begins=begins,
        ends=ends,
        counts=taste.opinions.between(begins, ends).counts,
        liked=tuple(likings(taste)),
        made=tuple(read_all(session, Version, made.order_by(VersionRow.number))),
        was_promoted=any_row(session, moves),
        champion=name_of(champion),
        rival=find_rival(session, personality_id),
        newest=newest_after(session, personality_id, champion),
        first_choices_left=first_choices_left(session, personality_id),
    )


@dataclass(frozen=True)
class AlertFacts:
    """The database's part of alerts about one personality."""

    personality_id: int
    name: str
    failed_round: rounds.Round | None
    """The last finished round, if it failed or was interrupted."""
    quarantined_votes: int
    """Number of votes in quarantines that no admin has decided on, without withdrawn ones."""


def read_facts(session: Session) -> list[AlertFacts]:
    """Return the facts about each personality."""
    return [
        AlertFacts(
            p.id, p.name, _failed_round(session, p.id), sum(q.remaining for q in open_quarantines(session, [p.id]))
        )
        for p in list_personalities(session)
    ]


def _failed_round(session: Session, personality_id: int) -> rounds.Round | None:
    finished = select(RoundRow).where(RoundRow.personality_id == personality_id, RoundRow.status.not_in(rounds.OPEN))
    last = read_first(session, rounds.Round, finished.order_by(RoundRow.id.desc()))
    return last if last and last.status in (RoundStatus.FAILED, RoundStatus.INTERRUPTED) else None
