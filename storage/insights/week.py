"""A personality's week: the members' lessons and the resulting versions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from apscheduler.triggers.base import BaseTrigger
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import CHAMPION
from storage.database.rows import database_now, read_all
from storage.database.tables import AliasMoveRow, VersionRow
from storage.insights.model_status import WEEK, newest_after
from storage.releases.contests import find_rival
from storage.releases.pair_share import first_choices_left
from storage.releases.versions import Alias, AliasMove, Version, read_alias
from storage.runtime.schedules import parse_schedule
from storage.settings.sections import Settings
from storage.taste.learning import learn_from
from storage.taste.opinions import read_taste_opinions
from storage.taste.words import Effect, likings
from storage.votes.votes import FeedbackCounts

ENDS = "0 18 * * mon"
"""The end of a week, when it is announced; a cron expression in UTC."""


@dataclass(frozen=True)
class Week:
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
    champion: Alias
    rival: Version | None
    """The version that people compare with the champion now."""
    newest: Version | None
    """The newest version, unless it is the champion or older."""
    first_choices_left: int
    """Number of choices that the first round should still have."""

    @property
    def is_empty(self) -> bool:
        """True if nothing happened."""
        return not (self.counts.total or self.made or self.was_promoted)


def week_trigger() -> BaseTrigger:
    trigger = parse_schedule("the end of a week", ENDS)
    assert trigger is not None
    return trigger


def read_week(session: Session, personality_id: int, settings: Settings) -> Week:
    """Return the last full week; taste, rival and choices left are those of now."""
    ends = week_trigger().get_next_fire_time(None, database_now(session) - WEEK + timedelta(microseconds=1))
    begins = ends - WEEK
    evidence = read_taste_opinions(session, personality_id, settings)
    taste, said = learn_from(session, personality_id, evidence), evidence.between(begins, ends)
    champion = read_alias(session, personality_id)
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
        counts=said.counts,
        liked=tuple(likings(taste)),
        made=tuple(read_all(session, Version, made.order_by(VersionRow.number))),
        was_promoted=bool(read_all(session, AliasMove, moves)),
        champion=champion,
        rival=find_rival(session, personality_id),
        newest=newest_after(session, personality_id, champion.version),
        first_choices_left=first_choices_left(session, personality_id),
    )
