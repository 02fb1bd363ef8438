"""Numbers that people send fit the columns that they are compared with."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from storage.database.columns import LARGEST_ID, LARGEST_NUMBER, parse_id
from storage.database.tables import AuditRow, DocumentRow, QuarantineRow, ReplyRow, SittingPairRow

pytestmark = pytest.mark.both_databases


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("1000000000", 1_000_000_000),
        (str(LARGEST_ID), LARGEST_ID),
        (str(LARGEST_ID + 1), None),
        ("9" * 20, None),
        ("9" * 10_000, None),
        *((text, None) for text in ("", "-1", "+1", "1.5", "1e3", " 1", "1_000", "²", "x")),
    ],
)
def test_a_text_is_a_number_or_none(text: str, number: int | None) -> None:
    assert parse_id(text) == number


def test_the_largest_numbers_can_be_looked_for(session: Session) -> None:
    assert session.get(ReplyRow, LARGEST_ID) is None
    for row in (AuditRow, DocumentRow, QuarantineRow, SittingPairRow):
        assert session.get(row, LARGEST_NUMBER) is None
