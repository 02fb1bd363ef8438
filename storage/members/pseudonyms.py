"""Pseudonyms for training data: a keyed hash of a Discord ID, which cannot be reversed without the key."""

from __future__ import annotations

import hmac
import re
from typing import NewType

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import NOBODY
from storage.database.tables import PseudonymKeyRow

Pseudonym = NewType("Pseudonym", int)
"""63 bits, so that it fits into an ID column; never a Discord ID."""
SOMEBODY = "@somebody"

_MENTION = re.compile(r"<@!?\d+>")


class Pseudonyms:
    """Computes the pseudonyms of users with a key that stays in the database."""

    def __init__(self, key: bytes) -> None:
        self.__key = key
        self.__known = {NOBODY: Pseudonym(NOBODY)}

    def __repr__(self) -> str:
        return "Pseudonyms(key hidden)"

    def of(self, user_id: int) -> Pseudonym:
        """Return the user's pseudonym, always the same in one database; NOBODY stays NOBODY."""
        if user_id not in self.__known:
            digest = hmac.digest(self.__key, user_id.to_bytes(8, "big"), "sha256")
            self.__known[user_id] = Pseudonym(int.from_bytes(digest[:8], "big") >> 1)
        return self.__known[user_id]


def read_pseudonyms(session: Session) -> Pseudonyms:
    """Return the pseudonyms of this database; a migration created its key."""
    return Pseudonyms(session.scalars(select(PseudonymKeyRow.key)).one())


def without_mentions(text: str) -> str:
    """Return the text without user IDs: a mention that could not be replaced by a name holds one."""
    return _MENTION.sub(SOMEBODY, text) if "<@" in text else text
