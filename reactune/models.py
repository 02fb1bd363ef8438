"""`reactune models`: base models that fit this machine; and which one the settings name, for `reactune base back`.

(`reactune model` manages the versions made from one.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reactune.shared import AsJson, Config, operator_name, read_settings, show_plain
from storage.database.database import Database
from storage.errors import BaseModelError
from storage.models.free_memory import FreeMemory, free_disk, free_gpus, free_memory
from storage.models.gguf import ARCHITECTURES as GGUF_ARCHITECTURES
from storage.models.hardware import serving_format, training_format, usable_cores
from storage.models.known_bases import KnownBase, configured_base, known_bases
from storage.models.memory import answering_bytes, graph_bytes, round_bytes
from storage.models.openvino.graph_cache import GRAPHS
from storage.models.openvino.recipes import GraphVerdict
from storage.models.openvino.support import why_unsupported
from storage.models.openvino.verifier import is_served_as_graph, newest_verdict, prefers_graphs
from storage.models.shape import ModelShape
from storage.releases.base_change import begin_base
from storage.releases.bases import ConfiguredBase, base_in_use
from storage.settings.sections import Settings
from storage.wording import count, format_bytes

DISK_BYTES = 2
"""Bytes of a number on disk: bfloat16, as nearly all bases are published."""
FITS, FOUR_BITS, ANSWERS_ONLY = "yes", "train only at 4 bits", "answers only"
QUANTISED = "no, its weights are quantised already: only servers can use it"
ORDER = (FITS, FOUR_BITS, ANSWERS_ONLY)
SENTENCES = {
    FITS: "It fits.",
    FOUR_BITS: 'It fits if rounds train at 4 bits (training.quantization = "4bit").',
    ANSWERS_ONLY: "Answers fit, a round does not.",
}


@dataclass(frozen=True)
class Machine:
    """This machine's free memory and disk space for models."""

    memory: FreeMemory
    """Free memory of the first GPU; without a GPU, of the machine."""
    disk: int

    @classmethod
    def here(cls, folder: Path) -> Machine:
        gpus = free_gpus()
        return cls(gpus[0] if gpus else free_memory(), free_disk(folder))


@dataclass(frozen=True)
class Candidate:
    """A base and its needs on this machine, in bytes."""

    name: str
    configured: bool
    parameters: int
    licence: str
    thinks: str
    sees: bool
    """Whether transformers can look at pictures with this base."""
    engines: tuple[str, ...]
    """Engines besides transformers and vLLM that serve this base's versions."""
    disk: int
    serve: int
    serve_format: str
    train: int
    train_format: str
    fits: str
    """The verdict: "yes", "train only at 4 bits", "answers only", or the reason why not."""


def list_bases(config: Config = None, as_json: AsJson = False) -> None:
    """List base models that fit this machine, with the memory that they need (for versions, see `reactune model`)."""
    settings = read_settings(config)
    machine = Machine.here(settings.data.directory)
    found = candidates(settings, machine)
    data = {"machine": asdict(machine), "bases": [asdict(candidate) for candidate in found]}
    lines = [describe_machine(machine), "", table(found)]
    if not any(candidate.configured for candidate in found):
        unknown = f"{settings.model.base}, the base that is set (model.base), is not listed: its sizes are unknown here"
        lines += ["", f"{unknown}. `reactune base show` says more."]
    if (verdict := _own_verdict(settings)) is not None:
        way = f"transformers, because OpenVINO cannot: {verdict.refused}" if verdict.refused else verdict.describe()
        lines += ["", f"{settings.model.base} answers with {way}."]
    show_plain(data, "\n".join(lines), as_json)


def _own_verdict(settings: Settings) -> GraphVerdict | None:
    """Return the result of comparing the configured base's graph with transformers; None if there was no comparison."""
    is_compared = prefers_graphs(settings.model) and (settings.data.directory / GRAPHS).is_dir()
    base = find_configured_base(settings) if is_compared else None  # reads all its files, the first time
    return newest_verdict(base.revision, settings) if base else None


def candidates(settings: Settings, machine: Machine) -> list[Candidate]:
    """Return the configured base and the well-known ones, those that fit first, the larger ones before smaller ones."""
    own = configured_base(settings)
    others = [base for base in known_bases() if own is None or base.name != own.name]
    found = [_examine(base, settings, machine, configured=base is own) for base in ([own] if own else []) + others]

    def place(candidate: Candidate) -> tuple[int, int]:
        is_in = candidate.fits in ORDER
        return ORDER.index(candidate.fits) if is_in else len(ORDER), candidate.parameters * (-1 if is_in else 1)

    return sorted(found, key=place)


def _examine(base: KnownBase, settings: Settings, machine: Machine, *, configured: bool) -> Candidate:
    is_graph = is_served_as_graph(base.shape.config, settings.model)
    serve, train, at_4_bits = memory_needs(base.shape, settings)
    graph = graph_bytes(base.shape) if is_graph else 0
    disk = DISK_BYTES * base.shape.parameters + graph
    return Candidate(
        name=base.name,
        configured=configured,
        parameters=base.shape.parameters,
        licence=base.licence,
        thinks=base.thinks,
        sees=base.sees,
        engines=_engines(base, settings),
        disk=round(disk),
        serve=round(serve),
        serve_format="8 bits" if is_graph else serving_format(settings.model),
        train=round(train),
        train_format=settings.training.quantization or training_format(settings.training),
        fits=QUANTISED
        if base.shape.config.get("quantization_config")
        else _verdict(machine, disk=disk, serve=serve, train=train, at_4_bits=at_4_bits),
    )


def _engines(base: KnownBase, settings: Settings) -> tuple[str, ...]:
    serves = {
        "OpenVINO": not why_unsupported(base.shape.config, settings.model),
        "llama.cpp": base.architecture in GGUF_ARCHITECTURES,
    }
    return tuple(name for name, is_able in serves.items() if is_able)


def memory_needs(shape: ModelShape, settings: Settings) -> tuple[float, float, float]:
    """Return the bytes for answering, for a round, and for a round with weights in 4 bits."""
    trained = settings.training, settings.training.model_copy(update={"quantization": "4bit"})
    usual, at_4_bits = (round_bytes(shape, settings.model, training) for training in trained)
    is_graph = is_served_as_graph(shape.config, settings.model)
    return answering_bytes(shape, settings, as_graph=is_graph), usual, at_4_bits


def _verdict(machine: Machine, *, disk: float, serve: float, train: float, at_4_bits: float) -> str:
    """Return whether the base fits. On a CPU a round and the bot share the memory; on a GPU the bot steps aside."""
    memory = machine.memory
    beside = 0.0 if memory.is_gpu else serve
    if disk > machine.disk:
        return f"no, needs {format_bytes(disk)} of disk"
    if serve > memory.free:
        return f"no, needs {format_bytes(serve)} of {memory.kind}"
    if beside + train <= memory.free:
        return FITS
    return FOUR_BITS if memory.is_gpu and at_4_bits <= memory.free else ANSWERS_ONLY


def describe_memory(shape: ModelShape, settings: Settings) -> str:
    """Return the memory that answering and a round need with a base, and this machine's; nothing is loaded."""
    machine = Machine.here(settings.data.directory)
    serve, train, at_4_bits = memory_needs(shape, settings)
    fits = _verdict(machine, disk=0, serve=serve, train=train, at_4_bits=at_4_bits)
    return (
        f"Memory: about {format_bytes(serve)} to answer and {format_bytes(train)} for a round, of "
        f"{format_bytes(machine.memory.free)} free {machine.memory.kind}. {SENTENCES.get(fits, 'It does not fit.')}"
    )


def describe_machine(machine: Machine) -> str:
    """Return a sentence about this machine."""
    memory = machine.memory
    device = "one GPU" if memory.is_gpu else f"{count(usable_cores(), 'core')} and no GPU"
    return (
        f"This machine has {device}, {format_bytes(memory.free)} of {format_bytes(memory.total)} of {memory.kind} "
        f"free, and {format_bytes(machine.disk)} of disk."
    )


def table(found: Sequence[Candidate]) -> str:
    """Return aligned lines, a base each; an asterisk marks the configured one."""
    rows = [
        ("base", "size", "disk", "answers", "trains", "thinks", "sees", "also runs in", "fits"),
        *map(_cells, found),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cells(one: Candidate) -> tuple[str, ...]:
    return (
        f"{one.name} *" if one.configured else one.name,
        f"{one.parameters / 1e9:.2f} B",
        format_bytes(one.disk),
        f"{format_bytes(one.serve)} {one.serve_format}",
        f"{format_bytes(one.train)} {one.train_format}",
        one.thinks,
        "yes" if one.sees else "no",
        ", ".join(one.engines),
        one.fits,
    )


def record_configured_base(database: Database, settings: Settings) -> None:
    """Record the base, unless one is recorded already, or this one is not on the machine or cannot be used."""
    if database.fetch(base_in_use) is not None:
        return
    if (configured := find_configured_base(settings)) is not None:
        database.call(begin_base, configured, by=operator_name())


def find_configured_base(settings: Settings) -> ConfiguredBase | None:
    """Return the base of the settings; None if it is not on the machine or cannot be used.

    Nothing is downloaded or converted for it.
    """
    with contextlib.suppress(BaseModelError, OSError):
        return _find(settings)
    return None


def _find(settings: Settings) -> ConfiguredBase | None:
    from storage.models.base_model import BUNDLED, BUNDLED_NAME, bundled_revision, resolve_base_model
    from storage.models.base_offer import examine_base
    from storage.models.conversion import GEMMA, chat_revision
    from storage.models.hub import find_downloaded

    setting, directory = settings.model.base, settings.data.directory
    if setting == BUNDLED:
        return ConfiguredBase(setting=setting, name=BUNDLED_NAME, revision=bundled_revision(directory))
    if setting == GEMMA:
        return ConfiguredBase(setting=setting, name=GEMMA, revision=chat_revision())
    if not Path(setting).expanduser().is_dir() and find_downloaded(setting) is None:
        return None
    examine_base(setting, settings)
    model = resolve_base_model(setting, directory)
    return ConfiguredBase(setting=setting, name=model.name, revision=model.revision)
