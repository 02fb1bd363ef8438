"""Checks of what a round needs."""

from __future__ import annotations

from reactune.doctor.findings import Hint, Problem
from reactune.doctor.models import find_base
from storage.models.base_model import quantization_of
from storage.models.hardware import has_gpu, require_quantization, training_format
from storage.models.layer_names import LayerNames, has_experts
from storage.runtime.schedules import parse_schedule
from storage.settings.sections import Settings
from trainer.errors import TooLittleMemory
from trainer.rounds.readiness import check_round_memory


def check_training(settings: Settings) -> str:
    training = settings.training
    parse_schedule("training.schedule", training.schedule)
    require_quantization(training.quantization)
    base = find_base(settings)
    if method := quantization_of(base.path):
        raise Hint(
            f"no rounds: the weights of {base.name} are quantised already ({method}); set model.base to the model that "
            "they were made from"
        )
    together = f", {training.processes} processes" if training.processes > 1 else ""
    experts = f"; {LayerNames(base.path).left_out}" if has_experts(base.path) else ""
    device = f"on the {'GPU' if has_gpu() else 'CPU'}{together}"
    try:
        memory = check_round_memory(settings, base)
    except TooLittleMemory as error:
        raise Problem(str(error)) from error
    return f"in {training.quantization or training_format(training)}, {device}; a round {memory}{experts}"
