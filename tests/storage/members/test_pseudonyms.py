"""Training knows people by a keyed hash of their id."""

from __future__ import annotations

import hashlib
import hmac
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import NOBODY, RoundStatus
from storage.database.tables import PseudonymKeyRow, RoundVoterRow
from storage.members import Pseudonyms, read_pseudonyms, without_mentions
from storage.privacy.erasure import delete_member
from tests.past import add_round
from tests.seeding import ALICE, BOB, pseudonyms_of

KEY = bytes(range(32))


@given(st.integers(1, 2**63 - 1))
def test_a_pseudonym_is_63_bits_of_an_hmac_and_always_the_same(user_id: int) -> None:
    digest = hmac.new(KEY, user_id.to_bytes(8, "big"), hashlib.sha256).digest()
    found = Pseudonyms(KEY).of(user_id)
    assert found == int.from_bytes(digest, "big") >> (256 - 63)
    assert found == Pseudonyms(KEY).of(user_id) != user_id
    assert found != Pseudonyms(b"another").of(user_id)


def test_nobody_has_no_pseudonym() -> None:
    assert Pseudonyms(KEY).of(NOBODY) == NOBODY


def test_the_key_shows_nowhere(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    row = session.get_one(PseudonymKeyRow, 1)
    pseudonyms = Pseudonyms(row.key)
    told = f"{pseudonyms!r} {pseudonyms} {row!r} {vars(Pseudonyms)}"
    with caplog.at_level(logging.DEBUG):
        read_pseudonyms(session).of(ALICE)
    assert len(row.key) == 32
    for form in (repr(row.key)[2:-1], row.key.hex()):
        assert form not in told + caplog.text


def test_there_is_one_key_and_never_a_second(database: Database) -> None:
    with database.snapshot() as session:
        assert session.scalars(select(PseudonymKeyRow.id)).all() == [1]
    for row in (PseudonymKeyRow(id=1, key=b"other"), PseudonymKeyRow(id=2, key=b"other")):
        with pytest.raises(IntegrityError), database.transaction() as session:
            session.add(row)


def test_deleting_a_member_finds_their_part_in_rounds(session: Session, personality_id: int) -> None:
    add_round(session, 0, status=RoundStatus.RUNNING, voters={ALICE: (0.5, 0.5), BOB: (0.5, 0.5)})
    delete_member(session, ALICE)
    assert session.scalars(select(RoundVoterRow.pseudonym)).all() == pseudonyms_of(session, BOB)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("ask <@123> or <@!456>", "ask @somebody or @somebody"),
        ("in <#789> for <@&12>", "in <#789> for <@&12>"),
        ("a < b, c@d", "a < b, c@d"),
    ],
)
def test_mentions_of_members_name_nobody(said: str, kept: str) -> None:
    assert without_mentions(said) == kept
