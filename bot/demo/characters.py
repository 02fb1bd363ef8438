"""The second personality of the demo, which has a channel of its own."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session

from storage.adapters.folder_store import AS_TRAINED
from storage.database.enums import Scope
from storage.personalities.bindings import BindingPlace, bind
from storage.personalities.cards import read_card_file
from storage.personalities.personalities import create_personality, find_personality

CAPTAIN = Path(__file__).with_name("captain.toml")
BY = "demo"


def move_in(session: Session, guild_id: int, channel_id: int) -> None:
    """Let the captain answer in a channel; later starts leave what people made of that."""
    name = CAPTAIN.stem
    if find_personality(session, name) is None:
        captain = create_personality(session, name, read_card_file(CAPTAIN), by=BY, guild_id=guild_id)
        bind(session, BindingPlace(Scope.CHANNEL, channel_id), captain, guild_id=guild_id, strength=AS_TRAINED, by=BY)
