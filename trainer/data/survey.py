"""What a round finds in the database before it is planned."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

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
from storage.training.rounds import read_line
from storage.votes.weights import WeightedVotes, read_weighted_votes
from trainer.data.history import TrainingHistory, read_history


@dataclass(frozen=True)
class Survey:
    """Answers, corrections, the votes that count, and what the parent has learned already."""

    replies: tuple[RatedReply, ...]
    corrections: tuple[WrittenCorrection, ...]
    ballots: WeightedVotes
    continuation: Continuation
    ledger: TrainingHistory
    empty_samples: tuple[str, ...] = ()
    """The prompt of each empty sample of the parent: it makes no pair and is not drawn again."""

    @property
    def parent(self) -> Version | None:
        return self.continuation.parent

    @property
    def parent_id(self) -> int | None:
        return self.parent.id if self.parent else None


def survey_votes(session: Session, settings: Settings, base: BaseModel, personality_id: int) -> Survey:
    ballots = read_weighted_votes(session, personality_id, settings.votes)
    where = (personality_id, settings.privacy, base.revision)
    replies = read_replies(session, *where, ballots.by_reply)
    corrections = read_corrections(session, *where, settings.votes)
    continuation = continuation_of(session, personality_id)
    parent_id = continuation.parent.id if continuation.parent else None
    return Survey(
        replies=tuple(replies),
        corrections=tuple(corrections),
        ballots=ballots,
        continuation=continuation,
        ledger=read_history(read_line(session, parent_id), {reply.id: reply for reply in replies}),
        empty_samples=read_empty_samples(session, *where, parent_id),
    )
