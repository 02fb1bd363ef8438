from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.soak import Sample, grown, run
from tests.bot.engine.test_engine import save_adapter
from tests.tiny_model import build_tiny_base


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


@pytest.mark.bench
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the dataset leaves its file open
def test_a_soak_outlives_crashes_and_loses_no_answer(tmp_path: Path) -> None:
    pytest.importorskip("chitchat_dataset")
    base = build_tiny_base(tmp_path / "base")
    starter = save_adapter(base, tmp_path / "starter", seed=1).path
    # Answers long enough for each kill to meet some, and a seed with which many ask at once, early.
    report = run(answers=120, base=str(base), starter=starter, new_tokens=128, seed=1)
    assert list(report) == ["machine", "versions", "rows", "summary"]
    summary = report["summary"]
    assert [row["answers"] for row in report["rows"]] == list(range(3, 121, 3))
    assert summary["answered"] >= 120
    assert (summary["kills"], summary["lost"], summary["timed_out"]) == (3, 0, 0)
    assert 0 < summary["failed"] <= 3 * 8
    assert summary["cancelled"] > 0
    assert summary["refused"] > 0
    assert not [problem for problem in summary["problems"] if "answers" in problem]
    json.dumps(report)
