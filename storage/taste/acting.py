"""What people like acts on a personality: admins switch it off and on, and people are told once when it begins."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.database.rows import changed_rows
from storage.database.tables import PersonalityRow
from storage.operations.outbox import OutboxMessage
from storage.settings.sections import Settings
from storage.taste.learning import LearnedTaste


class TasteRole(StrEnum):
    CHOOSING = "choosing"
    """Of several answers that are begun, it chooses the one that is finished."""
    TEACHING = "teaching"
    """Examples for the base and rounds follow it."""


TOLD = {TasteRole.CHOOSING: PersonalityRow.told_of_choosing, TasteRole.TEACHING: PersonalityRow.told_of_teaching}


def switch_taste(session: Session, personality_id: int, *, on: bool) -> bool:
    """Let what people like act on the personality, or not; return False if that is so already."""
    switched = update(PersonalityRow).where(
        PersonalityRow.id == personality_id, PersonalityRow.follows_taste.is_not(on)
    )
    return changed_rows(session.execute(switched.values(follows_taste=on))) == 1


def untold_roles(
    session: Session, personality_id: int, taste: LearnedTaste, settings: Settings
) -> list[OutboxMessage[TasteRole]]:
    """Return how the taste acts now that people have not been told."""
    acting = {
        TasteRole.CHOOSING: taste.may_choose and settings.generation.candidates > 1,
        TasteRole.TEACHING: taste.may_teach and bool(settings.generation.examples or settings.pairs.ranked_prompts),
    }
    told = session.execute(
        select(*TOLD.values()).where(PersonalityRow.id == personality_id, PersonalityRow.follows_taste)
    ).first()
    if told is None:
        return []
    return [
        OutboxMessage(role, personality_id, mark)
        for (role, mark), is_told in zip(TOLD.items(), told, strict=True)
        if acting[role] and not is_told
    ]
