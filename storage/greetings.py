"""Who was told, once, what is kept of them."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.database.tables import GreetingRow


def greet(session: Session, user_id: int) -> bool:
    """Note that the member is told; False where they were told before, or are at this moment."""
    if session.get(GreetingRow, user_id) is not None:
        return False
    try:
        with session.begin_nested():
            session.add(GreetingRow(user_id=user_id))
    except IntegrityError:
        return False
    return True


def take_back_greeting(session: Session, user_id: int) -> None:
    """Note that Discord did not take the notice, so that the next message brings it."""
    session.execute(delete(GreetingRow).where(GreetingRow.user_id == user_id))
