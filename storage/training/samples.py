"""Answers that no member saw: drawn by a round, or imported as pairs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.conversations.example_turns import without_examples
from storage.conversations.replies import (
    FINISHED_WHOLE,
    FinishedReply,
    NewReply,
    digest_prompt,
    find_reply,
    store_reply,
)
from storage.database.enums import NOBODY, Basis, Origin, Outcome
from storage.database.rows import any_row
from storage.database.tables import CorrectionRow, ReplyMeasuresRow, ReplyRow
from storage.members import anonymous, without_mentions
from storage.personalities.personalities import lock_personalities
from storage.training.feedback import Render, prompt_to_learn
from storage.training.trainable import TrainingScope, trainable_replies
from storage.votes.corrections import suggest


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt that a round draws answers to: of a reply, or of the prompt bank."""

    prompt: str
    """The rendered prompt."""
    digest: str
    reply_id: int | None = None
    """The reply whose basis and speakers the samples share, and with which they are deleted; None: from the bank."""
    messages: tuple[dict[str, str], ...] = ()
    """The messages that were rendered."""
    to_base: AskedPrompt | None = None
    """The prompt as the base gets it until a version has learned: with examples or an order; None if it is the same."""

    def to(self, version_id: int | None) -> AskedPrompt:
        """Return the prompt as this version, or the base, is asked it."""
        return self.to_base if version_id is None and self.to_base else self


@dataclass(frozen=True)
class DrawnSample:
    """An answer to a prompt."""

    asked: AskedPrompt
    text: str
    is_cut: bool


def newest_prompts(session: Session, scope: TrainingScope, limit: int, *, render: Render) -> list[AskedPrompt]:
    """Return the newest prompts of members whose basis is open, without the bank's, newest first.

    They are rendered as a round learns them, see `prompt_to_learn`; the base is asked them as they were served. A
    prompt that was served without examples, although there was room for some, has no `to_base`.
    """
    reply = trainable_replies(scope)
    newest = (
        select(func.max(reply.id).label("id"))
        .where(reply.basis != Basis.PROMPT_BANK, reply.origin != Origin.SAMPLE)
        .group_by(reply.prompt_digest)
        .order_by(func.max(reply.id).desc())
        .limit(limit)
        .subquery()
    )
    rows = session.execute(
        select(reply.id, reply.prompt, reply.prompt_digest, reply.base_revision, reply.messages, reply.dropped_turns)
        .where(reply.id.in_(select(newest.c.id)))
        .order_by(reply.id.desc())
    )
    found: dict[str, AskedPrompt] = {}
    for row in rows:
        prompt = prompt_to_learn(row, scope.base_revision, render)
        said = without_examples(row.messages)
        served = AskedPrompt(without_mentions(row.prompt), row.prompt_digest, row.id)
        # Answers to the prompt as served form a group of siblings of their own.
        digest = served.digest if prompt == served.prompt else digest_prompt(prompt)
        had_no_room = row.dropped_turns > 0
        is_served = row.base_revision == scope.base_revision and (had_no_room or said != row.messages)
        to_base = served if is_served else None
        found.setdefault(digest, AskedPrompt(prompt, digest, row.id, tuple(anonymous(said)), to_base))
    return list(found.values())


def newest_exchanges(
    session: Session, scope: TrainingScope, reply_ids: Collection[int], *, limit: int
) -> list[tuple[str, str]]:
    """Return (message, answer) of the newest of these replies whose basis is open and whose message is known."""
    reply = trainable_replies(scope)
    rows = session.execute(
        select(reply.messages, reply.answer)
        .where(reply.id.in_(reply_ids), func.json_array_length(reply.messages) > 0)
        .order_by(reply.id.desc())
        .limit(limit)
    )
    return [(without_mentions(messages[-1]["content"]), without_mentions(answer)) for messages, answer in rows]


def unmeasured_exchanges(
    session: Session, scope: TrainingScope, digests: Collection[str]
) -> dict[int, tuple[str, str]]:
    """Return {reply: (message, answer)} of replies to these prompts with an open basis and unknown relevance."""
    reply = trainable_replies(scope)
    rows = session.execute(
        select(reply.id, reply.messages, reply.answer)
        .join(ReplyMeasuresRow, ReplyMeasuresRow.reply_id == reply.id)
        .where(
            reply.prompt_digest.in_(digests),
            ReplyMeasuresRow.relevance.is_(None),
            func.json_array_length(reply.messages) > 0,
        )
    )
    return {
        id_: (without_mentions(messages[-1]["content"]), without_mentions(answer)) for id_, messages, answer in rows
    }


def count_answers(
    session: Session, personality_id: int, base_revision: str, version_id: int | None, digests: Collection[str]
) -> dict[str, int]:
    """Return the number of the version's answers (None is the base) to each of these prompts, empty ones included."""
    rows = session.execute(
        select(ReplyRow.prompt_digest, func.count())
        .where(
            ReplyRow.personality_id == personality_id,
            ReplyRow.base_revision == base_revision,
            ReplyRow.version_id.is_not_distinct_from(version_id),
            ReplyRow.prompt_digest.in_(digests),
            ReplyRow.outcome.in_(FINISHED_WHOLE),
        )
        .group_by(ReplyRow.prompt_digest)
    )
    return {row[0]: row[1] for row in rows}


def record_samples(
    session: Session,
    drawn: Sequence[DrawnSample],
    *,
    personality_id: int,
    base_revision: str,
    version_id: int | None,
    sampling: dict[str, Any],
    seed: int,
) -> int:
    """Store the answers, and return their number; answers to the prompt of a deleted reply are dropped."""
    lock_personalities(session)  # a deletion that runs at the same time would miss the texts copied here
    stored = 0
    for answer in drawn:
        asked = answer.asked
        source = find_reply(session, asked.reply_id) if asked.reply_id else None
        if asked.reply_id and source is None:
            continue
        unseen = _unseen(personality_id, base_revision, asked, Basis.PROMPT_BANK)
        sample = replace(unseen, version_id=version_id, sampling=sampling, seed=seed, origin=Origin.SAMPLE)
        if source:
            sample = replace(
                sample,
                guild_id=source.guild_id,
                channel_id=source.channel_id,
                basis=source.basis,
                speakers=source.speakers,
                sources=source.sources,
            )
        if source and digest_prompt(source.prompt) == asked.digest:
            sample = replace(
                sample,
                prompt=source.prompt,
                messages=source.messages,
                prompt_tokens=source.prompt_tokens,
                dropped_turns=source.dropped_turns,
            )
        outcome = Outcome.LENGTH if answer.is_cut else Outcome.COMPLETE
        store_reply(session, sample, FinishedReply(answer=answer.text, outcome=outcome))
        stored += 1
    return stored


@dataclass(frozen=True)
class LocalPair:
    prompt: str
    """The rendered prompt."""
    chosen: str
    rejected: str
    messages: tuple[dict[str, str], ...] = ()
    """The messages that were rendered; without them only the prompt's own base can learn from the pair."""


def add_local_pair(session: Session, personality_id: int, base_revision: str, pair: LocalPair) -> bool:
    """Add the pair with the training basis "local" unless it exists already; return whether it was new."""
    if _is_known(session, personality_id, pair):
        return False
    rejected = FinishedReply(answer=pair.rejected, outcome=Outcome.COMPLETE)
    reply_id = store_reply(session, _unseen(personality_id, base_revision, pair, Basis.LOCAL), rejected)
    suggest(session, reply_id, NOBODY, pair.chosen, Basis.LOCAL)
    return True


def _is_known(session: Session, personality_id: int, pair: LocalPair) -> bool:
    same = (
        ReplyRow.personality_id == personality_id,
        ReplyRow.prompt_digest == digest_prompt(pair.prompt),
        ReplyRow.answer == pair.rejected,
        CorrectionRow.text == pair.chosen,
    )
    return any_row(session, select(CorrectionRow.id).join(ReplyRow).where(*same))


def _unseen(personality_id: int, base_revision: str, asked: AskedPrompt | LocalPair, basis: Basis) -> NewReply:
    """Return an answer that no member asked for."""
    return NewReply(
        personality_id=personality_id,
        version_id=None,
        base_revision=base_revision,
        prompt=asked.prompt,
        messages=asked.messages,
        sampling={},
        seed=0,
        prompt_tokens=0,
        dropped_turns=0,
        guild_id=None,
        channel_id=NOBODY,
        author_id=NOBODY,
        source_message_id=None,
        basis=basis,
        speakers=(),
    )
