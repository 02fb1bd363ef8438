"""Facts for `/version status`, `list` and `show`: versions, the next round, and people's choices so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, union_all
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import LAST_GOOD
from storage.database.tables import ComparisonRow, ReplyRow, VoteEventRow
from storage.insights.answering_now import AnsweringNow, read_answering_now
from storage.operations.token_spend import Spend, spent_on
from storage.releases.before_after import BeforeAfter, compare_with_before
from storage.releases.contests import LATELY, Contest, count_compared, read_contest
from storage.releases.pair_share import first_choices_left
from storage.releases.versions import (
    Alias,
    AliasMove,
    Version,
    failed_checks,
    find_version,
    list_versions,
    moves_of,
    read_alias,
    version_named,
)
from storage.runtime import processes
from storage.settings.sections import Settings
from storage.taste.gain import CandidateGain, read_gain
from storage.training import rounds
from storage.training.feedback import Outlook, look_ahead
from storage.votes.votes import Tally, VersionVotes, read_version_votes

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class VersionList:
    versions: list[Version]
    """The versions, newest first."""
    champion: Alias
    contest: Contest | None
    """The comparison of the champion with a newer version."""
    votes: VersionVotes
    now: AnsweringNow


@dataclass(frozen=True)
class VersionDetails:
    version: Version
    parent: Version | None
    round: rounds.Round | None
    """The round that made it; None if it was imported."""
    votes: Tally
    """Votes on its answers."""
    moves: list[AliasMove]
    failed_checks: list[str]
    contest: Contest | None
    """The comparison of the champion with this version, while people compare it."""
    compared: BeforeAfter | None
    """Its answers beside those of the model that answered when it was made."""


def read_versions(session: Session, personality_id: int, settings: Settings) -> VersionList:
    return VersionList(
        versions=list_versions(session, personality_id),
        champion=read_alias(session, personality_id),
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
class ModelStatus:
    champion: Alias
    now: AnsweringNow
    last_good: Alias
    contest: Contest | None
    """The comparison of the champion with a newer version."""
    compared: int
    """Number of versions that people have compared with the champion."""
    said_weekly: float
    """Recent number of people's votes and choices per week."""
    first_choices_left: int
    """Number of choices that the first round should still have."""
    newest: Version | None
    """The newest version, unless it is the champion or older."""
    gain: CandidateGain | None
    outlook: Outlook
    latest_round: rounds.Round | None
    trainers: list[processes.Heartbeat]
    """The running trainers."""
    running: list[rounds.Round]
    """Running rounds of all personalities."""
    spent: Spend
    """Tokens spent on remote servers today."""


def read_model_status(session: Session, personality_id: int, settings: Settings, base_revision: str) -> ModelStatus:
    champion = read_alias(session, personality_id)
    return ModelStatus(
        champion=champion,
        now=read_answering_now(session, personality_id, settings),
        last_good=read_alias(session, personality_id, LAST_GOOD),
        contest=read_contest(session, personality_id, settings.votes),
        compared=count_compared(session, personality_id),
        said_weekly=count_said_weekly(session, personality_id),
        first_choices_left=first_choices_left(session, personality_id),
        newest=newest_after(session, personality_id, champion.version),
        gain=read_gain(session, personality_id, settings.votes),
        outlook=look_ahead(session, personality_id, settings, base_revision),
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
    """Return the newest version, unless it is the champion or older."""
    newest = next(iter(list_versions(session, personality_id)), None)
    return newest if newest and newest.number > (champion.number if champion else 0) else None
