"""Contexts of rounds, as a round makes them at its start."""

from __future__ import annotations

from storage.adapters.stores import open_store
from storage.database.database import Database
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality, read_personality
from storage.settings.sections import Settings
from trainer.base import RoundBase
from trainer.evaluation.sampling import Serving
from trainer.progress import ReportProgress, RoundProgress
from trainer.round_context import Learner, RoundContext


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
