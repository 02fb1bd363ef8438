"""A round's training set, from example dialogues on a personality's card or from a plan of votes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.database.database import Database
from storage.database.enums import SOURCE_WORDS
from storage.models.base_model import BaseModel, load_tokenizer
from storage.personalities.cards import Card
from storage.personalities.personalities import lock_personality, read_personality
from storage.releases.versions import Continuation, continuation_of
from storage.settings.sections import Settings, TrainingSettings
from storage.training.rounds import Round, set_manifest
from storage.wording import count
from trainer.data.pairs import Pair
from trainer.data.plan import TrainingPlan
from trainer.evaluation.gate import EXAMPLES, PAIRS, EvidenceKind, HeldOut
from trainer.evaluation.sampling import render, with_system_prompt
from trainer.training.recipes import SFT, Recipe, TrainingSplit, as_demonstrated, dpo_recipe
from trainer.training.rows import Demonstration, Example, PreferencePair

Skip = str
"""The reason that a round has nothing to train on."""


def prepare_examples(database: Database, settings: Settings, round_: Round, base: BaseModel) -> TrainingSet | Skip:
    """Take the examples of the personality's card and write the round's manifest, or return why there is nothing to do.

    `settings` are those of the personality.
    """
    with database.transaction() as session:
        # A deletion either ends before the parent is chosen, or finds that the round continues it.
        lock_personality(session, round_.personality_id)
        personality = read_personality(session, round_.personality_id)
        card, continuation = personality.card, continuation_of(session, round_.personality_id)
        parent, note = continuation.parent, continuation.note
        needed = settings.demonstration.min_examples
        if len(card.examples) < needed:
            return (
                f"the card of {personality.name} has {count(len(card.examples), 'example dialogue')}, {needed} needed "
                "(demonstration.min_examples): add more with `/personality edit` or in its file"
            )
        set_manifest(
            session,
            round_.id,
            [],
            digest=card.digest,
            parent_version_id=parent.id if parent else None,
            settings=_settings_of_round(settings),
            evidence={"examples": len(card.examples)} | ({"notes": [note]} if note else {}),
        )
    training = as_demonstrated(settings.training, settings.demonstration)
    split = split_examples(card, settings.chat.system_prompt, load_tokenizer(base), training)
    return TrainingSet(SFT, split, training, continuation, EXAMPLES)


def split_examples(card: Card, system_prompt: str, tokenizer: Any, training: TrainingSettings) -> TrainingSplit:
    """Hold out a share of the dialogues for the gate, and the same share of the rest for validation.

    The answers of one dialogue stay together.
    """
    dialogues = [example.dialogue for example in card.examples]
    dialogues = random.Random(training.seed).sample(dialogues, len(dialogues))
    held_out = round(training.holdout_share * len(dialogues))
    watched = held_out + round(training.holdout_share * (len(dialogues) - held_out))
    train, validation, holdout = (
        tuple(shown for dialogue in part for shown in _demonstrations(dialogue, system_prompt, tokenizer))
        for part in (dialogues[watched:], dialogues[held_out:watched], dialogues[:held_out])
    )
    return TrainingSplit(train, validation, holdout)


def render_dialogue(said: Sequence[str], system_prompt: str, tokenizer: Any) -> str:
    """Return the prompt that the model is served after these turns, of which the first is a person's."""
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    return render(with_system_prompt(system_prompt, turns), tokenizer)


def _demonstrations(dialogue: Sequence[str], system_prompt: str, tokenizer: Any) -> Iterator[Demonstration]:
    """Yield each of the bot's answers with everything that was said before it."""
    for place in range(1, len(dialogue), 2):
        yield Demonstration(render_dialogue(dialogue[:place], system_prompt, tokenizer), dialogue[place])


def _settings_of_round(settings: Settings) -> dict[str, Any]:
    return {
        "base": settings.model.base,
        "demonstration": settings.demonstration.model_dump(mode="json"),
        "gate": settings.gate.model_dump(mode="json"),
    }


@dataclass(frozen=True)
class TrainingSet:
    recipe: Recipe
    split: TrainingSplit
    settings: TrainingSettings
    continuation: Continuation
    """The version to continue, and those that are passed over."""
    evidence: EvidenceKind
    """The gate's word for the held-out part."""
    sources: tuple[str, ...] = ()
    """Numbers of examples by source, in words."""

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
