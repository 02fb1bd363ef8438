"""Recipes of the two objectives: DPO learns from preference pairs, SFT from demonstrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.models.chat_format import ChatFormat
from storage.models.hardware import has_gpu, training_format
from storage.settings.sections import DemonstrationSettings, TrainingSettings
from trainer.training.memory_plan import USUAL, TrainingMemoryPlan, micro_batch
from trainer.training.rows import Example, Row, demonstration_row, pair_row

WARMUP_SHARE = 0.1
"""Share of the steps in which the learning rate rises from 0 to its peak, as in DPO's published recipes."""
MOST_PASSES = 6.0
"""With 12 pairs, 48 steps were 16 passes, after which 43 % of answers fitted their message (66 % before the round).
After 5 or 6 passes over 20 to 60 pairs, at least nine tenths of what had fitted still did."""
ADAM_BETA2 = 0.95
"""A round has a few dozen steps: the default, 0.999, would average over a thousand."""


@dataclass(frozen=True)
class TrainingSplit:
    """Examples of one kind, split by use."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    """Examples that decide when to stop, if `settings.patience` allows it, and the adapter's strength."""
    ours: tuple[Example, ...] = ()
    """Examples of our own. They are trained on too, and counted apart from what people said."""


@dataclass(frozen=True)
class Recipe:
    """The training procedure of one objective. It can be pickled, and imports TRL only when it is used."""

    objective: str
    """"dpo" or "sft"."""
    row: Callable[[Any, ChatFormat], Row]
    """Turns an example into token ids."""
    config: Callable[..., Any]
    """Returns TRL's settings, given (output, settings, tokens of the longest row, plan, validates=...)."""
    plan: TrainingMemoryPlan
    """USUAL until the examples are known."""


def _dpo_config(
    output: Path, settings: TrainingSettings, _longest: int, plan: TrainingMemoryPlan, *, validates: bool
) -> Any:
    from trl import DPOConfig

    losses = {"sigmoid": 1.0, "sft": settings.sft_weight}
    used = {name: weight for name, weight in losses.items() if weight > 0}
    return DPOConfig(
        **training_options(output, settings, plan, validates=validates),
        beta=settings.beta,
        precompute_ref_log_probs=True,
        loss_type=list(used),
        loss_weights=list(used.values()),
        per_device_train_batch_size=_rank_batch(settings),
        per_device_eval_batch_size=_rank_batch(settings),
    )


def _sft_config(
    output: Path, settings: TrainingSettings, longest: int, plan: TrainingMemoryPlan, *, validates: bool
) -> Any:
    from trl import SFTConfig

    at_once = micro_batch(_rank_batch(settings), longest, plan.batch_tokens)
    return SFTConfig(
        **training_options(output, settings, plan, validates=validates),
        per_device_train_batch_size=at_once,
        per_device_eval_batch_size=at_once,
        gradient_accumulation_steps=_rank_batch(settings) // at_once,
    )


def _rank_batch(settings: TrainingSettings) -> int:
    """Return the number of a step's examples for one rank."""
    return settings.batch_size // settings.processes


def training_options(
    output: Path, settings: TrainingSettings, plan: TrainingMemoryPlan, *, validates: bool
) -> dict[str, Any]:
    """Return the options that all of TRL's trainers share.

    In float16 accelerate scales the loss, so that small gradients do not vanish, and skips steps that overflow.
    """
    dtype = training_format(settings)
    parallel = {
        "ddp_backend": "nccl" if has_gpu() else "gloo",
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
    }
    return {
        **(parallel if settings.processes > 1 else {}),
        "output_dir": str(output),
        "learning_rate": settings.learning_rate,
        "adam_beta2": ADAM_BETA2,
        "num_train_epochs": settings.epochs,
        "activation_checkpointing": plan.checkpointing,
        "max_length": None,
        "router_aux_loss_coef": 0.0,  # for a mixture of experts: TRL would ask for an output that other models lack
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
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


DPO = Recipe("dpo", pair_row, _dpo_config, USUAL)
"""DPO: Rafailov et al. 2023, eq. 7, with a likelihood term on the chosen answers."""
SFT = Recipe("sft", demonstration_row, _sft_config, USUAL)
"""SFT: the loss is the mean over the answers' tokens and the end token after each answer."""


def for_so_many(examples: int, settings: TrainingSettings) -> TrainingSettings:
    """Return the settings with enough passes for `min_steps` steps, but no more than MOST_PASSES for that."""
    passes = max(settings.epochs, min(MOST_PASSES, settings.min_steps * settings.batch_size / examples))
    return settings.model_copy(update={"epochs": passes})


def warmup_share(examples: int, settings: TrainingSettings) -> float:
    """Return the share of steps in which the learning rate rises; less than one step is left out."""
    return WARMUP_SHARE if WARMUP_SHARE * settings.epochs * examples / settings.batch_size >= 1 else 0.0


def as_demonstrated(training: TrainingSettings, demonstration: DemonstrationSettings) -> TrainingSettings:
    """Return the settings of [training], with the passes of [demonstration]."""
    return training.model_copy(update={"epochs": demonstration.epochs})
