"""Pairs that the operator brings from outside Discord: an answer, and a correction of it by nobody."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.replies import FinishedReply, NewReply, digest_prompt, finish_reply, start_reply
from storage.database.enums import NOBODY, Basis, Outcome
from storage.database.tables import CorrectionRow, ReplyRow
from storage.votes.corrections import suggest


@dataclass(frozen=True)
class LocalPair:
    prompt: str
    """Rendered."""
    chosen: str
    rejected: str


def add_local_pair(session: Session, personality_id: int, base_revision: str, pair: LocalPair) -> bool:
    """Add the pair unless it is there, to be trained on as said outside Discord; return whether it was new."""
    if _is_known(session, personality_id, pair):
        return False
    reply_id = start_reply(session, _as_reply(personality_id, base_revision, pair))
    finish_reply(session, reply_id, FinishedReply(answer=pair.rejected, outcome=Outcome.COMPLETE))
    suggest(session, reply_id, NOBODY, pair.chosen, Basis.LOCAL)
    return True


def _is_known(session: Session, personality_id: int, pair: LocalPair) -> bool:
    known = (
        select(CorrectionRow.id)
        .join(ReplyRow)
        .where(
            ReplyRow.personality_id == personality_id,
            ReplyRow.prompt_digest == digest_prompt(pair.prompt),
            ReplyRow.answer == pair.rejected,
            CorrectionRow.text == pair.chosen,
        )
    )
    return session.scalar(known.limit(1)) is not None


def _as_reply(personality_id: int, base_revision: str, pair: LocalPair) -> NewReply:
    return NewReply(
        personality_id=personality_id,
        version_id=None,
        base_revision=base_revision,
        prompt=pair.prompt,
        messages=[],
        sampling={},
        seed=0,
        prompt_tokens=0,
        dropped_turns=0,
        guild_id=None,
        channel_id=NOBODY,
        author_id=NOBODY,
        source_message_id=None,
        basis=Basis.LOCAL,
        speakers=(),
    )
