"""Members' choices between two blind answers to one question: the first, the second, or about the same."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from storage.conversations.replies import lock_replies
from storage.database.tables import ComparisonRow
from storage.members import note_members


class Better(StrEnum):
    FIRST = "first"
    SECOND = "second"
    SAME = "same"


def compare(
    session: Session,
    first_id: int,
    second_id: int,
    user_id: int,
    better: Better,
    *,
    home: tuple[int, datetime] | None = None,
    by_admin: bool = False,
) -> Better | None:
    """Store the member's choice in place of an earlier one; the same choice again withdraws it.

    `home` is their server and the time when they joined it. Return the choice that counts now. Raises LookupError if
    one of the answers was deleted.
    """
    if home is not None:
        note_members(session, home[0], {user_id: home[1]})  # before any reply, as other votes do
    if lock_replies(session, {first_id, second_id}) != {first_id, second_id}:
        raise LookupError("one of the answers was deleted")
    better_id = {Better.FIRST: first_id, Better.SECOND: second_id, Better.SAME: None}[better]
    said = session.get(ComparisonRow, (first_id, second_id, user_id))
    if said is not None and said.better_id == better_id:
        session.delete(said)
        return None
    session.merge(
        ComparisonRow(first_id=first_id, second_id=second_id, user_id=user_id, better_id=better_id, by_admin=by_admin)
    )
    return better
