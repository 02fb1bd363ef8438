"""The two sides of `reactune bench training`, each in a separate process: our trainer, and TRL's as it comes."""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from multiprocessing.connection import Connection
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from storage.models.base_model import BaseModel, load_model, load_tokenizer
from storage.models.hardware import silence_transformers, training_format
from storage.settings.sections import TrainingSettings
from trainer.evaluation.measures import retention_text
from trainer.progress import Phase, RoundProgress
from trainer.training.memory_plan import USUAL
from trainer.training.recipes import DPO, TrainingSplit
from trainer.training.rows import Row
from trainer.training.train import TrainingJob, build_trainer, new_adapter

OURS, TRL, TRL_DEFAULT = "ours", "TRL", "TRL, recomputing"
ANSWER_TOKENS = 50
SIBLINGS = {1: 2, 6: 4}
"""Answers to a prompt, every two of which are a pair, by the number of pairs."""

SEED = 17


@dataclass(frozen=True)
class Case:
    pairs_per_prompt: int
    prompt_tokens: int
    batch_size: int
    steps: int
    """Measured steps, after one to warm up."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"

    @property
    def pairs(self) -> int:
        return self.batch_size * (1 + self.steps)

    @property
    def settings(self) -> TrainingSettings:
        return TrainingSettings(batch_size=self.batch_size, min_steps=0, dtype=self.dtype, seed=SEED)


@dataclass(frozen=True)
class Course:
    reference_s: float
    """For the log-probabilities of all pairs under the reference; TRL computes them in each step."""
    model_mib: float
    """Most memory so far where the model was just loaded."""
    step_s: list[float]
    """The first of them warms up."""
    losses: list[float]
    """One for each step."""
    logps: list[float]
    """Of each token of the answers to the first prompts, under what was trained, in nats."""
    peak_mib: float
    """Most memory that the process held until training ended, code and model included."""


def train_in_turns(parent: Connection, base: BaseModel, case: Case, side: str) -> None:
    """Get ready, and train a step, each time the parent says so, and say when it is done; at the end, tell all."""
    parent.recv()
    with silence_transformers(), tempfile.TemporaryDirectory() as folder:
        build = _build_ours if side == OURS else partial(_build_trls, recomputes=side == TRL_DEFAULT)
        trainer, reference_s, model_mib = build(base, case, Path(folder))
        parent.send("ready")
        step_s: list[float] = []
        trainer.add_callback(_turns(parent, step_s))
        trainer.train()
        peak_mib = _peak_mib()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        parent.send(Course(reference_s, model_mib, step_s, losses, _logps(trainer, case), peak_mib))


def _turns(parent: Connection, step_s: list[float]) -> Any:
    from transformers import TrainerCallback

    class Turns(TrainerCallback):  # type: ignore[misc]
        """Waits for this side's turn before each step, and notes how long the step took."""

        started = 0.0

        def on_step_begin(self, *_arguments: Any, **_others: Any) -> None:
            parent.recv()
            self.started = time.perf_counter()

        def on_step_end(self, *_arguments: Any, **_others: Any) -> None:
            step_s.append(time.perf_counter() - self.started)
            parent.send("done")

    return Turns()


def _build_ours(base: BaseModel, case: Case, folder: Path) -> tuple[Any, float, float]:
    started, reference_s, model_mib = 0.0, 0.0, 0.0

    def watch(progress: RoundProgress) -> None:
        nonlocal started, reference_s, model_mib
        if progress.phase is Phase.REFERENCE and progress.step == 0:
            started, model_mib = time.perf_counter(), _peak_mib()
        elif progress.phase is Phase.REFERENCE:
            reference_s = time.perf_counter() - started

    tokenizer = load_tokenizer(base.path)
    job = TrainingJob(DPO, TrainingSplit(()), case.settings, base, folder)
    trainer = build_trainer(job, _rows(case, tokenizer), [], tokenizer, watch)
    return trainer, reference_s, model_mib


def _build_trls(base: BaseModel, case: Case, folder: Path, *, recomputes: bool) -> tuple[Any, float, float]:
    """Build TRL's own trainer for the pairs in the order of ours."""
    from trainer.training.scorers import SiblingSampler

    rows = _rows(case, load_tokenizer(base.path))
    order = SiblingSampler([row["prompt_ids"] for row in rows], SEED)
    trainer = build_trl(base, [rows[index] for index in order], case.settings, folder, recomputes=recomputes)
    return trainer, 0.0, _peak_mib()


def build_trl(
    base: BaseModel, rows: Sequence[Row], settings: TrainingSettings, folder: Path, *, recomputes: bool, steps: int = 0
) -> Any:
    """Build TRL's own trainer with the settings of ours, for a pass over the rows, or only the first `steps` of it.

    The reference it computes in each step, as is its default. `recomputes` is its default too: activations are computed
    again backwards, which takes less memory and more time.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import DPOTrainer

    class Tokenised(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_arguments: Any) -> Any:
            return dataset

    config = DPO.config(folder, settings, 0, USUAL, validates=False)
    config.precompute_ref_log_probs = False
    config.activation_checkpointing = recomputes
    config.train_sampling_strategy = "sequential"
    config.max_steps = steps or -1
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    trainer = Tokenised(
        model=load_model(base, training_format(settings), settings.quantization),
        peft_config=new_adapter(base, settings),
        args=config,
        processing_class=load_tokenizer(base.path),
        train_dataset=Dataset.from_list([{name: row[name] for name in columns} for row in rows]),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _rows(case: Case, tokenizer: Any) -> list[Row]:
    """Return pairs of siblings, cut at random out of English text; no two prompts begin alike."""
    text, chance = tokenizer(retention_text(), add_special_tokens=False)["input_ids"], random.Random(SEED)
    starts = iter(chance.sample(range(len(text)), len(text)))

    def cut(tokens: int) -> list[int]:
        start = next(starts)
        return [text[(start + index) % len(text)] for index in range(tokens)]

    rows: list[Row] = []
    while len(rows) < case.pairs:
        prompt = cut(case.prompt_tokens)
        answers = [[*cut(ANSWER_TOKENS - 1), tokenizer.eos_token_id] for _ in range(SIBLINGS[case.pairs_per_prompt])]
        rows += [
            {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected, "weight": 1.0}
            for chosen, rejected in combinations(answers, 2)
        ]
    return sorted(rows[: case.pairs], key=itemgetter("prompt_ids"))


def _logps(trainer: Any, case: Case) -> list[float]:
    import torch

    from trainer.training.scorers import score

    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = sorted(trainer.train_dataset.to_list(), key=lambda row: [row[name] for name in names])
    inputs = trainer._prepare_inputs(trainer.data_collator(rows[: case.batch_size]))
    model = trainer.scorer(trainer.model) if hasattr(trainer, "scorer") else trainer.model
    trainer.model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        return [float(logp) for logp in score(model, inputs).log_probs.flatten()]


def _peak_mib() -> float:
    """Return the most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
