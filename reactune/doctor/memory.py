"""Check of the memory that answering needs."""

from __future__ import annotations

from reactune.doctor.findings import Hint, Problem
from reactune.doctor.models import find_base
from reactune.models import Machine, is_served_as_graph, serving_need
from storage.models.shape import shape_of
from storage.settings.sections import Settings
from storage.wording import format_bytes


def check_memory(settings: Settings) -> str:
    """Compare what answering needs with what this machine, or its container, has free."""
    if settings.model.engine == "remote":
        return "servers elsewhere hold the model"
    base, machine = find_base(settings), Machine.here(settings.data.directory)
    memory = machine.memory
    try:
        shape = shape_of(base.path)
        needed = serving_need(shape, settings, machine, as_graph=is_served_as_graph(shape, settings))
    except KeyError as error:
        raise Hint(f"what {base.name} needs cannot be estimated, because its config.json lacks {error}") from error
    if needed > memory.free:
        raise Problem(
            f"{format_bytes(memory.free)} of {memory.kind} free, but answering needs about "
            f"{format_bytes(needed)}: stop other programs, raise the container's limit, lower generation.batch_size or "
            "model.context_tokens, or choose a smaller model.base (see `reactune models`; a running bot already uses "
            "its share)"
        )
    return f"answering needs about {format_bytes(needed)} of {memory.kind}, {format_bytes(memory.free)} free"
