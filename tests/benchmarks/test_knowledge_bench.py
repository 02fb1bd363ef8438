from __future__ import annotations

from tests.benchmarks.knowledge_set import TEST, VALIDATION, Kind, read_documents, read_questions


def test_the_set_is_large_enough_and_answerable() -> None:
    documents, kinds = read_documents(), [(TEST, Kind.PARAPHRASES), *((VALIDATION, kind) for kind in Kind)]
    assert len(documents) >= 30
    for split, kind in kinds:
        questions = read_questions(split, kind)
        assert all(one.is_answered_by(one.document, documents[one.document]) for one in questions)
        if kind is not Kind.RARE_WORDS:
            assert {question.document for question in questions} == set(documents)
        if kind is Kind.PARAPHRASES:
            assert len(questions) >= 100
        if kind is Kind.FOLLOW_UPS:
            assert all(question.earlier for question in questions)
