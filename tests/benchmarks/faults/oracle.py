"""What must hold once the bot has recovered.

Every thumb on Discord is in the database, and no answer hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from storage.conversations.replies import find_reply_ids
from storage.database.database import Database
from storage.database.enums import Outcome
from storage.database.tables import AliasMoveRow, ReplyMessageRow, ReplyRow
from storage.votes.votes import Thumb, Vote, current_thumbs, meanings, votes_on
from tests.benchmarks.faults.crowd import Crowd

PATIENCE_S = 60.0
POLL_S = 0.2


async def recovered(
    database: Database, crowd: Crowd, is_there: Callable[[], bool], patience_s: float = PATIENCE_S
) -> tuple[float, list[str]]:
    """Wait until nothing is lost, at most `patience_s`; return how long it took and what is missing then."""
    began_s = time.perf_counter()
    while True:
        lost = await asyncio.to_thread(look, database, crowd) if is_there() else ["the bot is not back"]
        seconds = time.perf_counter() - began_s
        if not lost or seconds > patience_s:
            return seconds, lost
        await asyncio.sleep(POLL_S)


def look(database: Database, crowd: Crowd) -> list[str]:
    """Return what the database lacks of Discord's truth, in words; nothing when all is well."""
    thumbs = crowd.thumbs()
    try:
        with database.snapshot() as session:
            return [*_votes_missing(session, thumbs), *_hanging(session)]
    except SQLAlchemyError as error:
        return [f"the database does not answer: {str(error).splitlines()[0]}"]


def _votes_missing(session: Session, thumbs: dict[int, frozenset[Thumb]]) -> list[str]:
    reply_ids = find_reply_ids(session, thumbs.keys())
    stored = current_thumbs(session, set(reply_ids.values()))
    found = []
    for message_id, expected in thumbs.items():
        if message_id not in reply_ids:
            if expected:
                found.append(f"message {message_id} carries no reply, and {len(expected)} votes stand under it")
            continue
        held = {one for one in stored if one.message_id == message_id}
        if held != expected:
            found.append(f"message {message_id}: {len(expected - held)} votes missing, {len(held - expected)} too many")
        elif votes_on(session, reply_ids[message_id]) != _counted(session, reply_ids[message_id], stored):
            found.append(f"message {message_id}: its votes are counted wrongly")
    return found


def _counted(session: Session, reply_id: int, stored: set[Thumb]) -> dict[int, Vote]:
    """Count by hand what each member says of a reply: one kind of thumb, or nothing."""
    ids = set(session.scalars(select(ReplyMessageRow.message_id).where(ReplyMessageRow.reply_id == reply_id)))
    said: dict[int, set[Vote]] = {}
    known = meanings(session)
    for one in stored:
        vote = known.get(one.emoji)
        if one.message_id in ids and vote is not None:
            said.setdefault(one.user_id, set()).add(vote)
    return {user_id: next(iter(votes)) for user_id, votes in said.items() if len(votes) == 1}


def _hanging(session: Session) -> list[str]:
    streaming = session.scalars(select(ReplyRow.id).where(ReplyRow.outcome == Outcome.STREAMING)).all()
    return [f"reply {reply_id} never ended" for reply_id in streaming]


def is_unbroken(session: Session) -> bool:
    """Return whether each alias moved from where it stood, one generation after another."""
    moves = session.scalars(select(AliasMoveRow).order_by(AliasMoveRow.id)).all()
    standing: dict[tuple[int, str], int | None] = {}
    for move in moves:
        key = (move.personality_id, move.alias)
        if standing.get(key) != move.from_version_id:
            return False
        standing[key] = move.to_version_id
    return True
