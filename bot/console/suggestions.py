"""Better answers that a visitor of the console writes."""

from __future__ import annotations

from sqlalchemy.orm import Session

from storage.database.enums import Basis
from storage.members import DIRECT, note_members
from storage.votes.corrections import suggest
from storage.votes.weights import DISCORD_EPOCH

ON_THIS_MACHINE = (DIRECT, DISCORD_EPOCH)
"""The home of whoever uses the operator's machine, so that what they say counts in full."""


def suggest_as_visitor(session: Session, reply_id: int, user_id: int, text: str, basis: Basis | None) -> int:
    """Store a checked suggestion that counts in full, and return its id; raises CorrectionRefused."""
    guild_id, joined_at = ON_THIS_MACHINE
    note_members(session, guild_id, {user_id: joined_at})
    return suggest(session, reply_id, user_id, text, basis)
