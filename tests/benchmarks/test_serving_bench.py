from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.serving import run
from tests.benchmarks.serving_load import Told, measures
from tests.bot.engine.test_engine import save_adapter
from tests.tiny_model import build_tiny_base


def test_tokens_are_counted_in_the_window_and_only_while_somebody_waits() -> None:
    early = Told(None, asked_at=1.0, first_token_at=2.0, ended_at=4.0, tokens=10, failed=False, finished=True)
    late = Told(None, asked_at=8.0, first_token_at=9.0, ended_at=11.0, tokens=20, failed=False, finished=True)
    given_up = Told(None, asked_at=9.0, first_token_at=None, ended_at=16.0, tokens=0, failed=False, finished=False)
    measured = measures([early, late, given_up], until=10.0)
    assert measured["tokens_per_s"] == (10 + 20 / 2) / (3 + 2)
    assert (measured["answers"], measured["unfinished"], measured["failed"]) == (2, 1, 0)
    assert measured["first_token_p50_s"] == 1.0
    assert measured["last_token_p50_s"] == 3.0
    assert measured["tokens_per_answer"] == 15.0


def test_members_who_gave_up_count_and_few_answers_have_no_percentile() -> None:
    given_up = Told(None, asked_at=9.0, first_token_at=None, ended_at=16.0, tokens=0, failed=False, finished=False)
    measured = measures([given_up] * 20, until=10.0)
    assert (measured["first_token_p95_s"], measured["last_token_p95_s"]) == (7.0, 7.0)
    assert measures([given_up] * 19, until=10.0)["last_token_p95_s"] is None


@pytest.mark.bench
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the dataset leaves its file open
def test_the_bench_reports_ours_next_to_plain_generate(tmp_path: Path) -> None:
    pytest.importorskip("chitchat_dataset")
    base = build_tiny_base(tmp_path / "base")
    report = run(
        base=str(base),
        starter=save_adapter(base, tmp_path / "starter", seed=1).path,
        engines=("openvino", "generate()", "llama.cpp"),
        chats=(1,),
        window_s=1.0,
        drain_s=0.5,
        think_s=0.05,
        new_tokens=4,
        history_tokens=100,
        second_turns=1,
        strengths=(),
    )
    assert list(report) == ["machine", "versions", "rows", "summary", "notes"]
    summary, left_out = report["summary"], {note.split()[0] for note in report["notes"]}
    assert set(summary) | left_out == {
        "tokens_per_s_ratio_1",
        "tokens_per_s_ratio_8",
        "llama_cpp_ratio_1",
        "llama_cpp_ratio_8",
        "second_turn_ttft_ratio",
        "busy_neighbour_ratio",
        "busy_neighbour_ratio_transformers",
        "ttft_p95_s_8",
        "swap_s",
        "swap_failed",
    }
    for name in ("tokens_per_s_ratio_1", "second_turn_ttft_ratio", "busy_neighbour_ratio"):
        assert name in left_out or summary[name] > 0
    assert summary.get("llama_cpp_ratio_1") is None
    assert report["summary"]["swap_s"] > 0
    assert report["summary"]["swap_failed"] == 0
    assert [row.get("adapters") for row in report["rows"] if row["what"] == "chats"] == [0, 1, 0, 1]
    (beside,) = [row for row in report["rows"] if row["what"] == "with a busy neighbour"]
    assert (beside["engine"], beside["adapters"], beside["chats"]) == ("openvino", 1, 1)
    assert all(row["answers_per_s"] > 0 for row in report["rows"] if row["what"] == "chats")
    json.dumps(report)
