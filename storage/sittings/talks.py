"""Talks of the console's playground: questions, and the answers that versions gave to each.

A talk is named by the ids of the answers that it continued from, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from storage.database.tables import ReplyRow
from storage.emoji import DISLIKE, LIKE, THUMBS
from storage.insights.answers import in_talks_of
from storage.members import note_members
from storage.releases.versions import names_by_id
from storage.sittings.sittings import Home
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events, meanings, votes_by


@dataclass(frozen=True)
class TalkAnswer:
    id: int
    version: str
    text: str
    vote: Vote | None

    @property
    def thumbs(self) -> dict[str, bool]:
        """{thumb: whether the person gave it}"""
        return {LIKE: self.vote is Vote.UP, DISLIKE: self.vote is Vote.DOWN}


@dataclass(frozen=True)
class Exchange:
    question: str
    answers: tuple[TalkAnswer, ...]
    chosen: TalkAnswer
    """The answer that the talk continued from."""


def read_talk(session: Session, personality_id: int, user_id: int, chosen_ids: Sequence[int]) -> list[Exchange]:
    """Return the exchanges of the person's talk, without deleted answers and other people's."""
    names = names_by_id(session, personality_id)
    theirs = _of(personality_id, user_id).order_by(ReplyRow.id)
    chosen = session.scalars(theirs.where(ReplyRow.id.in_(chosen_ids))).all()
    # All answers to one question have its request.
    replies = session.scalars(theirs.where(ReplyRow.request_id.in_([one.request_id for one in chosen]))).all()
    votes = votes_by(session, user_id, [reply.id for reply in replies])
    answers = {one.id: TalkAnswer(one.id, names[one.version_id], one.answer, votes.get(one.id)) for one in replies}
    return [
        Exchange(
            question=reply.messages[-1]["content"],
            answers=tuple(answers[one.id] for one in replies if one.request_id == reply.request_id),
            chosen=answers[reply.id],
        )
        for reply in chosen
    ]


def turn_thumb(session: Session, personality_id: int, user_id: int, reply_id: int, emoji: str, *, home: Home) -> bool:
    """Set the person's thumb on their answer in place of the other one, or take it back if it is there.

    Return False if the answer was deleted or is another person's.
    """
    if session.scalar(_of(personality_id, user_id).where(ReplyRow.id == reply_id)) is None:
        return False
    guild_id, joined_at = home
    note_members(session, guild_id, {user_id: joined_at})
    is_back = votes_by(session, user_id, [reply_id]).get(reply_id) is meanings(session)[emoji]
    both = ((one, one == emoji and not is_back) for one in THUMBS)
    append_events(session, [VoteEvent(reply_id, Thumb(0, user_id, one), added) for one, added in both])
    return True


def _of(personality_id: int, user_id: int) -> Select[ReplyRow]:
    return select(ReplyRow).where(ReplyRow.personality_id == personality_id, in_talks_of(user_id))
