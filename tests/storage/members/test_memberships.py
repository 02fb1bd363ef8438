"""Memberships of some members: as those of everyone say, and no more of them at once than a statement takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from storage.members import Memberships, note_members
from tests.seeding import ALICE, BOB, CAROL, add_reply

GUILD = 7
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def ask(session: Session, author_id: int, guild_id: int, at: datetime) -> None:
    """Let a member ask something at that moment."""
    add_reply(session, guild_id=guild_id, author_id=author_id, speakers=(author_id,), at=at)


@pytest.mark.both_databases
def test_some_memberships_are_as_all_of_them_say(session: Session) -> None:
    note_members(session, GUILD, {ALICE: NOON - 9 * DAY, CAROL: NOON - 8 * DAY})
    ask(session, BOB, GUILD, NOON - 3 * DAY)
    ask(session, BOB, GUILD + 1, NOON - 4 * DAY)
    members = {(GUILD, ALICE), (GUILD, BOB), (None, BOB)}
    everyone, some = Memberships(session), Memberships(session, members)
    assert [some.since(GUILD, user, NOON) for user in (ALICE, BOB)] == [NOON - 9 * DAY, NOON - 3 * DAY]
    assert [everyone.since(GUILD, user, NOON) for user in (ALICE, BOB)] == [NOON - 9 * DAY, NOON - 3 * DAY]


@pytest.mark.both_databases
def test_memberships_that_were_not_asked_for_are_not_read(session: Session) -> None:
    note_members(session, GUILD, {CAROL: NOON - 8 * DAY})
    ask(session, BOB, GUILD + 1, NOON - 4 * DAY)
    some = Memberships(session, {(GUILD, ALICE), (GUILD, BOB), (None, CAROL)})
    assert [some.since(GUILD, CAROL, NOON), some.since(GUILD + 1, BOB, NOON)] == [NOON, NOON]
    assert Memberships(session, set()).since(GUILD, CAROL, NOON) == NOON


def test_more_members_than_a_statement_takes_are_read_in_parts(session: Session) -> None:
    note_members(session, GUILD, {1_000: NOON - 9 * DAY, 34_000: NOON - 8 * DAY})
    ask(session, 34_001, GUILD, NOON - 3 * DAY)
    many = Memberships(session, {(GUILD, user_id) for user_id in range(1_000, 35_000)})
    assert [many.since(GUILD, user, NOON) for user in (1_000, 34_000, 34_001)] == [
        NOON - 9 * DAY,
        NOON - 8 * DAY,
        NOON - 3 * DAY,
    ]
