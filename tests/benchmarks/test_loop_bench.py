from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.loop import run
from tests.tiny_model import build_tiny_base


@pytest.mark.bench
def test_the_bench_reports_delays_and_slowdowns(tmp_path: Path) -> None:
    report = run(base=str(build_tiny_base(tmp_path / "tiny")), conversations=2, answers=1, new_tokens=4)
    assert list(report) == ["machine", "versions", "rows", "summary", "notes"]
    assert [row["what"] for row in report["rows"]] == [
        "nothing",
        "generating",
        "generating with a busy neighbour",
        "generating while a round trains",
        "a round trains",
    ]
    assert set(report["summary"]) | {note.split()[0] for note in report["notes"]} == {
        "max_delay_ms_idle",
        "max_delay_ms_generating",
        "max_delay_ms_training",
        "answer_slowdown_training",
        "answer_slowdown_busy_neighbour",
    }
    json.dumps(report)
