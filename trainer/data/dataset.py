"""A round's training set, from example dialogues on a personality's card or from a plan of votes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage import sentences
from storage.database.enums import SOURCE_WORDS, TrainingSource
from storage.models.chat_format import ChatFormat
from storage.personalities.cards import Card
from storage.personalities.personalities import lock_personality
from storage.releases.versions import StartingPoint
from storage.settings.sections import TrainingSettings
from storage.training.rounds import MIN_EXAMPLES, Round, set_manifest
from trainer.base import with_system_prompt
from trainer.data.pairs import example_of
from trainer.data.plan import Fits, TrainingPlan
from trainer.round_context import RoundContext
from trainer.training.recipes import DPO, SFT, Recipe, TrainingSplit, as_demonstrated
from trainer.training.rows import Demonstration, PreferencePair, pair_row, row_tokens

VALIDATED_SHARE = 0.2
"""Share of example dialogues that are not trained on and decide when to stop: 2 of 8, the fewest that are taken."""
Skip = str
"""The reason why a round has nothing to train on."""


def prepare_examples(context: RoundContext, round_: Round) -> TrainingSet | Skip:
    """Take the examples of the personality's card and write the manifest, or return why there is nothing to do."""
    settings, card = context.settings, context.personality.card
    with context.database.transaction() as session:
        lock_personality(session, round_.personality_id)
        if len(card.examples) < MIN_EXAMPLES:
            return sentences.counted(
                "the card of {personality} has {count} example dialogue, {needed} needed: "
                "add more with `/personality edit` or in its file",
                "the card of {personality} has {count} example dialogues, {needed} needed: "
                "add more with `/personality edit` or in its file",
                len(card.examples),
                personality=context.personality.name,
                needed=MIN_EXAMPLES,
            )
        set_manifest(
            session,
            round_.id,
            [],
            digest=card.digest,
            parent_version_id=None,
            settings={
                "base": settings.model.base,
                "demonstration": settings.demonstration.model_dump(mode="json"),
                "gate": settings.gate.model_dump(mode="json"),
            },
            learned_from={"examples": len(card.examples)},
        )
    training = as_demonstrated(settings.training, settings.demonstration)
    split = split_examples(card, settings.chat.system_prompt, context.base.chat, training)
    return TrainingSet(SFT, split, training, TrainingSource.EXAMPLES, StartingPoint(None))


def split_examples(card: Card, system_prompt: str, chat: ChatFormat, training: TrainingSettings) -> TrainingSplit:
    """Set aside a share of the dialogues for validation; the answers of one dialogue stay together."""
    dialogues = [example.dialogue for example in card.examples]
    dialogues = random.Random(training.seed).sample(dialogues, len(dialogues))
    watched = round(VALIDATED_SHARE * len(dialogues)) if training.patience else 0
    train, validation = (
        tuple(shown for dialogue in part for shown in _demonstrations(dialogue, system_prompt, chat))
        for part in (dialogues[watched:], dialogues[:watched])
    )
    return TrainingSplit(train, validation)


def render_dialogue(said: Sequence[str], system_prompt: str, chat: ChatFormat) -> str:
    """Return the prompt that the model is served after these turns; a person speaks first."""
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    return chat.render(with_system_prompt(system_prompt, turns))


def _demonstrations(dialogue: Sequence[str], system_prompt: str, chat: ChatFormat) -> Iterator[Demonstration]:
    """Yield each of the bot's answers with the whole dialogue before it."""
    for place in range(1, len(dialogue), 2):
        yield Demonstration(render_dialogue(dialogue[:place], system_prompt, chat), dialogue[place])


@dataclass(frozen=True)
class TrainingSet:
    recipe: Recipe
    split: TrainingSplit
    settings: TrainingSettings
    learns_from: TrainingSource
    start: StartingPoint
    sources: tuple[str, ...] = ()
    """Numbers of examples by source, in words."""
    memory_failures: int = 0
    """Earlier rounds in which memory ran out: each made the plan of the recipe a step smaller."""

    def describe(self, metrics: Mapping[str, Any]) -> str:
        """Return the round's examples in words, as in "from 12 pairs", given the round's metrics."""
        parts = list(self.sources)
        if left_out := metrics["left_out"]:
            parts.append(sentences.Sentence("{number} longer than training.max_tokens left out", number=left_out))
        if self.memory_failures:
            parts.append(sentences.Sentence("fewer at once, because memory ran out in an earlier round"))
        learned = self._count(metrics["pairs"])
        notes = sentences.joined(", ", parts)
        return sentences.Sentence("{examples} ({notes})", examples=learned, notes=notes) if parts else learned

    def _count(self, examples: float) -> sentences.Sentence:
        if self.recipe.objective == SFT.objective:
            return sentences.counted("from {count} example answer", "from {count} example answers", examples)
        return sentences.counted("from {count} pair", "from {count} pairs", examples)


def training_set_of(
    plan: TrainingPlan, settings: TrainingSettings, against_flattery: Sequence[PreferencePair] = ()
) -> TrainingSet:
    """Return the training set of a plan from votes, with pairs of our own beside it."""
    by_source = plan.learned_from["pairs_by_source"]
    train, validation = (
        tuple(example_of(pair, plan.prompts[pair.prompt]) for pair in pairs) for pairs in (plan.train, plan.validation)
    )
    by_source_words = [
        sentences.Sentence("{number} from {source}", number=number, source=sentences.Sentence(SOURCE_WORDS[source]))
        for source, number in by_source.items()
        if len(by_source) > 1
    ]
    and_ours = sentences.Sentence("plus {number} of our own against flattery", number=len(against_flattery))
    return TrainingSet(
        DPO,
        TrainingSplit(train, validation, tuple(against_flattery)),
        settings,
        TrainingSource.VOTES,
        plan.start,
        sources=(*by_source_words, *([and_ours] if against_flattery else [])),
    )


def length_check(chat: ChatFormat, max_tokens: int) -> Fits:
    """Return a function that checks if a pair is short enough to train on."""
    return lambda pair: row_tokens(pair_row(pair, chat)) <= max_tokens
