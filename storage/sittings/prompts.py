"""The prompts of sittings: those added for a personality come before those of the prompt bank."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from storage.conversations.prompt_bank import PromptBank, order_by_use
from storage.database.rows import changed_rows, upsert
from storage.database.tables import OwnPromptRow, ReplyRow, SittingPairRow, SittingRow
from storage.sittings.sittings import Sitting, asked_prompts

ROWS_AT_ONCE = 1_000
"""Rows in one statement: SQLite accepts 32,766 parameters."""
USED_LATELY = 2_000
"""Newest pairs whose prompts count as used."""


@dataclass(frozen=True)
class OwnPrompts:
    texts: tuple[str, ...]
    """The prompts, newest first."""
    total: int


def add_prompts(session: Session, personality_id: int, texts: Sequence[str], added_by: str) -> int:
    """Store the prompts that are new, and return their number."""
    rows = [
        {"personality_id": personality_id, "text": text, "digest": _digest(text), "added_by": added_by}
        for text in texts
    ]
    if not rows:
        return 0
    before = _count(session, personality_id)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        session.execute(upsert(session, OwnPromptRow).values(part).on_conflict_do_nothing())
    return _count(session, personality_id) - before


def remove_prompts(session: Session, personality_id: int) -> int:
    """Remove all prompts that were added for the personality, and return their number."""
    theirs = delete(OwnPromptRow).where(OwnPromptRow.personality_id == personality_id)
    return changed_rows(session.execute(theirs))


def read_prompts(session: Session, personality_id: int, limit: int | None = None) -> OwnPrompts:
    newest = select(OwnPromptRow.text).where(OwnPromptRow.personality_id == personality_id)
    texts = session.scalars(newest.order_by(OwnPromptRow.id.desc()).limit(limit)).all()
    return OwnPrompts(tuple(texts), _count(session, personality_id))


def _count(session: Session, personality_id: int) -> int:
    theirs = OwnPromptRow.personality_id == personality_id
    return session.scalar(select(func.count(OwnPromptRow.id)).where(theirs)) or 0


def _digest(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).casefold().encode()).hexdigest()


def prompts_left(session: Session, sitting: Sitting, bank: PromptBank, rng: Random) -> list[str]:
    """Return the prompts that the person was not asked yet, in the order to use them, those of the bank last."""
    own, asked = read_prompts(session, sitting.personality_id).texts, asked_prompts(session, sitting)
    every = dict.fromkeys((*own, *(prompt.text for prompt in bank.prompts)))
    left = [prompt for prompt in every if prompt not in asked]
    return order_by_use(left, _last_asked(session, sitting.personality_id), rng, first=frozenset(own))


def _last_asked(session: Session, personality_id: int) -> dict[str, datetime]:
    """Return the time when each prompt was last used in one of the newest pairs of the personality."""
    pairs = (
        select(SittingPairRow.prompt, SittingPairRow.first_id)
        .join(SittingRow)
        .where(SittingRow.personality_id == personality_id)
        .order_by(SittingPairRow.id.desc())
        .limit(USED_LATELY)
        .subquery()
    )
    rows = session.execute(
        select(pairs.c.prompt, func.max(ReplyRow.created_at))
        .join(ReplyRow, ReplyRow.id == pairs.c.first_id)
        .group_by(pairs.c.prompt)
    )
    return dict(rows.all())
