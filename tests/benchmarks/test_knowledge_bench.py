from __future__ import annotations

import json

import pytest

from tests.benchmarks.knowledge import run
from tests.benchmarks.knowledge_set import TEST, VALIDATION, read_documents, read_questions


@pytest.mark.parametrize("split", [VALIDATION, TEST])
def test_the_set_is_large_enough_and_answerable(split: str) -> None:
    documents, questions = read_documents(), read_questions(split)
    assert len(documents) >= 30
    assert len(questions) >= 100
    assert {question.document for question in questions} == set(documents)
    assert all(question.is_answered_by(documents[question.document]) for question in questions)


@pytest.mark.bench
@pytest.mark.bundled
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the dataset leaves its file open
def test_the_bench_reports_both_databases() -> None:
    pytest.importorskip("chitchat_dataset")
    report = run(chunks=(100, 300), answers=2)
    assert list(report) == ["machine", "versions", "rows", "summary"]
    assert list(report["summary"]) == [
        "recall_at_5_lexical",
        "recall_at_5_dense",
        "recall_at_5_hybrid",
        "mrr_hybrid",
        "p95_ms_100k_sqlite",
        "p95_ms_100k_postgres",
    ]
    assert report["summary"]["recall_at_5_hybrid"] >= 0.95
    assert {row["database"] for row in report["rows"] if "database" in row} == {"SQLite", "PostgreSQL"}
    json.dumps(report)
