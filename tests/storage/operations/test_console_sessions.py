"""A link signs somebody in once and for a while; nothing in the database lets anybody in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import OPERATOR
from storage.database.tables import ConsoleSessionRow
from storage.operations.console_sessions import (
    begin_session,
    digest_of,
    end_session,
    end_sessions_of,
    find_session,
    link_address,
    make_link,
    redeem_link,
)
from storage.settings.sections import DatabaseSettings, Settings


@pytest.mark.threat("T12")
def test_a_link_works_once(session: Session) -> None:
    link = make_link(session, OPERATOR, "somebody (command line)")
    assert find_session(session, link) is None, "a link is no session"
    secret = redeem_link(session, link)
    assert redeem_link(session, link) is None
    found = find_session(session, secret)
    assert (found.user_id, found.name) == (OPERATOR, "somebody (command line)")
    assert redeem_link(session, secret) is None, "a session is no link"


@pytest.mark.parametrize("secret", ["", "guess", "é", "x" * 10_000])
def test_a_guess_lets_nobody_in(session: Session, secret: str) -> None:
    make_link(session, OPERATOR, "somebody")
    begin_session(session, OPERATOR, "somebody")
    assert redeem_link(session, secret) is None
    assert find_session(session, secret) is None


def test_links_and_sessions_end(session: Session) -> None:
    link, secret = make_link(session, OPERATOR, "a"), begin_session(session, OPERATOR, "b")
    session.execute(update(ConsoleSessionRow).values(expires_at=utc_now() - timedelta(seconds=1)))
    assert redeem_link(session, link) is None
    assert find_session(session, secret) is None
    make_link(session, OPERATOR, "c")
    assert len(session.scalars(select(ConsoleSessionRow)).all()) == 1, "old ones are removed"


def test_signing_out_ends_one_session(session: Session) -> None:
    first, second = begin_session(session, OPERATOR, "a"), begin_session(session, OPERATOR, "a")
    end_session(session, first)
    assert find_session(session, first) is None
    assert find_session(session, second) is not None


def test_signing_out_everywhere_ends_a_persons_sessions_and_links(session: Session) -> None:
    secrets = [begin_session(session, 7, "a", [1, 2]), begin_session(session, 7, "a"), make_link(session, 7, "a")]
    other = begin_session(session, 8, "b", [])
    assert [find_session(session, secret).servers for secret in (secrets[0], secrets[1], other)] == [[1, 2], None, []]
    end_sessions_of(session, 7)
    assert [find_session(session, secret) for secret in secrets] == [None] * 3
    assert find_session(session, other) is not None


def test_what_names_the_database_does_not_tell_its_password() -> None:
    digests = {
        digest_of(Settings(database=DatabaseSettings(url=f"postgresql+psycopg://bot:{password}@db/{name}")))
        for password, name in (("hunter2", "one"), ("other", "one"), ("hunter2", "two"))
    }
    assert len(digests) == 2


@pytest.mark.threat("T13")
def test_the_database_holds_no_secret(session: Session) -> None:
    link, secret = make_link(session, OPERATOR, "a"), begin_session(session, OPERATOR, "b")
    session.flush()
    stored = " ".join(session.scalars(select(ConsoleSessionRow.digest)))
    assert link not in stored
    assert secret not in stored
    assert link in link_address(8791, link)
