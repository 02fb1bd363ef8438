"""The strength of an adapter: the share of its learned change that it keeps. It is searched in two places.

`choose_strength` asks people's validation pairs how strong the change should be, before anything is judged; its answer
may also be more than all of it. `RoundJudge.mend` asks the gate, only if the version fails a check, how much of that it
allows. Neither replaces the other: pairs do not show broken, long or repeated answers, and the checks set limits but
do not say which strength people prefer.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from math import fsum
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from storage.adapters.folder_store import CONFIG_FILE, WEIGHTS_FILE
from storage.models.base_model import BaseModel, load_adapter, load_on_device, load_tokenizer
from storage.models.effect import UP_PROJECTION, measure_effect, write_effect
from storage.models.hardware import cpu_threads, silence_transformers, training_format
from storage.settings.sections import TrainingSettings
from storage.statistics import Z_ONE_SIDED_95
from trainer.progress import Advance, Phase, ReportProgress, after_others, begin_phase
from trainer.training.rows import WEIGHT, Row

if TYPE_CHECKING:
    from trainer.training.trl_trainers import RowTrainer

STRENGTHS = (1.0, 0.5, 0.75, 1.25, 1.5)
"""Shares of the learned change to try; of equally good ones, the first is chosen."""
MILDER = (0.75, 0.5, 0.25)
"""Fractions of the chosen strength, tried in this order until the version no longer goes too far."""
FEWEST_WATCHED = 8
"""Minimum number of validation pairs that can stop training early or choose a strength: fewer are chance."""


def choose_strength(
    trainer: RowTrainer, watched: Sequence[Row], before: Sequence[float], report: ReportProgress
) -> float:
    """Return the strength with the lowest preference loss on people's pairs, if chance does not explain the difference.

    With too few pairs, it is 1. `before` are the pairs' scores before training.
    """
    if len(watched) < FEWEST_WATCHED:
        return 1.0
    advance = begin_phase(report, Phase.VALIDATING, len(STRENGTHS) * len(watched))
    weights = [row.get(WEIGHT, 1.0) for row in watched]
    losses: dict[float, list[float]] = {}
    for place, strength in enumerate(STRENGTHS):
        trainer.set_strength(strength)
        margins = margins_of(trainer, watched, before, after_others(advance, place * len(watched)))
        losses[strength] = _preference_losses(margins, weights)
    best = min(STRENGTHS, key=lambda strength: fsum(losses[strength]))
    gains = [whole - less for whole, less in zip(losses[1.0], losses[best], strict=True)]
    return best if fmean(gains) > Z_ONE_SIDED_95 * stdev(gains) / math.sqrt(len(gains)) else 1.0


def margins_of(trainer: RowTrainer, watched: Sequence[Row], before: Sequence[float], advance: Advance) -> list[float]:
    """Return how much each row's score has risen, in nats."""
    return [now - then for now, then in zip(trainer.scores(watched, advance), before, strict=True)]


def _preference_losses(margins: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return DPO's loss of each margin, times its weight (Rafailov et al. 2023, eq. 7)."""
    return [
        weight * (max(0.0, -margin) + math.log1p(math.exp(-abs(margin))))
        for margin, weight in zip(margins, weights, strict=True)
    ]


def save_weaker(adapter: Path, folder: Path, share: float, starter: Path | None) -> None:
    """Save the adapter to the folder with this share, 0 to 1, of its change to its starter or the base."""
    import torch
    from safetensors.torch import load_file, save_file

    learned = load_file(adapter / WEIGHTS_FILE)
    if starter is None:
        weaker = {name: weight * share if UP_PROJECTION in name else weight for name, weight in learned.items()}
    else:
        start = load_file(starter / WEIGHTS_FILE)
        weaker = {name: torch.lerp(start[name].to(weight), weight, share) for name, weight in learned.items()}
    shutil.copyfile(adapter / CONFIG_FILE, folder / CONFIG_FILE)
    save_file(weaker, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def record_effect(adapter: Path, base: BaseModel, settings: TrainingSettings) -> None:
    """Measure a saved adapter's effect and write it into its file."""
    with cpu_threads(settings.threads), silence_transformers():
        model = load_on_device(base.path, training_format(settings), settings.quantization, setting="training.dtype")
        write_effect(adapter, measure_effect(load_adapter(model, adapter, base), load_tokenizer(base.path)))
