"""Why members dislike answers: the cause that they give with a 👎, and what it keeps out of training."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.replies import lock_replies
from storage.database.enums import Cause
from storage.database.tables import ReplyRow, VoteCauseRow
from storage.votes.votes import Vote, votes_on


def give_cause(session: Session, reply_id: int, user_id: int, cause: Cause) -> bool | None:
    """Note what is wrong with an answer in a member's eyes, in place of what they said before.

    Return whether their 👎 stands under it, without which the cause counts for nothing; None where the answer is gone.
    """
    if not lock_replies(session, {reply_id}):
        return None
    session.merge(VoteCauseRow(reply_id=reply_id, user_id=user_id, cause=cause))
    session.flush()
    return votes_on(session, reply_id).get(user_id) is Vote.DOWN


def given_causes(session: Session, personality_id: int) -> dict[tuple[int, int], Cause]:
    """Return the cause by reply and user, whatever the vote says now."""
    rows = session.execute(
        select(VoteCauseRow.reply_id, VoteCauseRow.user_id, VoteCauseRow.cause)
        .join(ReplyRow)
        .where(ReplyRow.personality_id == personality_id)
    )
    return {(reply_id, user_id): cause for reply_id, user_id, cause in rows}


def count_causes(session: Session, personality_id: int) -> dict[Cause, int]:
    """Count the 👎 that stand with a cause, the most frequent first."""
    causes = given_causes(session, personality_id)
    votes = {reply_id: votes_on(session, reply_id) for reply_id in {reply_id for reply_id, _ in causes}}
    found = Counter(cause for (reply_id, user_id), cause in causes.items() if votes[reply_id].get(user_id) is Vote.DOWN)
    return dict(found.most_common())


def wrong_facts(session: Session, personality_id: int) -> set[tuple[int, int]]:
    """Return reply and user of each answer that a member calls wrong in its facts.

    A 👎 for that asks for knowledge, not for another behaviour: training on it would teach facts that go stale.
    """
    causes = given_causes(session, personality_id)
    return {key for key, cause in causes.items() if cause is Cause.WRONG_FACT}
