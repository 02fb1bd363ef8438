from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import soak
from tests.benchmarks.soak import Sample, grown


def samples(memory_of_quarter: list[float], threads: int = 20) -> list[Sample]:
    """Return ten samples a quarter, the first four of a process that fills its memory."""
    return [
        Sample(
            answers=250 * (10 * quarter + number + 1),
            memory_mib=memory if number >= 4 else memory / 2,
            bot_memory_mib=300.0,
            open_files=40,
            threads=threads + quarter,
        )
        for quarter, memory in enumerate(memory_of_quarter)
        for number in range(10)
    ]


def test_growth_from_the_second_to_the_last_quarter_is_named() -> None:
    assert grown(samples([800.0, 1000.0, 1010.0, 1040.0], threads=100)) == []
    assert grown(samples([800.0, 1000.0, 1030.0, 1060.0], threads=100)) == ["memory_mib"]
    assert grown(samples([800.0, 1000.0, 1000.0, 1000.0], threads=20)) == ["threads"]


@pytest.mark.slow
def test_a_soak_outlives_crashes_and_loses_no_answer(base: Path, starter: Path) -> None:
    # Answers long enough for each kill to meet some, and a seed with which many ask at once, early.
    found = soak.run(answers=120, base=str(base), starter=starter, new_tokens=128, seed=5)
    rows, summary = found["rows"], found["summary"]
    assert [row["answers"] for row in rows] == list(range(3, 121, 3))
    assert summary["answered"] >= 120
    assert (summary["kills"], summary["lost"], summary["timed_out"]) == (3, 0, 0)
    assert 0 < summary["failed"] <= 3 * 8
    assert summary["cancelled"] > 0
    assert summary["refused"] > 0
    assert not [problem for problem in summary["problems"] if "answers" in problem]
