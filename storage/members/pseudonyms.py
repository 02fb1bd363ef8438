"""What people are called wherever training looks: a keyed hash of their Discord id, which leads back to nobody."""

from __future__ import annotations

import hmac
import re
from typing import NewType

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import NOBODY
from storage.database.tables import PseudonymKeyRow

Pseudonym = NewType("Pseudonym", int)
"""63 bits, so that it fits where an id did; never a Discord id."""
SOMEBODY = "@somebody"

_MENTION = re.compile(r"<@!?\d+>")


class Pseudonyms:
    """Finds the pseudonyms of users; without the key, which stays in the database, nobody can go the other way."""

    def __init__(self, key: bytes) -> None:
        self.__key = key
        self.__known = {NOBODY: Pseudonym(NOBODY)}

    def __repr__(self) -> str:
        return "Pseudonyms(key hidden)"

    def of(self, user_id: int) -> Pseudonym:
        """Return the user's pseudonym, always the same on one database; who is nobody stays so."""
        if user_id not in self.__known:
            digest = hmac.digest(self.__key, user_id.to_bytes(8, "big"), "sha256")
            self.__known[user_id] = Pseudonym(int.from_bytes(digest[:8], "big") >> 1)
        return self.__known[user_id]


def read_pseudonyms(session: Session) -> Pseudonyms:
    """Return the pseudonyms of this database, whose key a migration made."""
    return Pseudonyms(session.scalars(select(PseudonymKeyRow.key)).one())


def without_mentions(text: str) -> str:
    """Return the text with nobody's id in it: Discord writes mentions of members that it cannot name as ids."""
    return _MENTION.sub(SOMEBODY, text) if "<@" in text else text
