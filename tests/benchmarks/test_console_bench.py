from __future__ import annotations

import json

import pytest

from tests.benchmarks.console import PAGES, PARTS, run


@pytest.mark.bench
def test_the_bench_visits_every_page_of_both_servers() -> None:
    report = run(answers=200)
    assert [row["page"] for row in report["rows"]] == [*PAGES, *PARTS]
    assert all(row["ms"] > 0 and row["few_ms"] > 0 for row in report["rows"])
    assert report["summary"]["slowest_page_ms"] > 0
    json.dumps(report)
