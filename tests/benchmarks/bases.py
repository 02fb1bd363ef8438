"""`reactune bench bases`: what a base costs: serving, and a round, beside generate(), llama.cpp and plain TRL.

Without `--base` its weights are random: memory does not depend on them, nor does speed with equal weights' formats; but
what OpenVINO chooses does. Each side has a process of its own, one after the other.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

from bot.errors import BotError
from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.errors import SettingsError, StorageError
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.gguf import gguf_name, write_gguf
from storage.models.hardware import has_gpu, require_quantization, serving_format, training_format
from storage.models.openvino.recipes import W4A8, W8A16
from storage.models.openvino.verifier import Verifier
from storage.settings.sections import ModelSettings, Settings, TrainingSettings
from tests.benchmarks.apart import EndedEarly, TellRow, rows_apart
from tests.benchmarks.bases_report import contract_of, memory_ratios_of, ratios_of, tables
from tests.benchmarks.bases_round import Round, Work, train_ours, train_trl
from tests.benchmarks.bases_serving import VLLM, Serving, serve
from tests.benchmarks.disturbance import Ratio, compare
from tests.benchmarks.random_base import SHAPES, write_random_adapter, write_random_base
from tests.benchmarks.report import Row, notes, report
from tests.benchmarks.serving import adapter_in
from tests.benchmarks.serving_sitting import LLAMA_CPP, OPENVINO, PLAIN, TRANSFORMERS
from tests.benchmarks.training_sides import OURS, TRL, TRL_DEFAULT
from tests.verdicts import trust_graphs
from trainer.errors import TrainerError
from trainer.evaluation.measures import retention_text

T = TypeVar("T")

DEVICES = ("auto", "cpu", "cuda")
FULL_BITS = 16
"""Of weights that are not quantised: in the format of the settings, or in bfloat16."""
CHOSEN_BITS = 0
"""Those of the recipe that the comparison with transformers chooses, as for the bot."""
CPU_BITS = (FULL_BITS, CHOSEN_BITS, 8, 4)
GRAPHS = {8: W8A16, 4: W4A8}
GPU_BITS = (FULL_BITS, 4)
BARE, WITH_VERSION = 0, 1
"""llama.cpp as the base, and with the version that ours answers with."""
TEMPERATURE = 0.2
"""Random weights give flat predictions; at this temperature a nucleus is as small as a trained model's."""
MAX_NEW_TOKENS = 64
"""Of an answer that is judged: random weights never end one."""
FAILURES = (BotError, StorageError, TrainerError, RuntimeError, MemoryError, OSError)
"""Of a side that cannot be measured; PyTorch without memory raises a RuntimeError."""


@dataclass(frozen=True)
class Sides:
    serving: Sequence[tuple[str, int]]
    """Engines, each with the bits of its weights."""
    training_bits: Sequence[int]

    @classmethod
    def on_cpu(cls, bits: Sequence[int], *, has_gguf: bool = False) -> Sides:
        ours = [(TRANSFORMERS if one == FULL_BITS else OPENVINO, one) for one in bits]
        theirs = [(LLAMA_CPP, one) for one in (BARE, WITH_VERSION)] if has_gguf else []
        return cls((*ours, *theirs, (PLAIN, FULL_BITS)), (FULL_BITS,))

    @classmethod
    def on_gpu(cls, bits: Sequence[int], *, has_vllm: bool) -> Sides:
        both = [(engine, one) for one in bits for engine in (TRANSFORMERS, PLAIN)]
        return cls((*both, *([(VLLM, FULL_BITS)] if has_vllm else [])), bits)


def run(
    *,
    size: str = "small",
    base: Path | None = None,
    gguf: Path | None = None,
    device: str = "auto",
    bits: Sequence[int] | None = None,
    pairs: int = 32,
    prompt_tokens: int = 200,
    trl_steps: int = 0,
    judge: bool = False,
    dtype: str = "auto",
    vllm: str = "",
) -> dict[str, Any]:
    """Return machine, versions, rows, ratios and tables in Markdown.

    `size` is one of SHAPES, `base` the folder of a model in its place, `gguf` that model for llama.cpp, `bits` those of
    served weights, `vllm` the program of that name.
    """
    on_gpu = _choose_device(device)
    offered = GPU_BITS if on_gpu else CPU_BITS
    chosen = bits or (CPU_BITS[1:] if not on_gpu else offered)
    _require_known("--bits", chosen, offered)
    _require_known("--dtype", [dtype], get_args(TrainingSettings.model_fields["dtype"].annotation))
    if gguf and not gguf.is_file():
        raise SettingsError(f"--gguf {gguf} is no file")
    sides = Sides.on_gpu(chosen, has_vllm=bool(vllm)) if on_gpu else Sides.on_cpu(chosen, has_gguf=gguf is not None)
    work = Work(pairs, prompt_tokens, trl_steps, judge)
    return measure(str(base or size), sides, work, dtype=dtype, vllm=vllm, gguf=gguf)


def _choose_device(device: str) -> bool:
    """Return whether the GPU is used; "cpu" hides it from this process and its children."""
    _require_known("--device", [device], DEVICES)
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        has_gpu.cache_clear()
    if device == "cuda" and not has_gpu():
        raise SettingsError("--device cuda needs a GPU that PyTorch can use, which this machine does not have")
    return device == "cuda" or (device == "auto" and has_gpu())


def _require_known(option: str, values: Sequence[object], known: Sequence[object]) -> None:
    for value in values:
        if value not in known:
            raise SettingsError(f"{option} {value} is not possible here: use {', '.join(map(str, known))}")


def measure(
    size: str, sides: Sides, work: Work, *, dtype: str = "auto", vllm: str = "", gguf: Path | None = None
) -> dict[str, Any]:
    """Return the report on one base. A side that fails, or is killed, is a row that says so, and the rest goes on."""
    with tempfile.TemporaryDirectory(prefix="reactune-bases-") as name:
        bench = _Bench(Path(name), size, work, dtype, vllm, gguf)
        rows = [*(bench.rounds(sides.training_bits) if work.pairs else ()), *bench.serving(sides.serving)]
    ratios, left_out = _undisturbed(ratios_of(rows))
    ratios |= memory_ratios_of(rows)
    found = {"size": size, "parameters": bench.parameters, "pairs": work.pairs, "prompt_tokens": work.prompt_tokens}
    packages = ("torch", "transformers", "trl", "peft", "openvino-genai", "xllamacpp", "bitsandbytes")
    told = report(rows, ratios | contract_of(rows, ratios), *packages, notes=left_out, base=found)
    return told | {"markdown": tables(found, rows, ratios)}


def _undisturbed(ratios: Mapping[str, Ratio]) -> tuple[dict[str, float | None], list[str]]:
    """Return the ratios that other work did not disturb, and notes on the rest; a busy core disturbs none on a GPU."""
    return ({name: ratio.value for name, ratio in ratios.items()}, []) if has_gpu() else compare(ratios)


class _Bench:
    """A base in a folder, and what is measured on it."""

    def __init__(self, folder: Path, size: str, work: Work, dtype: str, vllm: str, gguf: Path | None) -> None:
        self._folder = folder
        self._work = work
        self._dtype = dtype
        self._vllm = vllm
        self._gguf = gguf
        self._text = retention_text()
        self.parameters: int | None = None
        named = size
        if size in SHAPES or not Path(size).is_dir():
            notes.print(f"Writing a base of size {size} with random weights …")
            named = str(folder / f"random-{size}")
            self.parameters = write_random_base(size, Path(named))
        self._settings = self._base_settings(named)
        self._base: BaseModel = resolve_base_model(named, self._settings.data.directory)
        self._trained = folder / "trained"
        self._random = [write_random_adapter(self._base.path, folder / f"random-{seed}", seed) for seed in (1, 2)]

    def _base_settings(self, base: str) -> Settings:
        """Return settings that do not depend on this machine's config.toml."""
        return Settings.model_validate(
            {
                "data": {"directory": self._folder / "data"},
                "model": {"base": base},
                "generation": {"temperature": TEMPERATURE, "max_new_tokens": MAX_NEW_TOKENS, "timeout_s": 36_000.0},
                "training": {"threads": 0, "min_steps": 0, "dtype": self._dtype},
                "gate": {"coherence_model": "base"},
                "remote": {"first_token_timeout_s": 600.0},
            }
        )

    # A round

    def rounds(self, bits: Sequence[int]) -> Iterator[Row]:
        for one in bits:
            yield from self._round(one)

    def _round(self, bits: int) -> Iterator[Row]:
        training = self._settings.training.model_copy(update={"quantization": _quantization(bits)})
        settings = self._settings.model_copy(update={"training": training})
        plan = Round(self._base, settings, self._work, self._text, self._folder / f"round-{bits}")
        weights = training_format(training) if bits == FULL_BITS else f"{bits} bits"
        described = {"part": "round", "weights": weights}
        if refusal := self._refusal(bits):
            yield described | {"side": OURS, "what": "training", "skipped": refusal}
            return
        plan.output.mkdir()
        yield from _measured(train_ours, plan, described | {"side": OURS})
        if (plan.output / WEIGHTS_FILE).exists() and not self._trained.exists():
            plan.output.rename(self._trained)
        theirs = list(_measured(train_trl, plan, described | {"side": TRL}))
        yield from theirs
        if any("failed" in row for row in theirs):
            yield from _measured(train_trl, replace(plan, recomputes=True), described | {"side": TRL_DEFAULT})

    def _refusal(self, bits: int) -> str:
        try:
            require_quantization(_quantization(bits))
        except SettingsError as error:
            return str(error)
        return ""

    # Serving

    def serving(self, sides: Sequence[tuple[str, int]]) -> Iterator[Row]:
        for engine, bits in sides:
            settings = self._serving_settings(engine, bits)
            described = {"part": "serving", "side": engine, "weights": self._weights_of(engine, bits)}
            if isinstance(settings, str):
                yield described | {"what": "start", "skipped": settings}
                continue
            plan = Serving(
                engine,
                self._base,
                settings,
                self._versions,
                self._work.lengths,
                self._text,
                self._vllm,
                self._gguf,
                self._lora() if (engine, bits) == (LLAMA_CPP, WITH_VERSION) else None,
            )
            for row in _measured(serve, plan, described):
                yield row | self._choice(engine, bits, settings, row)

    def _choice(self, engine: str, bits: int, settings: Settings, row: Row) -> Row:
        """Return what the comparison with transformers came to, beside the row of the start that waited for it."""
        if engine != OPENVINO or bits != CHOSEN_BITS or row["what"] != "start":
            return {}
        verdict = Verifier(self._base, settings.data.directory, settings.model).verdict
        return {"recipe": verdict.recipe, "why": verdict.why} if verdict else {}

    def _lora(self) -> Path:
        version, _ = self._versions
        file = self._folder / gguf_name(version)
        write_gguf(version, self._base, file)
        return file

    def _serving_settings(self, engine: str, bits: int) -> Settings | str:
        """Return the settings, or why this machine cannot serve so."""
        options: dict[str, Any] = {"engine": engine} if engine in (OPENVINO, TRANSFORMERS) else {}
        if engine in (TRANSFORMERS, PLAIN) and bits != FULL_BITS:
            if refusal := self._refusal(bits):
                return refusal
            options["quantization"] = _quantization(bits)
        model = ModelSettings.model_validate(self._settings.model.model_dump() | options)
        data = self._settings.data.model_copy(update={"directory": self._folder / f"data-{engine}-{bits}"})
        if engine == OPENVINO and bits in GRAPHS:
            trust_graphs(self._base, data.directory, model, GRAPHS[bits])
        return self._settings.model_copy(update={"model": model, "data": data})

    def _weights_of(self, engine: str, bits: int) -> str:
        """Return their format, for the report."""
        if engine == LLAMA_CPP:
            return "as in the file" + (", with the version" if bits == WITH_VERSION else "")
        if bits == CHOSEN_BITS:
            return "chosen"
        if bits != FULL_BITS:
            return f"{bits} bits"
        return serving_format(self._settings.model) if engine == TRANSFORMERS else "bfloat16"

    @property
    def _versions(self) -> tuple[AdapterRef, AdapterRef]:
        """The version that the round trained, if one did, and another one."""
        first = adapter_in(self._trained) if self._trained.exists() else self._random[0]
        return first, self._random[1]


def _quantization(bits: int) -> str:
    return "" if bits == FULL_BITS else f"{bits}bit"


def _measured(work: Callable[[T, TellRow], None], plan: T, described: Row) -> Iterator[Row]:
    """Yield the rows of one side with its description; if it fails or dies, the last one says so."""
    notes.print(f"Measuring {described['part']}: {described['side']}, {described['weights']} …", highlight=False)
    try:
        for row in rows_apart(partial(_try, work), plan):
            known = (f"{name} {value}" for name, value in row.items() if value is not None)
            notes.print("  " + ", ".join(known), highlight=False, soft_wrap=True)
            yield described | row
    except EndedEarly as end:
        notes.print(f"  {end}", highlight=False)
        yield described | {"what": "failure", "failed": str(end)}


def _try(work: Callable[[T, TellRow], None], plan: T, tell: TellRow) -> None:
    with contextlib.suppress(OSError):  # only Linux has it: where memory runs out, nobody else is killed
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        work(plan, tell)
    except FAILURES as error:
        tell({"what": "failure", "failed": _first_cause(error)})


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{error}".partition("\n")[0] or type(error).__name__
