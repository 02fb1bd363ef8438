"""Announcements: moves of the champion, versions that the schedule made, and those that are ready or dropped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import CHAMPION, GateVerdict, PairSource, Split
from storage.database.rows import any_row, count_rows, from_row
from storage.database.tables import AliasMoveRow, ReplyRow, RoundPairRow, RoundRow, VersionRow, VoteEventRow
from storage.operations.outbox import OutboxMessage
from storage.releases.before_after import BeforeAfter, compare_answers, compare_with_before
from storage.releases.contests import find_rival
from storage.releases.versions import AliasMove, Version, failed_checks, find_version, id_of, line_of_parents
from storage.votes.votes import not_quarantined
from storage.wording import SCHEDULE

MAX_AGE = timedelta(days=1)
"""Oldest news to announce: older news happened while the bot was offline for too long."""
Announceable = AliasMove | Version
"""A version is news when a scheduled round made it for people to compare, and when their choices have decided."""


@dataclass(frozen=True)
class PromotionAnnouncement:
    """A move of the champion, and the learning between the version before and the one after it."""

    move: AliasMove
    before: Version | None
    after: Version | None
    is_return: bool
    """True if the version after it was champion before, or is the base."""
    rounds: int
    """Number of rounds between the two, in the new version's line of parents."""
    pairs: dict[PairSource, int]
    """Number of pairs that these rounds trained on, by source."""
    votes: int
    """Number of votes while the version before was champion, without quarantined ones."""
    failed_checks: list[str]


Announcement = PromotionAnnouncement | Version


def unannounced(session: Session, personality_id: int) -> list[OutboxMessage[Announceable]]:
    """Return the recent moves, decisions and new versions that were not announced yet, oldest first."""
    since = utc_now() - MAX_AGE
    moves = session.scalars(
        select(AliasMoveRow)
        .where(
            AliasMoveRow.personality_id == personality_id,
            AliasMoveRow.alias == CHAMPION,
            AliasMoveRow.announced.is_(False),
            AliasMoveRow.moved_at >= since,
        )
        .order_by(AliasMoveRow.id)
    )
    decided = session.scalars(
        select(VersionRow)
        .where(
            VersionRow.personality_id == personality_id,
            VersionRow.announced.is_(False),
            VersionRow.decided_at >= since,
        )
        .order_by(VersionRow.id)
    )
    made = (
        select(VersionRow)
        .join(RoundRow, RoundRow.id == VersionRow.round_id)
        .where(
            VersionRow.id == id_of(find_rival(session, personality_id)),
            VersionRow.announced.is_(False),
            VersionRow.created_at >= since,
            RoundRow.requested_by == SCHEDULE,  # whoever asks for a round sees its end
        )
    )
    news: list[OutboxMessage[Announceable]] = [
        OutboxMessage(from_row(AliasMove, row), row.id, AliasMoveRow.announced) for row in moves
    ]
    versions = [*decided, *session.scalars(made)]
    news += [OutboxMessage(from_row(Version, row), row.id, VersionRow.announced) for row in versions]
    return sorted(news, key=lambda entry: _happened_at(entry.content))


def _happened_at(news: Announceable) -> datetime:
    if isinstance(news, AliasMove):
        return news.moved_at
    return news.decided_at or news.created_at


def prepare_announcement(session: Session, news: Announceable) -> Announcement:
    if isinstance(news, Version):
        return news
    before, after = find_version(session, news.from_version_id), find_version(session, news.to_version_id)
    round_ids = _rounds_between(session, before, after)
    return PromotionAnnouncement(
        move=news,
        before=before,
        after=after,
        is_return=after is None or _answered_before(session, news),
        rounds=len(round_ids),
        pairs=_trained_pairs(session, round_ids),
        votes=_votes_since_last_move(session, news),
        failed_checks=failed_checks(session, after) if after and news.overrides_gate else [],
    )


def find_comparison(session: Session, announcement: Announcement) -> BeforeAfter | None:
    """Return answers before and after a version that was made or promoted, or that an admin may promote now."""
    if isinstance(announcement, Version):
        was_dropped = announcement.verdict is GateVerdict.FAIL
        return None if was_dropped else compare_with_before(session, announcement)
    return None if announcement.is_return else compare_answers(session, announcement.before, announcement.after)


def _answered_before(session: Session, move: AliasMove) -> bool:
    earlier = select(AliasMoveRow.id).where(
        AliasMoveRow.personality_id == move.personality_id,
        AliasMoveRow.alias == move.alias,
        AliasMoveRow.generation < move.generation,
        AliasMoveRow.to_version_id == move.to_version_id,
    )
    return any_row(session, earlier)


def _rounds_between(session: Session, before: Version | None, after: Version | None) -> list[int]:
    """Return the rounds that made `after` and its parents, back to `before` or to the base."""
    line = takewhile(lambda version: version != before, line_of_parents(session, id_of(after)))
    return [version.round_id for version in line if version.round_id is not None]


def _trained_pairs(session: Session, round_ids: list[int]) -> dict[PairSource, int]:
    """Count the rounds' pairs by source, the most frequent first."""
    counted = (
        select(RoundPairRow.source, func.count())
        .where(RoundPairRow.round_id.in_(round_ids), RoundPairRow.split == Split.TRAIN)
        .group_by(RoundPairRow.source)
        .order_by(func.count().desc(), RoundPairRow.source)
    )
    return {row[0]: row[1] for row in session.execute(counted)}


def _votes_since_last_move(session: Session, move: AliasMove) -> int:
    """Count the votes while the version before the move was champion, without quarantined ones."""
    started = select(func.max(AliasMoveRow.moved_at)).where(
        AliasMoveRow.personality_id == move.personality_id,
        AliasMoveRow.alias == move.alias,
        AliasMoveRow.generation < move.generation,
    )
    votes = (
        select(VoteEventRow.reply_id, VoteEventRow.user_id)
        .join(ReplyRow)
        .where(
            ReplyRow.personality_id == move.personality_id,
            VoteEventRow.added,
            VoteEventRow.created_at <= move.moved_at,
        )
        .distinct()
    )
    if started_at := session.scalar(started):
        votes = votes.where(VoteEventRow.created_at > started_at)
    return count_rows(session, not_quarantined(votes.subquery()))
