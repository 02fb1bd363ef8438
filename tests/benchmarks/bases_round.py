"""A round on a large base, and TRL's own trainer on the same pairs, each in a process of its own."""

from __future__ import annotations

import math
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.adapters.folder_store import AdapterStore
from storage.database.enums import TrainingSource
from storage.models.base_model import BaseModel, load_tokenizer
from storage.models.chat_format import load_chat_format
from storage.models.hardware import silence_transformers
from storage.settings.sections import Settings
from tests.benchmarks.apart import TellRow, peak_gpu_mib
from tests.benchmarks.bases_serving import Lengths
from tests.benchmarks.report import Row, notes
from tests.benchmarks.training_sides import ANSWER_TOKENS, SEED, build_trl
from trainer.base import RoundBase
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import evaluate, load_evaluation_models
from trainer.evaluation.sampling import Serving
from trainer.progress import Phase, RoundProgress
from trainer.rounds.judging import RoundJudge
from trainer.training.recipes import DPO, TrainingSplit
from trainer.training.rows import PreferencePair, pair_row
from trainer.training.train import TrainingJob, TrainingMetrics, train_adapter

NOTE_S = 20.0


@dataclass(frozen=True)
class Work:
    pairs: int = 32
    prompt_tokens: int = 200
    """Of a pair's prompt; its answers have 50."""
    trl_steps: int = 0
    """Steps after which TRL stops; 0: after a pass over the pairs."""
    judges: bool = False
    """Whether the round's version is judged as well."""
    lengths: Lengths = field(default_factory=Lengths)


@dataclass(frozen=True)
class Round:
    base: BaseModel
    settings: Settings
    work: Work
    text: str
    """What the pairs are cut out of."""
    output: Path
    """Of our adapter: a folder that exists."""
    recomputes: bool = False
    """Whether TRL computes activations again backwards."""


def train_ours(plan: Round, tell: TellRow) -> None:
    """Tell a row for the training of a round and, if it is judged, one for that."""
    training, watch = plan.settings.training, Watch()
    metrics = train_adapter(
        TrainingJob(
            DPO,
            TrainingSplit(_pairs(plan, load_tokenizer(plan.base.path))),
            training,
            plan.base,
            plan.output,
            template_options=plan.settings.model.template_options,
        ),
        watch,
    )
    speed = metrics.pairs * metrics.epochs_trained / (metrics.seconds - watch.loading_s)
    tell(
        {
            "what": "training",
            "seconds": round(metrics.seconds, 1),
            "loading_s": round(watch.loading_s, 1),
            "steps": metrics.steps,
            "pairs_per_s": round(speed, 4),
            "train_loss": metrics.train_loss,
            "gpu_mib": peak_gpu_mib(),
        }
    )
    if plan.work.judges:
        tell(_judge(plan, metrics, watch))


def _judge(plan: Round, metrics: TrainingMetrics, watch: Watch) -> Row:
    """Let the version and the base answer the gate's messages, as a round does, and compare them."""
    began, settings = time.perf_counter(), plan.settings
    models = load_evaluation_models(settings.gate, settings.data.directory)
    store = AdapterStore(plan.output.parent)
    serving = Serving.of(settings, RoundBase(plan.base, settings.model))
    judge = RoundJudge(
        serving,
        settings.gate,
        TrainingSource.VOTES,
        store,
        lambda adapter: evaluate(serving, adapter, models, ServedContext(), watch),
    )
    trained = judge.judge(plan.output, metrics)
    return {
        "what": "judging",
        "seconds": round(time.perf_counter() - began, 1),
        "messages": trained.evaluation.messages,
        "verdict": trained.verdict.outcome.value,
        "divergence": trained.evaluation.divergence,
        "gpu_mib": peak_gpu_mib(),
    }


def train_trl(plan: Round, tell: TellRow) -> None:
    """Tell a row for TRL's trainer as it comes, with our settings and number format."""
    training, began = plan.settings.training, time.perf_counter()
    with silence_transformers(), tempfile.TemporaryDirectory() as folder:
        chat = load_chat_format(plan.base.path, plan.settings.model.template_options)
        rows = [pair_row(pair, chat) for pair in _pairs(plan, chat.tokenizer)]
        trainer = build_trl(
            plan.base, rows, training, Path(folder), recomputes=plan.recomputes, steps=plan.work.trl_steps
        )
        trainer.add_callback(_step_notes())
        loading_s = time.perf_counter() - began
        trainer.train()
        trained_s, steps = time.perf_counter() - began - loading_s, trainer.state.global_step
    whole = math.ceil(plan.work.pairs / training.batch_size)
    tell(
        {
            "what": "training",
            "seconds": round(loading_s + trained_s * whole / steps, 1),
            "loading_s": round(loading_s, 1),
            "steps": steps,
            "of_steps": whole,
            "pairs_per_s": round(plan.work.pairs / whole * steps / trained_s, 4),
            "gpu_mib": peak_gpu_mib(),
        }
    )


def _step_notes() -> Any:
    from transformers import TrainerCallback

    class StepNotes(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, _args: Any, state: Any, _control: Any, **_others: Any) -> None:
            notes.print(f"  step {state.global_step} of {state.max_steps}", highlight=False)

    return StepNotes()


class Watch:
    """Tells what a round is doing, and notes how long it loads: until the first pair is scored."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._phase: Phase | None = None
        self._next_note = 0.0
        self.loading_s = 0.0

    def __call__(self, progress: RoundProgress) -> None:
        now = time.monotonic()
        self._began = self._began or now
        if progress.phase is not Phase.LOADING and not self.loading_s:
            self.loading_s = now - self._began
        if progress.phase is self._phase and now < self._next_note:
            return
        self._phase, self._next_note = progress.phase, now + NOTE_S
        steps = f": {progress.step} of {progress.steps}" if progress.steps else ""
        notes.print(f"  {progress.phase}{steps}", highlight=False)


def _pairs(plan: Round, tokenizer: Any) -> tuple[PreferencePair, ...]:
    """Return pairs cut at random out of the text, each with its own prompt."""
    work = plan.work
    text = plan.text * (2 + 6 * work.prompt_tokens // len(plan.text))
    places = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    chance, longest = random.Random(SEED), max(work.prompt_tokens, ANSWER_TOKENS)
    starts = iter(chance.sample(range(len(places) - longest), 3 * work.pairs))

    def cut(tokens: int) -> str:
        start = next(starts)
        return text[places[start][0] : places[start + tokens - 1][1]]

    answer = ANSWER_TOKENS - 1  # and the end token
    return tuple(PreferencePair(cut(work.prompt_tokens), cut(answer), cut(answer)) for _ in range(work.pairs))
