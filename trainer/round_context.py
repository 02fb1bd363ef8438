"""The personality that learns in a round: facts that are read once, at its start, and handed on."""

from __future__ import annotations

from dataclasses import dataclass

from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.personalities.personalities import Personality
from storage.runtime.processes import worker_name
from storage.settings.sections import Settings
from storage.training.trainable import TrainingScope
from trainer.base import RoundBase
from trainer.evaluation.sampling import Serving
from trainer.gpu_room import make_room
from trainer.progress import ReportProgress


@dataclass(frozen=True)
class Learner:
    """A personality that learns from what people said about its answers."""

    personality_id: int
    base: RoundBase
    settings: Settings
    """The personality's: with the sampling and the system prompt of its card."""

    @property
    def scope(self) -> TrainingScope:
        return TrainingScope(self.personality_id, self.settings.privacy, self.base.model.revision)


@dataclass(frozen=True)
class RoundContext(Learner):
    """A learner in a round, with the places that the round reads, writes and reports to.

    Only the steps of a round take it. What they call takes the part that it needs.
    """

    database: Database
    store: AdapterStore
    report: ReportProgress
    personality: Personality
    """With its card as it was when the round began: an edited one is not mixed in."""
    memory_failures: int = 0
    """Earlier rounds in which memory ran out."""

    @property
    def serving(self) -> Serving:
        return Serving.of(self.settings, self.base, self.memory_failures)

    def make_room(self) -> None:
        """Let engines leave the round's GPUs; call it before a model is loaded. Raises TrainerError if one stays."""
        make_room(
            self.database, self.settings.training.processes, worker_name(self.settings.data.directory), self.report
        )
