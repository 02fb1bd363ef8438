"""Does demonstration change behaviour? A card's examples are learned; strangers are answered before and after.

Before is the base with the card's system prompt, after the same prompts answered through the adapter.
"""

from __future__ import annotations

import random
import re
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.adapters.stores import open_store
from storage.database.enums import TrainingSource
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.chat_format import load_chat_format
from storage.models.hardware import serving_format
from storage.models.memory import NumberFormat
from storage.personalities.cards import Card, read_card_file, settings_of
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from tests.benchmarks.community import workshop
from tests.benchmarks.critic import Critic, describe_fits, gain_of, interval
from tests.benchmarks.people import conversations
from tests.benchmarks.report import notes, report
from trainer.base import RoundBase
from trainer.data.dataset import render_dialogue, split_examples
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import evaluate, load_evaluation_models
from trainer.evaluation.gate import decide
from trainer.evaluation.measures import ScoredPassage, degenerate_share, losses_by_position, mean_loss, surprise_ratio
from trainer.evaluation.results import Evaluation
from trainer.evaluation.sampling import Sample, Sampler, Serving
from trainer.progress import RoundProgress
from trainer.training.recipes import SFT, TrainingSplit, as_demonstrated
from trainer.training.train import TrainingJob, TrainingMetrics, tokenise, train_adapter

CARDS = Path(__file__).resolve().parents[2] / "personalities"
MESSAGES = 96
SHOWN = 8
"""Messages that are shown with both answers."""
MAX_NEW_TOKENS = 64


Habit = Callable[[str], bool]

BOOKS = re.compile(
    r"\b(?:books?|page|pages|chapters?|shel(?:f|ves)|librar\w+|stor(?:y|ies)|novels?|read|reading|poems?)\b",
    re.IGNORECASE,
)
SEA = re.compile(
    r"\b(?:sea|seas|tides?|waves?|fog|winds?|storms?|rain|ships?|boats?|shore|harbour|lamp|lights?|lighthouse|gulls?|salt"
    r"|anchor|sails?|fish|weather|water|ocean)\b",
    re.IGNORECASE,
)


def brief(answer: str) -> bool:
    """At most 25 words, no emoji, and the last sentence is whole."""
    has_emoji = any(unicodedata.category(sign) == "So" for sign in answer)
    return _words(answer) <= 25 and not has_emoji and answer.rstrip().endswith((".", "?", "!"))


def salty(answer: str) -> bool:
    """At most 20 words, the sea or the weather among them, and nothing loud."""
    return _words(answer) <= 20 and SEA.search(answer) is not None and "!" not in answer


def bookish(answer: str) -> bool:
    """A book or a story, and delight: an exclamation mark."""
    return BOOKS.search(answer) is not None and "!" in answer


def _words(answer: str) -> int:
    return len(answer.split())


HABITS: dict[str, Habit] = {"default": brief, "keeper": salty, "librarian": bookish}
"""What a reader would know each card by; words that its system prompt names count for the prompt alone as well."""


def run(
    *, card: str = "default", base: str = "bundled", messages: int = MESSAGES, judge: str = "", seed: int = 0
) -> dict[str, Any]:
    """Learn the examples of `card` and return machine, versions, a row for before and after, and the summary."""
    began = time.monotonic()
    with workshop() as directory:
        shown, settings = read_card(card, settings_of_card(directory, base, seed))
        model = resolve_base_model(settings.model.base, directory, notes.print)
        output = directory / "adapter"
        metrics, split = _learn(shown, model, output, settings)
        notes.print(f"{metrics.pairs} demonstrations, {metrics.epochs_trained:.0f} passes, {metrics.seconds:.0f} s")
        critic = Critic(model, settings, judge)
        rows = _compare(HABITS[card], model, output, split, settings, messages, critic)
        judgement = _judge(model, output, settings)
        size = (output / WEIGHTS_FILE).stat().st_size
    costs = {
        "passes": metrics.epochs_trained,
        "seconds_of_training": metrics.seconds,
        "adapter_mb": size / 1e6,
        "seconds": time.monotonic() - began,
    }
    about = {
        "card": card,
        "base": model.name,
        "judge": critic.name,
        "demonstrations": {"train": metrics.pairs, "validation": len(split.validation)},
        "gate": _gate(metrics, judgement, settings),
        "loss_curve": metrics.loss_curve,
    }
    return report(rows, _summary(rows, judgement) | costs, "torch", "transformers", "trl", "peft", **about)


def settings_of_card(directory: Path, base: str, seed: int) -> Settings:
    """Return config.toml's settings, with the environment's: REACTUNE_DEMONSTRATION__EPOCHS=3 tries fewer passes."""
    fixed = {
        "REACTUNE_DATA__DIRECTORY": str(directory),
        "REACTUNE_MODEL__BASE": base,
        "REACTUNE_TRAINING__SEED": str(17 + seed),
    }
    return load_settings(overrides=fixed)


def read_card(name: str, settings: Settings) -> tuple[Card, Settings]:
    """Return the card, and the settings as they are for its personality."""
    card = read_card_file(CARDS / f"{name}.toml")
    return card, settings_of(settings, card)


def _learn(card: Card, base: BaseModel, output: Path, settings: Settings) -> tuple[TrainingMetrics, TrainingSplit]:
    training = as_demonstrated(settings.training, settings.demonstration)
    chat = load_chat_format(base.path, settings.model.template_options)
    split = split_examples(card, settings.chat.system_prompt, chat, training)
    metrics = train_adapter(
        TrainingJob(SFT, split, training, base, output, template_options=settings.model.template_options), _tell
    )
    return metrics, split


def _tell(progress: RoundProgress) -> None:
    if progress.step % 10 == 0:
        notes.print(f"{progress.phase}: {progress.step} of {progress.steps} {progress.loss or ''}")


def _compare(
    habit: Habit,
    base: BaseModel,
    adapter: Path,
    split: TrainingSplit,
    settings: Settings,
    messages: int,
    critic: Critic,
) -> list[dict[str, Any]]:
    asked = draw_messages(messages, settings.training.seed)
    before, after = (_answer(base, path, split, settings, asked) for path in (None, adapter))
    described = describe_sides(critic, asked, [before[0], after[0]], habit)
    return [
        {"which": which, "validation_loss": loss} | row
        for which, (_, loss), row in zip(("before", "after"), (before, after), described, strict=True)
    ]


def describe_sides(
    critic: Critic, asked: Sequence[str], sides: Sequence[Sequence[Sample]], habit: Habit
) -> list[dict[str, Any]]:
    """Return how each side answers the same messages; coherence is relative to the first."""
    exchanges = [[(message, one.text) for message, one in zip(asked, side, strict=True)] for side in sides]
    losses = [critic.losses(said) for said in exchanges]
    usual = losses_by_position(losses[0])
    return [
        {"coherence_ratio": surprise_ratio(lost, usual)} | describe_fits(critic.fits(said)) | _row(asked, side, habit)
        for side, said, lost in zip(sides, exchanges, losses, strict=True)
    ]


def draw_messages(number: int, seed: int) -> list[str]:
    """Return what strangers say in human chat, one message of a conversation each."""
    chance = random.Random(seed)
    found = conversations()
    chance.shuffle(found)
    return [chance.choice(conversation) for conversation in found[:number]]


def _answer(
    base: BaseModel, adapter: Path | None, split: TrainingSplit, settings: Settings, asked: Sequence[str]
) -> tuple[list[Sample], float]:
    """Return an answer to each message, and the loss of the validation demonstrations, in nats per token."""
    model = settings.model
    sampler = Sampler.load(RoundBase(base, model), adapter, NumberFormat(serving_format(model), model.quantization))
    rows = tokenise(split.validation, SFT, sampler.chat, settings.training.max_tokens)
    passages = [ScoredPassage(row["prompt_ids"], row["completion_ids"]) for row in rows if row is not None]
    loss = mean_loss(sampler.model, passages)
    prompts = [render_dialogue([message], settings.chat.system_prompt, sampler.chat) for message in asked]
    seed = settings.training.seed
    generation = settings.generation.model_copy(update={"max_new_tokens": MAX_NEW_TOKENS})
    return sampler.answer(prompts, generation, seed), loss


def _row(asked: Sequence[str], answers: Sequence[Sample], has_habit: Habit) -> dict[str, Any]:
    texts = [answer.text for answer in answers]
    habit = [float(has_habit(text)) for text in texts]
    share, low, high = interval(habit)
    return {
        "habit": habit,
        "habit_share": share,
        "habit_low": low,
        "habit_high": high,
        "words": fmean(map(_words, texts)),
        "cut_share": fmean(answer.is_cut for answer in answers),
        "degenerate_share": degenerate_share(texts),
        "examples": [{"message": m, "answer": a} for m, a in zip(asked, texts, strict=True)][:SHOWN],
    }


def _judge(base: BaseModel, adapter: Path, settings: Settings) -> Evaluation:
    digest = open_store(settings).seal(adapter)
    judges = load_evaluation_models(settings.gate, settings.data.directory)
    serving = Serving.of(settings, RoundBase(base, settings.model))
    return evaluate(serving, AdapterRef(digest, adapter), judges, ServedContext(), _tell)


def _gate(metrics: TrainingMetrics, judgement: Evaluation, settings: Settings) -> dict[str, Any]:
    verdict = decide(metrics.train_loss, judgement, settings.gate, learns_from=TrainingSource.EXAMPLES)
    return {"verdict": verdict.outcome, "checks": {check.name: check.sentence for check in verdict.checks}}


def _summary(rows: Sequence[dict[str, Any]], judgement: Evaluation) -> dict[str, Any]:
    before, after = rows
    return {
        "habit_before": before["habit_share"],
        "habit_after": after["habit_share"],
        **gain_of(before["habit"], after["habit"]),
        **{
            f"{name}_{row['which']}": row[name]
            for name in ("validation_loss", "words", "cut_share", "degenerate_share")
            for row in rows
        },
        "coherence_ratio": after["coherence_ratio"],
        "fit_ratio": after["fit_share"] / before["fit_share"],
        "coherence_ratio_gate": judgement.coherence_ratio,
        "retention_loss_ratio": judgement.retention_loss_ratio,
        "divergence": judgement.divergence,
    }
