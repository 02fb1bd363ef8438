"""Whole benches with tiny models and few rows: each ends, and its report has what readers and programs look for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import console, knowledge, loop, serving, startup, training, votes

pytestmark = pytest.mark.bench


def parts_of(report: dict[str, Any], *more: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows and the summary of a report that has these parts and can be printed as JSON."""
    json.dumps(report)
    assert list(report) == ["machine", "versions", "rows", "summary", *more]
    return report["rows"], report["summary"]


def ratios_of(report: dict[str, Any]) -> set[str]:
    """Return the names in the summary, and of the ratios that other work disturbed."""
    return set(report["summary"]) | {note.split()[0] for note in report["notes"]}


def test_console_visits_every_page_of_both_servers() -> None:
    report = console.run(answers=200)
    json.dumps(report)
    assert [row["page"] for row in report["rows"]] == [*console.PAGES, *console.PARTS]
    assert all(row["ms"] > 0 and row["few_ms"] > 0 for row in report["rows"])
    assert report["summary"]["slowest_page_ms"] > 0


def test_votes_reports_both_databases() -> None:
    rows, summary = parts_of(votes.run(events=1_000, writers=2))
    assert list(summary) == [
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
    assert all(value > 0 for value in summary.values())
    assert {row["database"] for row in rows} == {"SQLite", "PostgreSQL"}
    assert {row["events_before"] for row in rows} == {1_000}


@pytest.mark.bundled
def test_knowledge_reports_both_databases() -> None:
    pytest.importorskip("chitchat_dataset")
    rows, summary = parts_of(knowledge.run(chunks=(100, 300), answers=2))
    assert list(summary) == [
        "recall_at_5_lexical",
        "recall_at_5_dense",
        "recall_at_5_hybrid",
        "mrr_hybrid",
        "right_line_shown",
        "right_line_quoted",
        "unknown_said",
        "elsewhere_quoted",
        "elsewhere_refused",
        "p95_ms_100k_sqlite",
        "p95_ms_100k_postgres",
    ]
    assert summary["recall_at_5_hybrid"] >= 0.95
    assert {row["database"] for row in rows if "database" in row} == {"SQLite", "PostgreSQL"}


def test_loop_reports_delays_and_slowdowns(base: Path) -> None:
    report = loop.run(base=str(base), conversations=2, answers=1, new_tokens=4)
    rows, _ = parts_of(report, "notes")
    assert [row["what"] for row in rows] == [
        "nothing",
        "generating",
        "generating with a busy neighbour",
        "generating while a round trains",
        "a round trains",
    ]
    assert ratios_of(report) == {
        "max_delay_ms_idle",
        "max_delay_ms_generating",
        "max_delay_ms_training",
        "answer_slowdown_training",
        "answer_slowdown_busy_neighbour",
    }


def test_training_compares_both_sides_on_the_same_pairs(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xllamacpp", reason="eight processes that load torch: where benches are run")
    report = training.run(base=str(base), steps=1, prompts=(200,))
    assert capfd.readouterr().out == ""
    rows, summary = parts_of(report, "notes")
    assert ratios_of(report) == {
        "speed_ratio_1_pair_200",
        "speed_ratio_6_pairs_200",
        "speed_ratio_lowest",
        "memory_ratio",
        "max_logp_diff",
    }
    assert all(value > 0 for value in summary.values())
    assert summary["max_logp_diff"] < 1e-4
    sides = [row["side"] for row in rows if row.get("pairs_per_prompt") == 1]
    assert sides == ["ours", "TRL", "TRL, recomputing"]


def test_startup_times_versions_with_and_without_graphs_and_the_bot(base: Path, starter: Path) -> None:
    pytest.importorskip("xllamacpp", reason="nine processes, two with the whole bot: where benches are run")
    rows, summary = parts_of(startup.run(base=str(base), starter=starter, numbers=(2,), bot_starts=1))
    verified, made, kept, bot = rows
    assert (verified["versions"], verified["first_token_s"]) == (0, [])
    assert [(row["versions"], row["graphs"], len(row["first_token_s"])) for row in (made, kept)] == [
        (2, "made", 2),
        (2, "on disk", 2),
    ]
    assert made["memory_mib"] > 0
    assert bot["connected_s"] < bot["first_text_s"] <= bot["answered_s"] == summary["bot_answered_s"]


def test_serving_reports_ours_next_to_plain_generate(base: Path, starter: Path) -> None:
    pytest.importorskip("chitchat_dataset")
    report = serving.run(
        base=str(base),
        starter=starter,
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
    rows, summary = parts_of(report, "notes")
    assert ratios_of(report) == {
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
        assert name not in summary or summary[name] > 0
    assert summary.get("llama_cpp_ratio_1") is None
    assert summary["swap_s"] > 0
    assert summary["swap_failed"] == 0
    assert [row.get("adapters") for row in rows if row["what"] == "chats"] == [0, 1, 0, 1]
    (beside,) = [row for row in rows if row["what"] == "with a busy neighbour"]
    assert (beside["engine"], beside["adapters"], beside["chats"]) == ("openvino", 1, 1)
    assert all(row["answers_per_s"] > 0 for row in rows if row["what"] == "chats")
