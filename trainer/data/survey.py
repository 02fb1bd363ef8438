"""A survey of the database before a round is planned: votes, corrections, and the pairs of earlier rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from storage.database.enums import PairSource, Split
from storage.models.base_model import BaseModel
from storage.releases.versions import Continuation, Version, continuation_of
from storage.settings.sections import Settings
from storage.training.evidence import (
    RatedReply,
    WrittenCorrection,
    read_corrections,
    read_empty_samples,
    read_replies,
)
from storage.training.rounds import ManifestPair, read_line
from storage.training.trainable import has_closed_replies
from storage.votes.weights import WeightedVotes, read_weighted_votes
from trainer.data.lone_votes import complete
from trainer.data.pairs import Pair, Rows, prefer_correction, prefer_sibling
from trainer.evaluation.measures import is_degenerate


@dataclass(frozen=True)
class Survey:
    """Answers, corrections, the votes that count, and what the parent has learned already."""

    replies: tuple[RatedReply, ...]
    corrections: tuple[WrittenCorrection, ...]
    votes: WeightedVotes
    continuation: Continuation
    history: TrainingHistory
    empty_samples: tuple[str, ...] = ()
    """The prompt of each empty sample of the parent: it makes no pair and is not drawn again."""
    has_closed_replies: bool = False
    """Whether other answers may not be trained on, such as those of live chat."""

    @property
    def parent(self) -> Version | None:
        return self.continuation.parent

    @property
    def parent_id(self) -> int | None:
        return self.parent.id if self.parent else None


def survey_votes(session: Session, settings: Settings, base: BaseModel, personality_id: int) -> Survey:
    votes = read_weighted_votes(session, personality_id, settings.votes)
    where = (personality_id, settings.privacy, base.revision)
    replies = read_replies(session, *where, votes.by_reply)
    corrections = read_corrections(session, *where, settings.votes)
    continuation = continuation_of(session, personality_id)
    parent_id = continuation.parent.id if continuation.parent else None
    return Survey(
        replies=tuple(replies),
        corrections=tuple(corrections),
        votes=votes,
        continuation=continuation,
        history=read_history(read_line(session, parent_id), {reply.id: reply for reply in replies}),
        empty_samples=read_empty_samples(session, *where, parent_id),
        has_closed_replies=has_closed_replies(session, personality_id, settings.privacy),
    )


@dataclass(frozen=True)
class TrainingHistory:
    """Manifest lines of the parent and of all versions before it."""

    lines: tuple[ManifestPair, ...]
    trained_rows: frozenset[Rows]
    trained_replies: frozenset[int | None]
    trained_corrections: frozenset[int | None]
    trained_prompts: frozenset[str]
    held_out_prompts: frozenset[str]

    def has_learned(self, pair: Pair) -> bool:
        """Return whether the line was trained on this pair, perhaps with another sample as its other answer."""
        if pair.source is PairSource.CORRECTED_SAMPLE:
            return pair.chosen.correction_id in self.trained_corrections
        return pair.rows in self.trained_rows


def read_history(line: Sequence[ManifestPair], replies: Mapping[int, RatedReply]) -> TrainingHistory:
    """Sort the manifest lines. `replies` gives their prompts; those of deleted rows are left out."""
    trained = [entry for entry in line if entry.split is not Split.HOLDOUT]
    held_out = [entry for entry in line if entry.split is Split.HOLDOUT]
    return TrainingHistory(
        lines=tuple(trained),
        trained_rows=frozenset(_rows(entry) for entry in trained),
        trained_replies=frozenset(id_ for entry in trained for id_ in (entry.chosen_reply_id, entry.rejected_reply_id)),
        trained_corrections=frozenset(entry.correction_id for entry in trained if entry.correction_id),
        trained_prompts=_prompts(trained, replies),
        held_out_prompts=_prompts(held_out, replies),
    )


def _rows(entry: ManifestPair) -> Rows:
    return entry.chosen_reply_id, entry.rejected_reply_id, entry.correction_id


def _prompts(entries: Iterable[ManifestPair], replies: Mapping[int, RatedReply]) -> frozenset[str]:
    ids = (id_ for entry in entries for id_ in (entry.chosen_reply_id, entry.rejected_reply_id) if id_)
    return frozenset(replies[id_].prompt for id_ in ids if id_ in replies)


def replay_pairs(
    history: TrainingHistory,
    replies: Mapping[int, RatedReply],
    corrections: Mapping[int, WrittenCorrection],
    *,
    lone_vote_weight: float,
) -> list[Pair]:
    """Return the old pairs that are still valid: their rows exist, and the votes still agree with them.

    Their weights come from the votes of now, not from an earlier round and its caps.
    """
    latest = {_rows(entry): entry for entry in history.lines}
    recalled = (_recall(entry, replies, corrections, lone_vote_weight) for entry in latest.values())
    return [replace(pair, replayed=True) for pair in recalled if pair is not None]


def _recall(
    entry: ManifestPair,
    replies: Mapping[int, RatedReply],
    corrections: Mapping[int, WrittenCorrection],
    lone_vote_weight: float,
) -> Pair | None:
    chosen, rejected = replies.get(entry.chosen_reply_id or 0), replies.get(entry.rejected_reply_id or 0)
    correction = corrections.get(entry.correction_id or 0)
    if rejected is None:
        return None
    if correction is not None and correction.weight > 0:
        is_liked = rejected.net > 0 and entry.source is PairSource.CORRECTED_SAMPLE
        return None if is_liked else prefer_correction(correction, rejected)
    if chosen is None or is_degenerate(chosen.answer):
        return None
    if entry.source is PairSource.LONE_VOTE:
        return _recall_lone_vote(chosen, rejected, lone_vote_weight)
    return prefer_sibling(chosen, rejected)


def _recall_lone_vote(chosen: RatedReply, rejected: RatedReply, weight: float) -> Pair | None:
    if chosen.is_sample:
        return complete(rejected, chosen, weight) if rejected.net < 0 else None
    return complete(chosen, rejected, weight) if chosen.net > 0 else None
