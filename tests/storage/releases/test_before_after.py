"""The same messages, answered before a version and by it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.database.tables import VersionRow
from storage.releases.before_after import BeforeAfter, TwoAnswers, compare_answers, compare_with_before
from storage.releases.versions import Version, find_version
from tests.past import add_version
from tests.seeding import compared_metrics


@pytest.fixture
def make(session: Session, personality_id: int):
    """Add a version that says its word to both messages, and was made while `before` answered."""

    def make(word: str, before: Version | None = None, said_before: str = "hm", base: str = "r") -> Version:
        return add(session, personality_id, compared_metrics(word, before, said_before), base)

    return make


def add(session: Session, personality_id: int, metrics: dict[str, Any], base: str = "r") -> Version:
    return add_version(session, personality_id=personality_id, base_revision=base * 64, metrics=metrics)


def words(found: BeforeAfter | None) -> set[tuple[str, str]]:
    return {(one.before, one.after) for one in found.answers}


def test_a_version_stands_beside_what_answered_when_it_was_made(session: Session, make) -> None:
    v1 = make("yes", said_before="hm")
    assert compare_with_before(session, v1) == BeforeAfter(
        "base", "v1", (TwoAnswers("Hi, how are you?", "hm", "yes"), TwoAnswers("What is tea?", "hm", "yes"))
    )


def test_a_promotion_is_compared_with_what_it_replaces_although_the_round_was_with_something_else(
    session: Session, make
) -> None:
    v1, v2 = make("yes", said_before="hm"), make("no", said_before="oh")
    assert compare_answers(session, v1, v2) == BeforeAfter(
        "v1", "v2", (TwoAnswers("Hi, how are you?", "yes", "no"), TwoAnswers("What is tea?", "yes", "no"))
    )
    v3 = make("why", before=v2, said_before="no, no")
    assert words(compare_answers(session, v2, v3)) == {("no, no", "why")}
    assert words(compare_answers(session, None, v3)) == {("oh", "why")}, "what the base said last"


def test_without_answers_there_is_nothing_to_compare(session: Session, personality_id: int, make) -> None:
    v1, imported = make("yes"), add(session, personality_id, {})
    assert compare_with_before(session, imported) is None
    assert compare_answers(session, imported, v1) is None
    assert compare_answers(session, v1, imported) is None
    assert compare_answers(session, v1, None) is None
    of_another_base = add(session, personality_id, {"everyday": [["Hi, how are you?", "yes"]]}, base="x")
    assert compare_answers(session, None, of_another_base) is None


def test_other_messages_than_those_of_the_other_version_are_left_out(session: Session, make) -> None:
    v1, v2 = make("yes"), make("no")
    metrics = v1.metrics | {"everyday": v1.metrics["everyday"][:1]}
    session.execute(update(VersionRow).where(VersionRow.id == v1.id).values(metrics=metrics))
    session.expire_all()
    found = compare_answers(session, find_version(session, v1.id), v2)
    assert [one.message for one in found.answers] == ["Hi, how are you?"]


def test_a_version_that_learned_from_data_deleted_since_is_not_quoted(session: Session, make) -> None:
    v1 = make("yes")
    v2 = make("no", before=v1, said_before="yes")
    session.execute(update(VersionRow).where(VersionRow.id == v1.id).values(trained_on_deleted_data=True))
    session.expire_all()
    assert compare_with_before(session, v2) is None
    assert compare_with_before(session, find_version(session, v1.id)) is None
