"""Members' corrections, and the causes of a 👎. A wrong fact keeps the vote out of training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from storage.conversations.replies import lock_replies
from storage.database.columns import utc_now
from storage.database.enums import Basis, Cause, Origin
from storage.database.rows import read_first
from storage.database.tables import CorrectionRow, ReplyRow, VoteCauseRow
from storage.errors import CorrectionRefused
from storage.votes.votes import Vote, votes_on

MIN_SUGGESTED_CHARS = 2
MAX_SUGGESTED_CHARS = 4_000
"""The most that a form on Discord accepts."""


def give_cause(session: Session, reply_id: int, user_id: int, cause: Cause) -> bool | None:
    """Store the member's cause, in place of their earlier one.

    Return whether it counts: with their 👎 under the answer, or if the answer takes none; None if it is deleted.
    """
    reply = session.get(ReplyRow, reply_id, with_for_update={"key_share": True})
    if reply is None:
        return None
    session.merge(VoteCauseRow(reply_id=reply_id, user_id=user_id, cause=cause))
    session.flush()
    return reply.origin is Origin.FIXED or votes_on(session, reply_id).get(user_id) is Vote.DOWN


def cause_given_by(session: Session, reply_id: int, user_id: int) -> Cause | None:
    """Return the cause that the member gave for the answer, or None."""
    row = session.get(VoteCauseRow, (reply_id, user_id))
    return row.cause if row else None


def given_causes(
    session: Session, personality_id: int, reply_ids: Collection[int] | None = None
) -> dict[tuple[int, int], Cause]:
    """Return {(reply, user): cause}, even if their 👎 is gone; of these answers, or of all."""
    given = (
        select(VoteCauseRow.reply_id, VoteCauseRow.user_id, VoteCauseRow.cause)
        .join(ReplyRow)
        .where(ReplyRow.personality_id == personality_id)
    )
    rows = session.execute(given if reply_ids is None else given.where(VoteCauseRow.reply_id.in_(reply_ids)))
    return {(reply_id, user_id): cause for reply_id, user_id, cause in rows}


def count_causes(session: Session, personality_id: int) -> dict[Cause, int]:
    """Count the 👎 with a cause, most frequent cause first; withdrawn votes do not count."""
    causes = given_causes(session, personality_id)
    votes = {reply_id: votes_on(session, reply_id) for reply_id in {reply_id for reply_id, _ in causes}}
    found = Counter(cause for (reply_id, user_id), cause in causes.items() if votes[reply_id].get(user_id) is Vote.DOWN)
    return dict(found.most_common())


def wrong_facts(
    session: Session, personality_id: int, reply_ids: Collection[int] | None = None
) -> set[tuple[int, int]]:
    """Return (reply id, user id) of each report of wrong facts, on these answers or on all.

    Such a 👎 asks for knowledge, not for another behaviour: training on it would teach facts that become outdated.
    """
    causes = given_causes(session, personality_id, reply_ids)
    return {key for key, cause in causes.items() if cause is Cause.WRONG_FACT}


@dataclass(frozen=True)
class Correction:
    id: int
    reply_id: int
    author_id: int
    text: str
    basis: Basis | None


def check_correction(text: str, answer: str) -> str:
    """Return the text as it will be stored; raises CorrectionRefused, whose message is for the author."""
    text = text.replace("\0", "").strip()
    if not MIN_SUGGESTED_CHARS <= len(text) <= MAX_SUGGESTED_CHARS:
        raise CorrectionRefused(
            "A suggested answer has {least} to {most} characters; yours has {chars}.",
            least=MIN_SUGGESTED_CHARS,
            most=MAX_SUGGESTED_CHARS,
            chars=len(text),
        )
    if text == answer.strip():
        raise CorrectionRefused("That's the answer I already gave. Change something, then send it again.")
    return text


def suggest(session: Session, reply_id: int, author_id: int, text: str, basis: Basis | None) -> int:
    """Store a checked correction, withdraw the author's earlier one, and return the id.

    Raises CorrectionRefused if the reply was deleted in the meantime.
    """
    if not lock_replies(session, [reply_id]):
        raise CorrectionRefused("That answer was just deleted, so there's nothing left to improve.")
    for earlier in session.scalars(_current(author_id).where(CorrectionRow.reply_id == reply_id)):
        earlier.withdrawn_at = utc_now()
    row = CorrectionRow(reply_id=reply_id, author_id=author_id, text=text, basis=basis)
    session.add(row)
    session.flush()
    return row.id


def withdraw(session: Session, correction_id: int, author_id: int) -> bool:
    """Withdraw the author's own correction; return False if it is not theirs or already withdrawn."""
    row = session.get(CorrectionRow, correction_id)
    if row is None or row.author_id != author_id or row.withdrawn_at is not None:
        return False
    row.withdrawn_at = utc_now()
    return True


def current_correction(session: Session, reply_id: int, author_id: int) -> Correction | None:
    """Return the author's valid correction of the reply, or None."""
    return read_first(session, Correction, _current(author_id).where(CorrectionRow.reply_id == reply_id))


def _current(author_id: int) -> Select[CorrectionRow]:
    """Select the author's corrections that were not withdrawn, newest first."""
    return (
        select(CorrectionRow)
        .where(CorrectionRow.author_id == author_id, CorrectionRow.withdrawn_at.is_(None))
        .order_by(CorrectionRow.id.desc())
    )
