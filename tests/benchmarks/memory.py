"""`reactune bench memory`: the memory that the formulas predict, beside the measured peaks of random models."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from rich.table import Table

from tests.benchmarks.memory_sides import Case, Measured, Size, measure_in_turn
from tests.benchmarks.report import machine, notes, versions

SIZES = (Size(256, 8, 32_000), Size(512, 8, 48_000), Size(768, 12, 49_152))
"""With 17, 58 and 147 million parameters."""


def run(*, sizes: Sequence[Size] = SIZES) -> dict[str, Any]:
    """Return machine, versions, rows and summary. Linux only: other systems do not tell a process's peak."""
    cases = [case for size in sizes for case in _cases(size)]
    rows = []
    for case in cases:
        notes.print(f"Measuring a model of width {case.size.width} that {case.does} in {case.dtype} …")
        rows.append(_row(case, *measure([case])))
    notes.print(_table(rows))
    ratios = [row["ratio"] for row in rows]
    return {
        "machine": machine(),
        "versions": versions("torch", "transformers", "trl", "peft"),
        "rows": rows,
        "summary": {"lowest_ratio": min(ratios), "highest_ratio": max(ratios)},
    }


def measure(cases: Sequence[Case]) -> list[Measured]:
    """Measure the cases in one new process."""
    context = multiprocessing.get_context("spawn")
    end, other = context.Pipe()
    process = context.Process(target=measure_in_turn, args=(other, cases))
    process.start()
    other.close()
    try:
        measured: list[Measured] = end.recv()
    finally:
        process.join()
    return measured


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


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    shown = {
        "size": ("parameters", ",d"),
        "does": ("model", "s"),
        "dtype": ("dtype", "s"),
        "prompt_tokens": ("prompt", "d"),
        "answers": ("answers", "d"),
        "answer_tokens": ("tokens", "d"),
        "checkpointing": ("checkpointing", ""),
        "predicted_mb": ("predicted, MB", ",.0f"),
        "measured_mb": ("measured, MB", ",.0f"),
        "ratio": ("ratio", ".2f"),
    }
    table = Table(*(title for title, _ in shown.values()))
    for row in rows:
        table.add_row(*(format(row[name], kind) for name, (_, kind) in shown.items()))
    return table
