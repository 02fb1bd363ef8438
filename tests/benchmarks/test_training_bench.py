from __future__ import annotations

import json

import pytest

from tests.benchmarks.training import run
from tests.tiny_model import build_tiny_base


@pytest.mark.bench
def test_the_bench_compares_both_sides_on_the_same_pairs(tmp_path, capfd):
    pytest.importorskip("xllamacpp", reason="eight processes that load torch: where benches are run")
    report = run(base=str(build_tiny_base(tmp_path / "tiny")), steps=1, prompts=(200,))
    assert capfd.readouterr().out == ""
    assert list(report) == ["machine", "versions", "rows", "summary", "notes"]
    assert set(report["summary"]) | {note.split()[0] for note in report["notes"]} == {
        "speed_ratio_1_pair_200",
        "speed_ratio_6_pairs_200",
        "speed_ratio_lowest",
        "memory_ratio",
        "max_logp_diff",
    }
    assert all(value > 0 for value in report["summary"].values())
    assert report["summary"]["max_logp_diff"] < 1e-4
    sides = [row["side"] for row in report["rows"] if row.get("pairs_per_prompt") == 1]
    assert sides == ["ours", "TRL", "TRL, recomputing"]
    json.dumps(report)
