from __future__ import annotations

import json

import pytest

from tests.benchmarks.knowledge import run
from tests.benchmarks.knowledge_set import TEST, VALIDATION, Kind, read_documents, read_questions


@pytest.mark.parametrize("split", [VALIDATION, TEST])
def test_the_set_is_large_enough_and_answerable(split: str) -> None:
    documents = read_documents()
    questions = {kind: read_questions(split, kind) for kind in Kind}
    assert len(documents) >= 30
    assert len(questions[Kind.PARAPHRASES]) >= 100
    for kind in (Kind.PARAPHRASES, Kind.RARE_WORDS, Kind.FOLLOW_UPS):
        assert all(question.is_answered_by(documents[question.document]) for question in questions[kind])
    for kind in (Kind.PARAPHRASES, Kind.FOLLOW_UPS):
        assert {question.document for question in questions[kind]} == set(documents)
    for kind in (Kind.FOLLOW_UPS, Kind.NEW_SUBJECTS):
        assert all(question.earlier for question in questions[kind])
    for kind in (Kind.UNANSWERABLE, Kind.CLOSINGS, Kind.NEW_SUBJECTS):
        assert not any(question.document for question in questions[kind])


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
        "right_rare_words",
        "right_follow_ups",
        "wrong_unanswerable",
        "wrong_small_talk",
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
