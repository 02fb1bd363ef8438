"""Checks of what a round needs."""

from __future__ import annotations

from contextlib import closing

from reactune.doctor.findings import Hint, Problem
from reactune.doctor.models import find_base
from storage.database.database import open_database
from storage.models.base_model import BaseModel, quantization_of
from storage.models.hardware import describe_training_format, describe_unlike
from storage.models.layer_names import LayerNames, has_experts
from storage.runtime.schedules import parse_schedule
from storage.settings.sections import Settings
from trainer.errors import TooLittleMemory
from trainer.gpu_room import shares_gpu
from trainer.rounds.readiness import check_round_memory


def check_training(settings: Settings) -> str:
    training = settings.training
    parse_schedule("training.schedule", training.schedule)
    way = describe_training_format(training)
    base = find_base(settings)
    if method := quantization_of(base.path):
        raise Hint(
            f"no rounds: the weights of {base.name} are quantised already ({method}); set model.base to the model that "
            "they were made from"
        )
    together = f", {training.processes} processes" if training.processes > 1 else ""
    experts = LayerNames(base.path).left_out if has_experts(base.path) else ""
    parts = [way + together, experts, describe_unlike(settings), f"a round {_describe_memory(settings, base)}"]
    return "; ".join(filter(None, parts))


def _describe_memory(settings: Settings, base: BaseModel) -> str:
    try:
        return check_round_memory(settings, base)
    except TooLittleMemory as error:
        with closing(open_database(settings)) as database:
            if shares_gpu(database, settings):
                return "takes the GPU from the bot's engine, which steps aside"
        raise Problem(str(error)) from error
