from __future__ import annotations

import json

import pytest

from tests.benchmarks.votes import run


@pytest.mark.bench
def test_the_bench_reports_both_databases() -> None:
    report = run(events=1_000, writers=2)
    assert list(report) == ["machine", "versions", "rows", "summary"]
    assert list(report["summary"]) == [
        "sqlite_events_per_s",
        "postgres_events_per_s",
        "sqlite_read_ms_1m",
        "postgres_read_ms_1m",
        "sqlite_taste_learn_ms",
        "postgres_taste_learn_ms",
        "sqlite_taste_add_vote_ms",
        "postgres_taste_add_vote_ms",
        "taste_rank_ms",
        "prepare_s",
        "prepare_peak_mib",
        "prepare_file_mib",
    ]
    assert all(value > 0 for value in report["summary"].values())
    assert {row["database"] for row in report["rows"]} == {"SQLite", "PostgreSQL"}
    assert {row["events_before"] for row in report["rows"]} == {1_000}
    json.dumps(report)
