"""`reactune bench training`: pairs per second and memory of a round, beside TRL's DPOTrainer on the same pairs."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from storage.models.base_model import BaseModel, resolve_base_model
from tests.benchmarks.disturbance import Clock, Ratio, compare, ratio_of
from tests.benchmarks.report import Row, notes, report
from tests.benchmarks.training_sides import OURS, TRL, TRL_DEFAULT, Case, Course, train_in_turns

PROMPT_TOKENS = 200  # of the cases that are aimed at
LONG_PROMPT_TOKENS = 500
"""From here on a step takes half as many pairs, or TRL would need about 20 GiB for the bundled model."""


def run(
    *,
    base: str = "bundled",
    batch_size: int = 6,
    steps: int = 2,
    prompts: Sequence[int] = (50, PROMPT_TOKENS, 800),
) -> dict[str, Any]:
    """Return machine, versions, rows and summary."""
    with tempfile.TemporaryDirectory() as folder:
        notes.print("Getting the base model ready …")
        model = resolve_base_model(base, Path(folder))
        rows: list[Row] = []
        for tokens in prompts:
            for pairs in (1, 6):
                at_once = batch_size if tokens < LONG_PROMPT_TOKENS else batch_size // 2
                sides = [OURS, TRL, TRL_DEFAULT] if tokens == PROMPT_TOKENS else [OURS, TRL]
                rows += _compare(model, Case(pairs, tokens, at_once, steps), sides)
        rows += _compare(model, Case(6, PROMPT_TOKENS, batch_size, 1, "float32"), [OURS, TRL])
    ratios, left_out = compare(_speeds(rows))
    return report(rows, ratios | _summary(rows), "torch", "transformers", "trl", "peft", notes=left_out)


def _compare(base: BaseModel, case: Case, sides: Sequence[str]) -> list[Row]:
    """Let the sides take their steps in turn, each in a separate process; return a row for each, ours first."""
    notes.print(f"Measuring {case.pairs_per_prompt} pairs a prompt of {case.prompt_tokens} tokens, {case.dtype} …")
    before = Clock.read(os.getpid())
    courses = _train_in_turns(base, case, sides)
    disturbance = {"others_cores": Clock.read(os.getpid()).others_since(before)}
    ours, *others = (_row(case, side, course) | disturbance for side, course in courses.items())
    for row in others:
        if speed := ratio_of((ours, "pairs_per_s"), (row, "pairs_per_s")).shown:
            row["speed_ratio"] = speed
        row["memory_ratio"] = ours["peak_mib"] / row["peak_mib"]
        theirs = courses[row["side"]]
        row["max_loss_diff"] = _largest_difference(courses[OURS].losses, theirs.losses)
        row["max_logp_diff"] = _largest_difference(courses[OURS].logps, theirs.logps)
    return [ours, *others]


def _train_in_turns(base: BaseModel, case: Case, sides: Sequence[str]) -> dict[str, Course]:
    with _processes(base, case, sides) as ends:
        for _ in range(2 + case.steps):  # the first time they get ready, the second time they warm up
            for end in ends.values():
                end.send("your turn")
                end.recv()
        return {side: end.recv() for side, end in ends.items()}


@contextmanager
def _processes(base: BaseModel, case: Case, sides: Sequence[str]) -> Iterator[dict[str, Connection]]:
    """Start a fresh process for each side, as a process only knows the peak of its whole life."""
    context = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    for side in sides:
        ends[side], other = context.Pipe()
        processes.append(context.Process(target=train_in_turns, args=(other, base, case, side)))
        processes[-1].start()
        other.close()
    try:
        yield ends
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _row(case: Case, side: str, course: Course) -> Row:
    """Return what one side did; ours computes the reference once, beforehand, and each step bears its share of that."""
    step_s = statistics.median(course.step_s[1:])
    reference_s = course.reference_s / (1 + case.steps)
    return {
        "side": side,
        "pairs_per_prompt": case.pairs_per_prompt,
        "prompt_tokens": case.prompt_tokens,
        "batch_size": case.batch_size,
        "dtype": case.dtype,
        "step_s": step_s,
        "reference_s": reference_s,
        "pairs_per_s": case.batch_size / (step_s + reference_s),
        "peak_mib": course.peak_mib,
        "model_mib": course.model_mib,
    }


def _largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return max(abs(one - other) for one, other in zip(ours, theirs, strict=True))


def _against(rows: Sequence[Row]) -> dict[tuple[int, int, str], Row]:
    """Return the rows of TRL with the settings of ours, by pairs to a prompt, tokens of a prompt and format."""
    return {(row["pairs_per_prompt"], row["prompt_tokens"], row["dtype"]): row for row in rows if row["side"] == TRL}


def _speeds(rows: Sequence[Row]) -> dict[str, Ratio]:
    """Return ratios of speed to TRL's."""
    against = _against(rows)

    def speed(*cases: Row) -> Ratio:
        return Ratio(min((case["speed_ratio"] for case in cases if "speed_ratio" in case), default=None), cases)

    return {
        "speed_ratio_1_pair_200": speed(against[1, PROMPT_TOKENS, "bfloat16"]),
        "speed_ratio_6_pairs_200": speed(against[6, PROMPT_TOKENS, "bfloat16"]),
        "speed_ratio_lowest": speed(*against.values()),
    }


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    """Return what other work does not disturb; memory is the least favourable, log-probabilities in float32."""
    against = _against(rows)
    return {
        "memory_ratio": max(row["memory_ratio"] for row in against.values()),
        "max_logp_diff": against[6, PROMPT_TOKENS, "float32"]["max_logp_diff"],
    }
