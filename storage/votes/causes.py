"""Causes of a 👎: why members dislike answers. A wrong fact keeps the vote out of training."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.replies import lock_replies
from storage.database.enums import Cause
from storage.database.tables import ReplyRow, VoteCauseRow
from storage.votes.votes import Vote, votes_on


def give_cause(session: Session, reply_id: int, user_id: int, cause: Cause) -> bool | None:
    """Store the cause that a member gives, in place of their earlier one.

    Return whether their 👎 is under the answer, without which the cause does not count; None if the answer is deleted.
    """
    if not lock_replies(session, {reply_id}):
        return None
    session.merge(VoteCauseRow(reply_id=reply_id, user_id=user_id, cause=cause))
    session.flush()
    return votes_on(session, reply_id).get(user_id) is Vote.DOWN


def given_causes(session: Session, personality_id: int) -> dict[tuple[int, int], Cause]:
    """Return the cause by reply and user, whether or not they still have a 👎 there."""
    rows = session.execute(
        select(VoteCauseRow.reply_id, VoteCauseRow.user_id, VoteCauseRow.cause)
        .join(ReplyRow)
        .where(ReplyRow.personality_id == personality_id)
    )
    return {(reply_id, user_id): cause for reply_id, user_id, cause in rows}


def count_causes(session: Session, personality_id: int) -> dict[Cause, int]:
    """Count the 👎 with a cause, most frequent cause first; withdrawn votes do not count."""
    causes = given_causes(session, personality_id)
    votes = {reply_id: votes_on(session, reply_id) for reply_id in {reply_id for reply_id, _ in causes}}
    found = Counter(cause for (reply_id, user_id), cause in causes.items() if votes[reply_id].get(user_id) is Vote.DOWN)
    return dict(found.most_common())


def wrong_facts(session: Session, personality_id: int) -> set[tuple[int, int]]:
    """Return (reply id, user id) of each report of wrong facts.

    Such a 👎 asks for knowledge, not for another behaviour: training on it would teach facts that become outdated.
    """
    causes = given_causes(session, personality_id)
    return {key for key, cause in causes.items() if cause is Cause.WRONG_FACT}
