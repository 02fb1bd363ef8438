"""Holds bursts of votes back before anything is decided by them."""

from __future__ import annotations

from storage.database.database import Database
from storage.settings.sections import VoteSettings
from storage.votes.quarantines import hold_back, new_bursts


async def hold_back_bursts(database: Database, personality_id: int, settings: VoteSettings) -> bool:
    """Look for bursts among the votes that count; return whether votes were held back."""
    held = False
    for burst in await database.read(new_bursts, personality_id, settings):
        # One at a time: members' votes are stored in between, however many there are.
        held |= bool(await database.run(hold_back, personality_id, [burst]))
    return held
