from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.startup import run
from tests.bot.engine.test_engine import save_adapter
from tests.tiny_model import build_tiny_base


@pytest.mark.bench
def test_the_bench_times_versions_with_and_without_graphs_and_the_bot(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="nine processes, two with the whole bot: where benches are run")
    base = build_tiny_base(tmp_path / "base")
    report = run(
        base=str(base), starter=save_adapter(base, tmp_path / "starter", seed=1).path, numbers=(2,), bot_starts=1
    )
    assert list(report) == ["machine", "versions", "rows", "summary"]
    verified, made, kept, bot = report["rows"]
    assert (verified["versions"], verified["first_token_s"]) == (0, [])
    assert [(row["versions"], row["graphs"], len(row["first_token_s"])) for row in (made, kept)] == [
        (2, "made", 2),
        (2, "on disk", 2),
    ]
    assert made["memory_mib"] > 0
    assert bot["connected_s"] < bot["first_text_s"] <= bot["answered_s"] == report["summary"]["bot_answered_s"]
    json.dumps(report)
