"""Corrections: better answers that members suggest; only a member's latest one per reply is valid."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.replies import lock_replies
from storage.database.columns import utc_now
from storage.database.enums import Basis
from storage.database.rows import from_row
from storage.database.tables import CorrectionRow, ReplyRow
from storage.errors import CorrectionRefused
from storage.settings.sections import CorrectionSettings


@dataclass(frozen=True)
class Correction:
    id: int
    reply_id: int
    author_id: int
    text: str
    basis: Basis | None
    withdrawn: bool


def check_correction(text: str, answer: str, settings: CorrectionSettings) -> str:
    """Return the text as it will be stored; raises CorrectionRefused, whose message is for the author."""
    text = text.replace("\0", "").strip()
    if not settings.min_chars <= len(text) <= settings.max_chars:
        raise CorrectionRefused(
            f"A suggested answer needs {settings.min_chars} to {settings.max_chars} characters; yours has {len(text)}."
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
    for earlier in _standing(session, reply_id, author_id):
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


def standing_correction(session: Session, reply_id: int, author_id: int) -> Correction | None:
    """Return the author's valid correction of the reply, or None."""
    rows = _standing(session, reply_id, author_id)
    return _correction(rows[-1]) if rows else None


def latest_correction_in_channel(session: Session, channel_id: int, author_id: int) -> Correction | None:
    """Return the author's newest valid correction in the channel, or None."""
    row = session.scalar(
        select(CorrectionRow)
        .join(ReplyRow)
        .where(
            ReplyRow.channel_id == channel_id,
            CorrectionRow.author_id == author_id,
            CorrectionRow.withdrawn_at.is_(None),
        )
        .order_by(CorrectionRow.id.desc())
        .limit(1)
    )
    return _correction(row) if row else None


def _standing(session: Session, reply_id: int, author_id: int) -> list[CorrectionRow]:
    return list(
        session.scalars(
            select(CorrectionRow)
            .where(
                CorrectionRow.reply_id == reply_id,
                CorrectionRow.author_id == author_id,
                CorrectionRow.withdrawn_at.is_(None),
            )
            .order_by(CorrectionRow.id)
        )
    )


def _correction(row: CorrectionRow) -> Correction:
    return from_row(Correction, row, withdrawn=row.withdrawn_at is not None)
