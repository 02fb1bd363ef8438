"""What every objective shares: token rows, the adapter in training, TRL's settings, and the numbers at the end."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from storage.models.base_model import BaseModel, load_model
from storage.models.hardware import has_gpu, training_format
from storage.settings.sections import TrainingSettings
from trainer.errors import TrainingDiverged
from trainer.progress import Report, ReportProgress

if TYPE_CHECKING:
    from torch import Tensor


ADAPTER = "default"  # PEFT's name of the adapter in training; TRL keeps the parent beside it as "ref"
MAX_CURVE_POINTS = 200
MAX_EAGER_TOKENS = 256
"""Longest row for which plain attention is used on a CPU: its memory grows with the square of the length."""

MAX_BATCH_TOKENS = 1024
"""Most tokens computed together: many short rows at once are quicker, and long ones need the memory."""

MAX_TREE_TOKENS = 512
"""Most tokens of different prompts in one tree: a larger one is no quicker, as each token is compared with all."""

Row = dict[str, Any]


@dataclass(frozen=True)
class TrainingMetrics:
    objective: str
    """dpo, robust or sft."""
    train_loss: float
    """Mean over the steps."""
    steps: int
    pairs: int
    """Pairs trained on; demonstrations with SFT."""
    holdout_pairs: int
    """How many of `holdout_margins` are known."""
    holdout_accuracy: float | None
    """Share of held-out pairs whose margin is positive; None without held-out pairs. The parent's own margins are 0."""
    holdout_margin: float | None
    """Mean margin, in nats."""
    left_out: int
    """Pairs longer than training.max_tokens, validation and held-out ones included."""
    seconds: float
    loss_curve: tuple[float, ...]
    """The loss of every step; of long runs MAX_CURVE_POINTS means over stretches of steps."""
    holdout_margins: tuple[float | None, ...]
    """beta * (log-ratio of chosen - log-ratio of rejected) to the parent (Rafailov et al. 2023), in the order given.

    In nats; above 0 where the version prefers what members preferred more than its parent does. Of a demonstration: the
    mean log-probability of its answer's tokens less that under the parent, in nats per token. None: it was too long.
    """
    epochs_trained: float
    """Passes over the pairs behind the adapter that was kept."""


@dataclass(frozen=True)
class TrainingRun:
    """How a training run went."""

    losses: tuple[float, ...]
    """One for each step."""
    train_loss: float
    epochs: float
    """Passes behind the adapter that was kept."""


def summarise(
    objective: str, course: TrainingRun, margins: Sequence[float | None], *, pairs: int, left_out: int, seconds: float
) -> TrainingMetrics:
    known = [margin for margin in margins if margin is not None]
    return TrainingMetrics(
        objective=objective,
        train_loss=course.train_loss,
        steps=len(course.losses),
        pairs=pairs,
        holdout_pairs=len(known),
        holdout_accuracy=sum(margin > 0 for margin in known) / len(known) if known else None,
        holdout_margin=sum(known) / len(known) if known else None,
        left_out=left_out,
        seconds=seconds,
        loss_curve=thin(course.losses),
        holdout_margins=tuple(margins),
        epochs_trained=course.epochs,
    )


def thin(losses: Sequence[float], most: int = MAX_CURVE_POINTS) -> tuple[float, ...]:
    """Return the losses, or the means of `most` stretches of them that are equally long within one step."""
    if len(losses) <= most:
        return tuple(losses)
    borders = [index * len(losses) // most for index in range(most + 1)]
    return tuple(sum(losses[start:end]) / (end - start) for start, end in pairwise(borders))


@contextlib.contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Let PyTorch compute on that many threads; 0 changes nothing."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def token_ids(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def answer_ids(prompt_ids: list[int], prompt: str, answer: str, tokenizer: Any, *, is_cut: bool) -> list[int]:
    """Return the answer's tokens as they follow the served prompt, with the end token once unless it was cut."""
    together = token_ids(prompt + answer, tokenizer)
    # Usually the prompt's tokens come first. Where a token would span the border, the answer is taken alone, because
    # serving generates after the prompt's own tokens.
    is_prefix = together[: len(prompt_ids)] == prompt_ids
    ids = together[len(prompt_ids) :] if is_prefix else token_ids(answer, tokenizer)
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids if is_cut else [*ids, tokenizer.eos_token_id]


def fitting(rows: Sequence[Row | None]) -> list[Row]:
    """Return the rows that are not None, which stands for one that is too long."""
    return [row for row in rows if row is not None]


def longest_row(rows: Iterable[Row | None]) -> int:
    """Return the most tokens that a prompt has with one of its answers."""
    return max(
        len(row["prompt_ids"]) + len(ids)
        for row in rows
        if row is not None
        for name, ids in row.items()
        if name in ("chosen_ids", "rejected_ids", "completion_ids")
    )


def micro_batch(step: int, tokens: int) -> int:
    """Return how many of a step's items are computed at once: the most that divides the step and fits into memory.

    `tokens` are those of one item.
    """
    sizes = (size for size in range(1, step + 1) if step % size == 0)
    return max((size for size in sizes if size * tokens <= MAX_BATCH_TOKENS), default=1)


def load_policy(base: BaseModel, parent: Path | None, settings: TrainingSettings, longest: int) -> Any:
    """Return the base, or the base under a trainable copy of the parent, which TRL then takes as the reference.

    `longest` is that of the rows to train and validate on, in tokens.
    """
    from peft import PeftModel

    model = load_model(base, training_format(settings), settings.quantization)
    if longest <= MAX_EAGER_TOKENS and not has_gpu():
        # PyTorch's fused attention is slow backwards on a CPU: a step on short rows takes a sixth longer with it.
        model.set_attn_implementation("eager")
    return model if parent is None else PeftModel.from_pretrained(model, parent, is_trainable=True)


def new_adapter(settings: TrainingSettings) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def training_options(output: Path, settings: TrainingSettings, *, validates: bool) -> dict[str, Any]:
    """Return the settings that all of TRL's trainers have in common."""
    return {
        **(parallel_options() if settings.processes > 1 else {}),
        "output_dir": str(output),
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs,
        "activation_checkpointing": False,
        "max_length": None,
        "router_aux_loss_coef": 0.0,  # a mixture of experts would owe TRL an output that others lack
        "bf16": training_format(settings) == "bfloat16",
        "use_cpu": not has_gpu(),
        "seed": settings.seed,
        "data_seed": settings.seed,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "eval_strategy": "epoch" if validates else "no",
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }


def parallel_options() -> dict[str, Any]:
    """Return what tells accelerate how the ranks share a training."""
    return {
        "ddp_backend": "nccl" if has_gpu() else "gloo",
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
    }


def own_share(step: int, settings: TrainingSettings) -> int:
    """Return how many of a step's items one rank takes."""
    return step // settings.processes


def save_adapter(trainer: Any, base: BaseModel, output: Path) -> None:
    """Write the adapter in training; of several ranks the first one writes."""
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    config = model.peft_config[ADAPTER]
    config.base_model_name_or_path, config.revision = base.name, base.revision
    # Without save_embedding_layers=False PEFT may ask the hub about the base.
    model.save_pretrained(output, selected_adapters=[ADAPTER], save_embedding_layers=False)


class LossHistory(TrainerCallback):  # type: ignore[misc]
    """Keeps the loss of every step and reports it."""

    def __init__(self, report: Report) -> None:
        self.losses: list[float] = []
        self._report = report
        self._started = time.monotonic()

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_others: Any) -> None:
        self._started = time.monotonic()
        self._report(ReportProgress("training", 0, state.max_steps))

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_others: Any) -> None:
        if "loss" not in logs:
            return
        self.losses.append(logs["loss"])
        step, steps = state.global_step, state.max_steps
        seconds_left = (time.monotonic() - self._started) / step * (steps - step)
        self._report(ReportProgress("training", step, steps, logs["loss"], seconds_left))


class BestPass(TrainerCallback):  # type: ignore[misc]
    """Keeps the adapter of the pass with the lowest validation loss; ends training after `patience` worse ones."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._loss = float("inf")
        self._weights: dict[str, Tensor] = {}
        self._epoch: float | None = None
        self._waited = 0

    def on_evaluate(
        self, _args: Any, state: Any, control: Any, metrics: dict[str, float], model: Any, **_others: Any
    ) -> None:
        loss = metrics["eval_loss"]
        if not math.isfinite(loss):
            raise TrainingDiverged(state.global_step)
        if loss < self._loss:
            self._loss, self._epoch, self._waited = loss, state.epoch, 0
            self._weights = {name: weight.detach().clone() for name, weight in _trained(model)}
        else:
            self._waited += 1
        if self._waited >= self._patience:
            control.should_training_stop = True

    def restore(self, model: Any) -> float | None:
        """Put the best weights back; return after how many passes they stood so, None where nothing was validated."""
        for name, weight in _trained(model) if self._weights else ():
            weight.data.copy_(self._weights[name])
        return self._epoch


def _trained(model: Any) -> Iterator[tuple[str, Tensor]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
