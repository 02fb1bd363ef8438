"""One round of DPO: preference pairs and a parent adapter in, a new adapter out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.base_model import BaseModel, load_model, load_tokenizer, quiet_transformers
from storage.settings import TrainingSettings
from trainer.errors import TrainerError

if TYPE_CHECKING:
    from trainer.preference_trainer import PreferenceTrainer

ADAPTER = "default"  # PEFT's name of the adapter in training; TRL keeps the parent beside it as "ref"
Row = dict[str, Any]


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one prompt, which is the text that the model was served, special tokens included."""

    prompt: str
    chosen: str
    rejected: str
    weight: float = 1.0
    """Factor of the pair's loss."""
    chosen_is_cut: bool = False
    """It ended at a length limit: no end token follows it, or the model would learn to stop in mid-sentence."""
    rejected_is_cut: bool = False


@dataclass(frozen=True)
class Progress:
    phase: str
    """loading, reference, training, evaluating or judging."""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class DpoMetrics:
    train_loss: float
    """Mean over the steps."""
    steps: int
    pairs: int
    """Pairs trained on."""
    holdout_pairs: int
    holdout_accuracy: float | None
    """Share of held-out pairs whose margin is positive; None without held-out pairs. The parent's own margins are 0."""
    holdout_margin: float | None
    """Mean of beta * (log-ratio of chosen - log-ratio of rejected) to the parent, in nats (Rafailov et al. 2023)."""
    left_out: int
    """Pairs longer than training.max_tokens, held-out ones included."""
    seconds: float


Report = Callable[[Progress], None]


def train_dpo(
    train: Sequence[PreferencePair],
    holdout: Sequence[PreferencePair],
    *,
    base: BaseModel,
    parent: Path | None,
    output: Path,
    settings: TrainingSettings,
    report: Report,
) -> DpoMetrics:
    """Train an adapter from `parent` (from nothing where None), with the parent as DPO's reference, into `output`.

    Equal pairs, settings and threads give equal bytes on one machine. Raises TrainingDiverged on a loss that is no
    number, TrainerError when no pair fits into training.max_tokens.
    """
    started = time.monotonic()
    with cpu_threads(settings.threads), quiet_transformers():
        report(Progress("loading"))
        tokenizer = load_tokenizer(base)
        rows = _rows(train, tokenizer, settings.max_tokens)
        holdout_rows = _rows(holdout, tokenizer, settings.max_tokens)
        if not rows:
            raise TrainerError(f"none of {len(train)} pairs fits into training.max_tokens = {settings.max_tokens}")
        report(Progress("reference"))
        trainer = _build_trainer(
            base,
            parent,
            tokenizer=tokenizer,
            rows=rows,
            holdout_rows=holdout_rows,
            output=output,
            settings=settings,
            report=report,
        )
        outcome = trainer.train()
        report(Progress("evaluating"))
        held_out = trainer.evaluate() if holdout_rows else {}
        _save_adapter(trainer.model, base, output)
    return DpoMetrics(
        train_loss=outcome.training_loss,
        steps=outcome.global_step,
        pairs=len(rows),
        holdout_pairs=len(holdout_rows),
        holdout_accuracy=held_out.get("eval_rewards/accuracies"),
        holdout_margin=held_out.get("eval_rewards/margins"),
        left_out=len(train) + len(holdout) - len(rows) - len(holdout_rows),
        seconds=time.monotonic() - started,
    )


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


def _rows(pairs: Sequence[PreferencePair], tokenizer: Any, max_tokens: int) -> list[Row]:
    rows = [_row(pair, tokenizer) for pair in pairs]
    return [row for row in rows if _longest(row) <= max_tokens]


def _row(pair: PreferencePair, tokenizer: Any) -> Row:
    prompt_ids = _token_ids(pair.prompt, tokenizer)
    return {
        "prompt_ids": prompt_ids,
        "chosen_ids": _answer_ids(prompt_ids, pair.prompt, pair.chosen, tokenizer, is_cut=pair.chosen_is_cut),
        "rejected_ids": _answer_ids(prompt_ids, pair.prompt, pair.rejected, tokenizer, is_cut=pair.rejected_is_cut),
        "weight": pair.weight,
    }


def _answer_ids(prompt_ids: list[int], prompt: str, answer: str, tokenizer: Any, *, is_cut: bool) -> list[int]:
    """Return the answer's tokens as they follow the served prompt, with the end token once unless it was cut."""
    together = _token_ids(prompt + answer, tokenizer)
    # Usually the prompt's tokens come first. Where a token would span the border, the answer is taken alone, because
    # serving generates after the prompt's own tokens.
    is_prefix = together[: len(prompt_ids)] == prompt_ids
    ids = together[len(prompt_ids) :] if is_prefix else _token_ids(answer, tokenizer)
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids if is_cut else [*ids, tokenizer.eos_token_id]


def _token_ids(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _longest(row: Row) -> int:
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def _build_trainer(
    base: BaseModel,
    parent: Path | None,
    *,
    tokenizer: Any,
    rows: list[Row],
    holdout_rows: list[Row],
    output: Path,
    settings: TrainingSettings,
    report: Report,
) -> PreferenceTrainer:
    from datasets import Dataset

    from trainer.preference_trainer import PreferenceTrainer

    return PreferenceTrainer(
        model=_load_policy(base, parent, settings.dtype),
        peft_config=None if parent else _new_adapter(settings),
        processing_class=tokenizer,
        args=_dpo_config(output, settings),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(holdout_rows) if holdout_rows else None,
        report=report,
    )


def _load_policy(base: BaseModel, parent: Path | None, dtype: str) -> Any:
    """Return the base, or the base under a trainable copy of the parent, which TRL then takes as the reference."""
    from peft import PeftModel

    model = load_model(base, dtype)
    return model if parent is None else PeftModel.from_pretrained(model, parent, is_trainable=True)


def _new_adapter(settings: TrainingSettings) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _dpo_config(output: Path, settings: TrainingSettings) -> Any:
    import torch
    from trl import DPOConfig

    losses = {"sigmoid": 1.0, "sft": settings.sft_weight}
    used = {name: weight for name, weight in losses.items() if weight > 0}
    return DPOConfig(
        output_dir=str(output),
        loss_type=list(used),
        loss_weights=list(used.values()),
        beta=settings.beta,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=settings.batch_size,
        activation_checkpointing=False,
        precompute_ref_log_probs=True,
        max_length=None,
        bf16=settings.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        seed=settings.seed,
        data_seed=settings.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )


def _save_adapter(model: Any, base: BaseModel, output: Path) -> None:
    config = model.peft_config[ADAPTER]
    config.base_model_name_or_path, config.revision = base.name, base.revision
    # Without save_embedding_layers=False PEFT may ask the hub about the base.
    model.save_pretrained(output, selected_adapters=[ADAPTER], save_embedding_layers=False)
