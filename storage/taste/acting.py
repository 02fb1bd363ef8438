"""Members' taste acts on a personality: admins switch it off and on, and people are told once when it begins."""

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
    """The taste chooses which of several begun answers is finished."""
    TEACHING = "teaching"
    """The base's examples and the rounds follow the taste."""


TOLD = {TasteRole.CHOOSING: PersonalityRow.told_of_choosing, TasteRole.TEACHING: PersonalityRow.told_of_teaching}


def switch_taste(session: Session, personality_id: int, *, on: bool) -> bool:
    """Switch the taste's effect on the personality on or off; return False if that changes nothing."""
    switched = update(PersonalityRow).where(
        PersonalityRow.id == personality_id, PersonalityRow.follows_taste.is_not(on)
    )
    return changed_rows(session.execute(switched.values(follows_taste=on))) == 1


def untold_roles(
    session: Session, personality_id: int, taste: LearnedTaste, settings: Settings
) -> list[OutboxMessage[TasteRole]]:
    """Return the present effect of the taste that people have not been told of; that it teaches includes the other."""
    chooses = taste.may_choose and settings.generation.candidates > 1
    teaches = taste.may_teach and bool(settings.generation.examples or settings.pairs.ranked_prompts)
    told = session.execute(
        select(*TOLD.values()).where(PersonalityRow.id == personality_id, PersonalityRow.follows_taste)
    ).first()
    if told is None or told.told_of_teaching:
        return []
    acting = ((TasteRole.TEACHING, teaches), (TasteRole.CHOOSING, chooses and not told.told_of_choosing))
    due = [role for role, acts in acting if acts][:1]
    return [OutboxMessage(role, personality_id, TOLD[role]) for role in due]
