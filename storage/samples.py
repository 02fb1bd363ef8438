"""Answers that a round draws to a prompt that somebody voted on; no member sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from storage.conversations.replies import FinishedReply, NewReply, find_reply, finish_reply, start_reply
from storage.database.enums import NOBODY, Origin, Outcome
from storage.personalities.personalities import hold_personalities


@dataclass(frozen=True)
class DrawnAnswer:
    """An answer to the prompt of a reply."""

    reply_id: int
    text: str
    is_cut: bool


def record_samples(
    session: Session, drawn: Sequence[DrawnAnswer], *, version_id: int | None, sampling: dict[str, Any], seed: int
) -> int:
    """Store the answers as siblings of their replies, and return how many; those of a deleted reply are dropped.

    Basis and speakers are the reply's: what becomes of its prompt becomes of theirs.
    """
    hold_personalities(session)  # a deletion under way would overlook the words that are written here again
    stored = 0
    for answer in drawn:
        reply = find_reply(session, answer.reply_id)
        if reply is None:
            continue
        sample_id = start_reply(
            session,
            NewReply(
                personality_id=reply.personality_id,
                version_id=version_id,
                base_revision=reply.base_revision,
                prompt=reply.prompt,
                messages=reply.messages,
                sampling=sampling,
                seed=seed,
                prompt_tokens=reply.prompt_tokens,
                dropped_turns=reply.dropped_turns,
                guild_id=reply.guild_id,
                channel_id=reply.channel_id,
                author_id=NOBODY,
                source_message_id=None,
                basis=reply.basis,
                speakers=reply.speakers,
                origin=Origin.SAMPLE,
                sources=reply.sources,
            ),
        )
        outcome = Outcome.LENGTH if answer.is_cut else Outcome.COMPLETE
        finish_reply(session, sample_id, FinishedReply(answer=answer.text, outcome=outcome))
        stored += 1
    return stored
