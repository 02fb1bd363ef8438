"""Contexts of rounds, as a round makes them at its start."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from storage.adapters.stores import open_store
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import TrainingSource
from storage.database.tables import RoundRow
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality, read_personality
from storage.settings.sections import Settings
from storage.training.rounds import Round, claim_round, request_round
from trainer.base import RoundBase
from trainer.evaluation.sampling import Serving
from trainer.progress import ReportProgress, RoundProgress
from trainer.round_context import Learner, RoundContext


def begin_round(
    session: Session,
    personality_id: int = 1,
    requested_by: str = "admin",
    learns_from: TrainingSource = TrainingSource.VOTES,
) -> Round:
    """Request a round and claim it for an hour: no trainer renews it here, however slow the machine is."""
    request_round(session, personality_id, requested_by, learns_from)
    round_ = claim_round(session, "here")
    assert round_ is not None
    session.get_one(RoundRow, round_.id).lease_until = utc_now() + timedelta(hours=1)
    return round_


def quiet(_progress: RoundProgress) -> None:
    pass


def learner_of(settings: Settings, base: BaseModel, personality_id: int = 1) -> Learner:
    return Learner(personality_id, RoundBase(base, settings.model), settings)


def serving_of(settings: Settings, base: BaseModel) -> Serving:
    return Serving.of(settings, RoundBase(base, settings.model))


def context_of(
    database: Database,
    settings: Settings,
    base: BaseModel,
    personality_id: int = 1,
    report: ReportProgress = quiet,
) -> RoundContext:
    with database.transaction() as session:
        ensure_personality(session)
        personality = read_personality(session, personality_id)
    read = RoundBase(base, settings.model)
    return RoundContext(personality_id, read, settings, database, open_store(settings), report, personality)
