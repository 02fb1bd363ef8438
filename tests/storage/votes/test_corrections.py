"""Corrections: checked, one per member and reply, and only withdrawn by their author."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import Basis
from storage.database.tables import CorrectionRow, ReplyRow
from storage.errors import CorrectionRefused
from storage.votes.corrections import (
    check_correction,
    current_correction,
    suggest,
    withdraw,
)
from tests.seeding import ALICE, BOB, add_correction, add_reply
from tests.storage.together import race

pytestmark = pytest.mark.both_databases


@pytest.mark.parametrize("text", ["ab", "a" * 4_000, "  ab\n", " " * 50 + "ab"])
def test_lengths_within_the_limits_pass(text: str) -> None:
    assert check_correction(text, "answer") == text.strip()


@pytest.mark.parametrize(("text", "chars"), [("", 0), ("a", 1), ("  a  ", 1), ("a" * 4_001, 4_001)])
def test_lengths_beyond_the_limits_are_refused_with_a_sentence(text: str, chars: int) -> None:
    with pytest.raises(CorrectionRefused) as refused:
        check_correction(text, "answer")
    assert str(refused.value) == f"A suggested answer has 2 to 4000 characters; yours has {chars}."


def test_the_given_answer_is_not_a_correction() -> None:
    with pytest.raises(CorrectionRefused, match="That's the answer I already gave"):
        check_correction(" hello\n", "hello ")


def test_zero_bytes_are_left_out() -> None:
    assert check_correction("a\0b", "answer") == "ab"


def test_a_correction_counts_until_its_author_replaces_it(session: Session) -> None:
    reply_id = add_reply(session)
    add_correction(session, reply_id, "better", author_id=ALICE)
    by_bob = add_correction(session, reply_id, "other", author_id=BOB)
    again = add_correction(session, reply_id, "best", author_id=ALICE, basis=None)
    current = current_correction(session, reply_id, ALICE)
    assert (current.id, current.text, current.basis) == (again, "best", None)
    other = current_correction(session, reply_id, BOB)
    assert (other.id, other.basis) == (by_bob, Basis.LOCAL)


def test_only_the_author_withdraws_a_correction_and_only_once(session: Session) -> None:
    reply_id = add_reply(session)
    correction = add_correction(session, reply_id, "better", author_id=ALICE)
    assert withdraw(session, correction, BOB) is False
    assert withdraw(session, correction, ALICE) is True
    assert withdraw(session, correction, ALICE) is False
    assert withdraw(session, correction + 1, ALICE) is False
    assert current_correction(session, reply_id, ALICE) is None


def test_withdrawing_an_earlier_correction_leaves_the_later_one(session: Session) -> None:
    reply_id = add_reply(session)
    earlier = add_correction(session, reply_id, "better", author_id=ALICE)
    later = add_correction(session, reply_id, "best", author_id=ALICE)
    assert withdraw(session, earlier, ALICE) is False
    assert current_correction(session, reply_id, ALICE).id == later


def test_one_of_several_simultaneous_corrections_is_valid(database: Database) -> None:
    reply_id = database.call(add_reply)
    send = partial(add_correction, reply_id=reply_id, author_id=ALICE)
    race(database, partial(send, text="better"), partial(send, text="best"))
    with database.snapshot() as session:
        current = select(CorrectionRow.text).where(CorrectionRow.withdrawn_at.is_(None))
        assert session.scalars(current).all() == ["best"]


def test_a_correction_of_a_deleted_answer_is_refused_with_a_sentence(session: Session) -> None:
    reply_id = add_reply(session)
    session.delete(session.get_one(ReplyRow, reply_id))
    session.flush()
    with pytest.raises(CorrectionRefused, match="That answer was just deleted"):
        suggest(session, reply_id, ALICE, "better", None)
