"""Answers that no member saw: drawn by a round, or imported as pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.replies import FinishedReply, NewReply, digest_prompt, find_reply, finish_reply, start_reply
from storage.database.enums import NOBODY, Basis, Origin, Outcome
from storage.database.tables import CorrectionRow, ReplyRow
from storage.personalities.personalities import lock_personalities
from storage.votes.corrections import suggest


@dataclass(frozen=True)
class DrawnSample:
    """An answer to the prompt of a reply."""

    reply_id: int
    text: str
    is_cut: bool


def record_samples(
    session: Session, drawn: Sequence[DrawnSample], *, version_id: int | None, sampling: dict[str, Any], seed: int
) -> int:
    """Store answers to the prompts of these replies, and return how many; those of a deleted reply are dropped.

    They take the reply's basis and speakers, so they are deleted together with its prompt.
    """
    lock_personalities(session)  # a deletion that runs at the same time would miss the texts copied here
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


@dataclass(frozen=True)
class LocalPair:
    prompt: str
    """Rendered."""
    chosen: str
    rejected: str


def add_local_pair(session: Session, personality_id: int, base_revision: str, pair: LocalPair) -> bool:
    """Add the pair with the training basis "local" unless it exists already; return whether it was new."""
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
