"""`reactune bench memory`: the memory that the formulas predict, beside the measured peaks of random models."""

from __future__ import annotations

import ctypes
import gc
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from storage.models.base_model import BaseModel, load_tokenizer, resolve_base_model
from storage.models.free_memory import FreeMemory
from storage.models.hardware import cpu_threads, silence_transformers
from storage.models.memory import NumberFormat, ServingLoad, serving_bytes
from storage.models.shape import shape_of
from storage.settings.sections import GenerationSettings, ModelSettings, TrainingSettings
from tests.benchmarks.apart import rows_apart
from tests.benchmarks.report import notes, report
from tests.tiny_model import build_tiny_base
from trainer.base import RoundBase
from trainer.evaluation.sampling import Sampler
from trainer.training.memory_plan import USUAL, RoundMemory, TrainingMemoryPlan
from trainer.training.recipes import DPO, TrainingSplit
from trainer.training.rows import Row
from trainer.training.train import TrainingJob, build_trainer

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
PEAK = "5"
"""What resets a process's peak when it is written to RESET (proc(5))."""
PLENTY = FreeMemory(2**40, 2**40)


@dataclass(frozen=True)
class Size:
    """Of a random Llama with tied embeddings and half as many KV heads as heads of 64 numbers."""

    width: int
    layers: int
    vocabulary: int

    def config(self) -> dict[str, Any]:
        heads = self.width // 64
        return {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": True,
            "max_position_embeddings": 4096,
        }


@dataclass(frozen=True)
class Case:
    size: Size
    does: Literal["trains", "answers"]
    dtype: Literal["bfloat16", "float32"] = "float32"
    prompt_tokens: int = 200
    answer_tokens: int = 60
    answers: int = 2
    """To each prompt; every two are a pair. Of a model that answers: at once."""
    checkpointing: bool = False


@dataclass(frozen=True)
class Measured:
    parameters: int
    predicted: float
    """Bytes, by the formulas."""
    measured: int
    """Most bytes that the process held, code and libraries included."""

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured


SIZES = (Size(256, 8, 32_000), Size(512, 8, 48_000), Size(768, 12, 49_152))
"""With 17, 58 and 147 million parameters."""


def run(*, sizes: Sequence[Size] = SIZES) -> dict[str, Any]:
    """Return machine, versions, rows and summary. Linux only: other systems do not tell a process's peak."""
    cases = [case for size in sizes for case in _cases(size)]
    rows = []
    for case in cases:
        notes.print(f"Measuring a model of width {case.size.width} that {case.does} in {case.dtype} …")
        rows.append(_row(case, *measure([case])))
    ratios = [row["ratio"] for row in rows]
    summary = {"lowest_ratio": min(ratios), "highest_ratio": max(ratios)}
    return report(rows, summary, "torch", "transformers", "trl", "peft")


def measure(cases: Sequence[Case]) -> list[Measured]:
    """Measure the cases in one new process."""
    return [row["measured"] for row in rows_apart(hold, cases)]


def _cases(size: Size) -> list[Case]:
    trains = [
        Case(size, "trains", dtype, prompt, answer, answers, checkpointing)
        for dtype, (prompt, answer, answers), checkpointing in product(
            ("float32", "bfloat16"), ((100, 60, 2), (250, 130, 2), (500, 250, 4)), (False, True)
        )
    ]
    answers = [Case(size, "answers", dtype, 700, 40, 8) for dtype in ("float32", "bfloat16")]
    return trains + answers


def _row(case: Case, found: Measured) -> dict[str, Any]:
    about = asdict(case) | {"size": found.parameters}
    return about | {
        "predicted_mb": found.predicted / 1e6,
        "measured_mb": found.measured / 1e6,
        "ratio": found.ratio,
    }


# In the measured process


def hold(cases: Sequence[Case], rows: Connection) -> None:
    """Measure the cases one after another and send the results; sort them by the memory that they need."""
    with tempfile.TemporaryDirectory() as folder, silence_transformers():
        sizes = dict.fromkeys(case.size for case in cases)
        bases = {size: _random_base(size, Path(folder) / str(size.width)) for size in sizes}
        for case in cases:
            rows.send({"measured": _measure(case, bases[case.size], Path(folder))})
    rows.close()


def _random_base(size: Size, folder: Path) -> BaseModel:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    path = build_tiny_base(folder / "base")
    LlamaForCausalLM(LlamaConfig(**size.config())).to(torch.bfloat16).save_pretrained(path)
    return resolve_base_model(str(path), folder / "data")


def _measure(case: Case, base: BaseModel, folder: Path) -> Measured:
    _forget_peak()
    predicted = _train(case, base, folder) if case.does == "trains" else _answer(case, base)
    return Measured(shape_of(base.path).parameters, predicted, _peak())


def _train(case: Case, base: BaseModel, folder: Path) -> float:
    """Train a step on all pairs of one prompt, and return what the plan says that it needs."""
    rows = _rows(case)
    settings = TrainingSettings(dtype=case.dtype, batch_size=len(rows), min_steps=1, epochs=1)
    plan: TrainingMemoryPlan = replace(USUAL, checkpointing=case.checkpointing)
    with cpu_threads(settings.threads):
        job = TrainingJob(replace(DPO, plan=plan), TrainingSplit(()), settings, base, folder / "out")
        build_trainer(job, rows, [], load_tokenizer(base), lambda _progress: None).learn()
    return RoundMemory(shape_of(base.path), settings, PLENTY).needed(rows, plan)


def _rows(case: Case) -> list[Row]:
    chance = random.Random(0)
    prompt, *answers = (
        [chance.randrange(10, case.size.vocabulary) for _ in range(tokens)]
        for tokens in (case.prompt_tokens, *[case.answer_tokens] * case.answers)
    )
    return [
        {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected, "weight": 1.0}
        for chosen, rejected in combinations(answers, 2)
    ]


def _answer(case: Case, base: BaseModel) -> float:
    """Answer a batch of equal prompts and return what the formula says that it needs."""
    sampler = Sampler.load(RoundBase(base, ModelSettings()), None, NumberFormat(case.dtype))
    word = " soup"
    tokens = len(sampler.tokenizer(word, add_special_tokens=False)["input_ids"])
    prompts = [word * (case.prompt_tokens // tokens)] * case.answers
    with cpu_threads(1):
        sampler.answer(prompts, GenerationSettings(max_new_tokens=case.answer_tokens), seed=0)
    load = ServingLoad(case.answers, case.prompt_tokens + case.answer_tokens, versions=0, rank=0)
    return serving_bytes(shape_of(base.path), NumberFormat(case.dtype), load)


def _forget_peak() -> None:
    """Give back what earlier work left behind, and begin to look for the peak."""
    gc.collect()
    gc.freeze()  # training collects too: it need not look at what is imported
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text(PEAK, encoding="ascii")


def _peak() -> int:
    """Return the peak of this process's own memory, which `getrusage` would mix with its parent's."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="ascii").splitlines())
    return 1024 * int(lines["VmHWM"].split()[0])
