from __future__ import annotations

import json

import pytest

from tests.benchmarks.knowledge import run
from tests.benchmarks.knowledge_set import TEST, VALIDATION, Kind, read_documents, read_questions


def test_the_set_is_large_enough_and_answerable() -> None:
    documents, kinds = read_documents(), [(TEST, Kind.PARAPHRASES), *((VALIDATION, kind) for kind in Kind)]
    assert len(documents) >= 30
    for split, kind in kinds:
        questions = read_questions(split, kind)
        assert all(question.is_answered_by(documents[question.document]) for question in questions)
        if kind is not Kind.RARE_WORDS:
            assert {question.document for question in questions} == set(documents)
        if kind is Kind.PARAPHRASES:
            assert len(questions) >= 100
        if kind is Kind.FOLLOW_UPS:
            assert all(question.earlier for question in questions)


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
        "right_line_shown",
        "right_line_quoted",
        "unknown_said",
        "elsewhere_quoted",
        "elsewhere_refused",
        "p95_ms_100k_sqlite",
        "p95_ms_100k_postgres",
    ]
    assert report["summary"]["recall_at_5_hybrid"] >= 0.95
    assert {row["database"] for row in report["rows"] if "database" in row} == {"SQLite", "PostgreSQL"}
    json.dumps(report)
