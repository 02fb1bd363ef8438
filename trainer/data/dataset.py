"""What a round learns from, once its manifest is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.database.enums import SOURCE_WORDS
from storage.releases.versions import Continuation
from storage.settings.sections import TrainingSettings
from storage.wording import count
from trainer.data.pairs import Pair
from trainer.data.plan import TrainingPlan
from trainer.evaluation.gate import PAIRS, EvidenceKind, HeldOut
from trainer.training.recipes import Recipe, TrainingSplit, dpo_recipe
from trainer.training.rows import Example, PreferencePair

Skip = str
"""Why a round has nothing to train on."""


@dataclass(frozen=True)
class TrainingSet:
    recipe: Recipe
    split: TrainingSplit
    settings: TrainingSettings
    continuation: Continuation
    """The version to continue, and those that are passed over."""
    evidence: EvidenceKind
    """What the gate calls the held-out part."""
    sources: tuple[str, ...] = ()
    """How many examples come from which source, in words."""

    def describe(self, metrics: Mapping[str, Any]) -> str:
        """Return in words what the round learned from and what it left out, given the round's numbers."""
        parts = list(self.sources)
        if metrics["holdout_pairs"]:
            parts.append(f"{metrics['holdout_pairs']} held out")
        if metrics["left_out"]:
            parts.append(f"{metrics['left_out']} longer than training.max_tokens left out")
        return count(metrics["pairs"], self.recipe.noun) + (f" ({', '.join(parts)})" if parts else "")


def training_set_of(plan: TrainingPlan, settings: TrainingSettings) -> TrainingSet:
    """Return the training set of a plan from votes."""
    by_source = plan.evidence["pairs_by_source"]
    return TrainingSet(
        dpo_recipe(settings, plan.label_noise),
        TrainingSplit(*(tuple(map(_example, pairs)) for pairs in (plan.train, plan.validation, plan.holdout))),
        settings,
        plan.continuation,
        PAIRS,
        sources=tuple(f"{n} from {SOURCE_WORDS[source]}" for source, n in by_source.items() if len(by_source) > 1),
    )


def _example(pair: Pair) -> PreferencePair:
    return PreferencePair(
        pair.prompt,
        pair.chosen.text,
        pair.rejected.text,
        pair.weight,
        chosen_is_cut=pair.chosen.is_cut,
        rejected_is_cut=pair.rejected.is_cut,
    )


def held_out(examples: Sequence[Example], margins: Sequence[float | None]) -> list[HeldOut]:
    """Return the held-out examples whose margin is known."""
    return [
        HeldOut(example.prompt, margin, example.weight)
        for example, margin in zip(examples, margins, strict=True)
        if margin is not None
    ]
