"""What `/model status` shows: which version answers, what there is to learn from, and what trainers do."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import LAST_GOOD
from storage.insights.next_round import NewPairs, count_new_pairs
from storage.operations.token_spend import Spend, spent_on
from storage.releases.canary_votes import Reading, read_canary
from storage.releases.versions import Alias, Continuation, continuation_of, read_alias
from storage.runtime.processes import TRAINER, Heartbeat, live_processes
from storage.settings.sections import Settings
from storage.training.evidence import Evidence, count_evidence
from storage.training.rounds import Round, latest_round, running_rounds


@dataclass(frozen=True)
class ModelStatus:
    champion: Alias
    last_good: Alias
    canary: Reading | None
    evidence: Evidence
    new_pairs: NewPairs
    continuation: Continuation
    latest_round: Round | None
    trainers: list[Heartbeat]
    """Those that are running."""
    running: list[Round]
    """Running rounds of all personalities."""
    spent: Spend
    """On remote servers today."""


def read_model_status(session: Session, personality_id: int, settings: Settings, base_revision: str) -> ModelStatus:
    continuation = continuation_of(session, personality_id)
    return ModelStatus(
        champion=read_alias(session, personality_id),
        last_good=read_alias(session, personality_id, LAST_GOOD),
        canary=read_canary(session, personality_id, settings.votes),
        evidence=count_evidence(session, personality_id, settings.privacy, base_revision),
        new_pairs=count_new_pairs(session, personality_id, settings, base_revision, continuation.parent),
        continuation=continuation,
        latest_round=latest_round(session, personality_id),
        trainers=live_processes(session, TRAINER),
        running=running_rounds(session),
        spent=spent_on(session, utc_now().date()),
    )
