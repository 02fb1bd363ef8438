"""What the formulas of memory say, beside the measured peaks of random models."""

from __future__ import annotations

import ctypes
import gc
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from storage.models.base_model import BaseModel, load_tokenizer, resolve_base_model
from storage.models.free_memory import FreeMemory
from storage.models.hardware import cpu_threads, silence_transformers
from storage.models.memory import NumberFormat, ServingLoad, serving_bytes
from storage.models.shape import shape_of
from storage.settings.sections import GenerationSettings, ModelSettings, TrainingSettings
from tests.benchmarks.apart import TellRow, rows_apart
from tests.tiny_model import build_tiny_base
from trainer.base import RoundBase
from trainer.evaluation.sampling import Sampler
from trainer.training.memory_plan import USUAL, RoundMemory
from trainer.training.recipes import DPO, TrainingSplit
from trainer.training.rows import Row
from trainer.training.train import TrainingJob, build_trainer

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
PEAK = "5"
"""What resets a process's peak when it is written to RESET (proc(5))."""
PLENTY = FreeMemory(2**40, 2**40)
DTYPE: Literal["float32"] = "float32"
PROMPT_TOKENS = 200
ANSWERS = 2
"""To a prompt; when a model trains, they are a pair."""


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
    answer_tokens: int = 60


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


SIZES = (Size(128, 4, 16_000), Size(256, 8, 24_000), Size(512, 8, 32_000))
"""With 3, 14 and 50 million parameters."""
CASES = [
    *(Case(size, "answers", answer_tokens=8) for size in SIZES),
    *(Case(size, "trains") for size in SIZES),
]
"""In the order of what they need: one process measures all, and training loads more libraries."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_predictions_are_within_15_percent_of_the_peaks_of_three_sizes() -> None:
    for case, found in zip(CASES, _measure_all(CASES), strict=True):
        assert found.ratio == pytest.approx(1, abs=0.15), (case, found)


def _measure_all(cases: Sequence[Case]) -> list[Measured]:
    """Measure the cases in one new process."""
    return [row["measured"] for row in rows_apart(_hold, cases)]


# In the measured process


def _hold(cases: Sequence[Case], tell: TellRow) -> None:
    """Measure the cases one after another and tell the results; sort them by the memory that they need."""
    with tempfile.TemporaryDirectory() as folder, silence_transformers():
        sizes = dict.fromkeys(case.size for case in cases)
        bases = {size: _random_base(size, Path(folder) / str(size.width)) for size in sizes}
        for case in cases:
            tell({"measured": _measure(case, bases[case.size], Path(folder))})


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
    """Train a step on a pair of answers, and return what the plan says that it needs."""
    chance = random.Random(0)
    prompt, chosen, rejected = (
        [chance.randrange(10, case.size.vocabulary) for _ in range(tokens)]
        for tokens in (PROMPT_TOKENS, *[case.answer_tokens] * ANSWERS)
    )
    rows: list[Row] = [{"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected, "weight": 1.0}]
    settings = TrainingSettings(dtype=DTYPE, batch_size=len(rows), min_steps=1, epochs=1)
    with cpu_threads(settings.threads):
        job = TrainingJob(replace(DPO, plan=USUAL), TrainingSplit(()), settings, base, folder / "out")
        build_trainer(job, rows, [], load_tokenizer(base.path), lambda _progress: None).learn()
    return RoundMemory(shape_of(base.path), settings, PLENTY).needed(rows, USUAL)


def _answer(case: Case, base: BaseModel) -> float:
    """Answer a batch of equal prompts and return what the formula says that it needs."""
    sampler = Sampler.load(RoundBase(base, ModelSettings()), None, NumberFormat(DTYPE))
    word = " soup"
    tokens = len(sampler.tokenizer(word, add_special_tokens=False)["input_ids"])
    prompts = [word * (PROMPT_TOKENS // tokens)] * ANSWERS
    with cpu_threads(1):
        sampler.answer(prompts, GenerationSettings(max_new_tokens=case.answer_tokens), seed=0)
    load = ServingLoad(ANSWERS, PROMPT_TOKENS + case.answer_tokens, versions=0, rank=0)
    return serving_bytes(shape_of(base.path), NumberFormat(DTYPE), load)


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
