"""A round's lessons from votes and suggestions: preference pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.database.enums import SOURCE_WORDS
from storage.models.base_model import BaseModel
from storage.releases.versions import Continuation
from storage.settings.sections import Settings, TrainingSettings
from storage.training.rounds import Round
from storage.wording import count
from trainer.data.dataset import in_brackets, kept_apart, with_margins
from trainer.data.pairs import Pair
from trainer.data.plan import TrainingPlan
from trainer.data.votes_preparation import Skip, prepare_round
from trainer.evaluation.gate import PAIRS, HeldOut
from trainer.progress import Report
from trainer.training.common import TrainingMetrics
from trainer.training.dpo import MAX_LABEL_NOISE, PreferencePair, train_dpo


@dataclass(frozen=True)
class VoteTrainingSet:
    plan: TrainingPlan
    settings: TrainingSettings
    witness = PAIRS

    @property
    def continuation(self) -> Continuation:
        return self.plan.continuation

    def train(self, *, base: BaseModel, parent: Path | None, output: Path, report: Report) -> TrainingMetrics:
        return train_dpo(
            _texts(self.plan.train),
            _texts(self.plan.validation),
            _texts(self.plan.holdout),
            base=base,
            parent=parent,
            output=output,
            settings=self.settings,
            label_noise=min(self.plan.label_noise, MAX_LABEL_NOISE),
            report=report,
        )

    def held_out(self, metrics: TrainingMetrics) -> list[HeldOut]:
        return with_margins([(pair.prompt, pair.weight) for pair in self.plan.holdout], metrics.holdout_margins)

    def describe(self, metrics: Mapping[str, Any]) -> str:
        by_source = self.plan.evidence["pairs_by_source"]
        parts = [f"{found} from {SOURCE_WORDS[source]}" for source, found in by_source.items() if len(by_source) > 1]
        return count(metrics["pairs"], "pair") + in_brackets([*parts, *kept_apart(metrics)])


def prepare_votes(
    database: Database, settings: Settings, round_: Round, *, base: BaseModel, store: AdapterStore, report: Report
) -> VoteTrainingSet | Skip:
    """Choose what the round learns from votes and write its manifest, or say why there is nothing to do."""
    plan = prepare_round(database, settings, round_, base=base, store=store, report=report)
    return VoteTrainingSet(plan, settings.training) if isinstance(plan, TrainingPlan) else plan


def _texts(pairs: Sequence[Pair]) -> list[PreferencePair]:
    return [
        PreferencePair(
            pair.prompt,
            pair.chosen.text,
            pair.rejected.text,
            pair.weight,
            chosen_is_cut=pair.chosen.is_cut,
            rejected_is_cut=pair.rejected.is_cut,
        )
        for pair in pairs
    ]
