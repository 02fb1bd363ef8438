"""Better answers that a visitor of the console writes, and their weight."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import discord
from sqlalchemy.orm import Session

from storage.conversations.replies import find_reply
from storage.database.columns import utc_now
from storage.database.enums import Basis
from storage.errors import CorrectionRefused
from storage.members import DIRECT, note_members
from storage.privacy.consent import basis_of_chat
from storage.votes.corrections import suggest
from storage.votes.weights import DISCORD_EPOCH

ON_THIS_MACHINE = (DIRECT, DISCORD_EPOCH)
"""The home of a visitor on the operator's machine, so that their opinions count in full."""


@dataclass(frozen=True)
class Author:
    """A visitor who judges answers."""

    user_id: int
    member: discord.Member | None
    """The visitor's membership in the server, if they signed in with Discord; None on the operator's machine."""

    @property
    def home(self) -> tuple[int, datetime]:
        """(home server, time of joining): an admin's opinions count as if given in their server."""
        return (self.member.guild.id, self.member.joined_at or utc_now()) if self.member else ON_THIS_MACHINE


def suggest_as_visitor(session: Session, reply_id: int, author: Author, text: str, basis: Basis | None) -> int:
    """Store a checked suggestion, and return its id; raises CorrectionRefused.

    `basis` is for texts written on the operator's machine. The words of a server's admin are a member's words.
    """
    reply = find_reply(session, reply_id)
    if reply is None:
        raise CorrectionRefused("That answer was just deleted, so there's nothing left to improve.")
    if author.member is not None:
        basis = basis_of_chat(session, {*reply.speakers, author.user_id})
    guild_id, joined_at = author.home
    note_members(session, guild_id, {author.user_id: joined_at})
    return suggest(session, reply_id, author.user_id, text, basis)
