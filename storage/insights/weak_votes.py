"""Weak votes for people to see: those of one member, and those on one answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, exists, func, literal, select
from sqlalchemy.orm import Session, aliased

from storage.conversations.replies import FINISHED_WHOLE, message_links
from storage.database.enums import Origin, WeakVote
from storage.database.rows import any_row
from storage.database.tables import FollowUpRow, OptOutRow, PersonalityRow, ReplyRow, VoteEventRow
from storage.settings.sections import Settings
from storage.votes.follow_ups import may_teach
from storage.votes.votes import votes_by

_AGAIN = aliased(ReplyRow)
"""Another answer to the same question."""


class WeakUse(StrEnum):
    """Whether a weak vote counts in what is learned of people's likings, and why not."""

    COUNTS = "counts"
    REPLACED = "replaced"
    """By a vote of the same member on the same answer."""
    ONCE_REPLACED = "once replaced"
    """By such a vote, which was withdrawn: what the votes explain does not come back."""
    OPTED_OUT = "opted out"
    SWITCHED_OFF = "switched off"


@dataclass(frozen=True)
class WeakVoteOutcome:
    reply_id: int
    kind: WeakVote
    answer: str
    link: str | None
    given_at: datetime
    personality: str
    use: WeakUse


def weak_votes_by(
    session: Session, user_id: int, settings: Settings, reply_ids: Collection[int] | None = None
) -> list[WeakVoteOutcome]:
    """Return what a member did after answers, newest first; with `reply_ids`, only after these."""
    has_opted_out = session.get(OptOutRow, user_id) is not None
    rows: list[Row[*tuple[Any, ...]]] = []
    for query in (_follow_ups(user_id, settings), _replaced(user_id)):
        rows += session.execute(query if reply_ids is None else query.where(ReplyRow.id.in_(reply_ids))).all()
    found = [row.id for row in rows]
    links = message_links(session, select(ReplyRow.id).where(ReplyRow.id.in_(found)))
    standing = votes_by(session, user_id, found)
    outcomes = [
        WeakVoteOutcome(
            reply_id=row.id,
            kind=row.said or WeakVote.ASKED_AGAIN,
            answer=row.answer,
            link=links.get(row.id),
            given_at=row.given_at,
            personality=row.name,
            use=WeakUse.OPTED_OUT if has_opted_out else _use(row, settings, has_vote=row.id in standing),
        )
        for row in rows
    ]
    return sorted(outcomes, key=lambda one: (one.given_at, one.reply_id), reverse=True)


def _use(row: Row[*tuple[Any, ...]], settings: Settings, *, has_vote: bool) -> WeakUse:
    is_read = row.may_teach and row.said in settings.votes.weak if row.said else True
    if not is_read or not settings.privacy.learn_from_reactions:
        return WeakUse.SWITCHED_OFF
    if has_vote:
        return WeakUse.REPLACED
    # As in storage/taste/evidence.py: a 🔁 that counts by itself gives way only to a vote that stands.
    is_learned = (row.said or WeakVote.ASKED_AGAIN) in settings.votes.weak
    return WeakUse.ONCE_REPLACED if row.has_voted and is_learned else WeakUse.COUNTS


def _follow_ups(user_id: int, settings: Settings) -> Select[*tuple[Any, ...]]:
    """Select what a member said after answers to them."""
    told = FollowUpRow.said, FollowUpRow.said_at.label("given_at"), may_teach(settings).label("may_teach")
    rows = _answers(user_id, *told).join(FollowUpRow, FollowUpRow.reply_id == ReplyRow.id)
    return rows.where(ReplyRow.author_id == user_id, FollowUpRow.said.is_not(None))


def _replaced(user_id: int) -> Select[*tuple[Any, ...]]:
    """Select the answers that a member asked to be replaced."""
    rows = _answers(user_id, literal(None).label("said"), func.min(_AGAIN.created_at).label("given_at"))
    return rows.join(_AGAIN, _is_again()).where(_AGAIN.author_id == user_id).group_by(ReplyRow.id, PersonalityRow.name)


def _answers(user_id: int, *told: Any) -> Select[*tuple[Any, ...]]:
    has_voted = exists().where(VoteEventRow.reply_id == ReplyRow.id, VoteEventRow.user_id == user_id)
    rows = select(ReplyRow.id, ReplyRow.answer, PersonalityRow.name, has_voted.label("has_voted"), *told)
    return rows.join(PersonalityRow, PersonalityRow.id == ReplyRow.personality_id)


def _is_again() -> ColumnElement[bool]:
    """Return whether `_AGAIN` answers the same question as a whole answer before it."""
    return and_(
        ReplyRow.source_message_id == _AGAIN.source_message_id,
        ReplyRow.prompt_digest == _AGAIN.prompt_digest,
        ReplyRow.personality_id == _AGAIN.personality_id,
        ReplyRow.id < _AGAIN.id,
        ReplyRow.outcome.in_(FINISHED_WHOLE),
        ReplyRow.origin == Origin.CHAT,
        _AGAIN.origin == Origin.CHAT,
    )


def weak_votes_on(session: Session, reply_id: int) -> tuple[WeakVote, ...]:
    """Return what people did after an answer, whether or not it counts."""
    said = session.scalar(select(FollowUpRow.said).where(FollowUpRow.reply_id == reply_id))
    again = select(ReplyRow.id).join(_AGAIN, _is_again()).where(ReplyRow.id == reply_id)
    return (*([said] if said else []), *([WeakVote.ASKED_AGAIN] if any_row(session, again) else []))
