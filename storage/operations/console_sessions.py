"""Sessions of the console, and links that sign somebody in once. Only digests of secrets are stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.engine import identified, parse_address
from storage.database.rows import changed_rows, read_first
from storage.database.tables import ConsoleSessionRow
from storage.settings.sections import Settings

LOOPBACK = "127.0.0.1"
LINK_LASTS = timedelta(minutes=10)
SESSION_LASTS = timedelta(days=7)


@dataclass(frozen=True)
class ConsoleSession:
    user_id: int
    """OPERATOR, or the Discord ID that the link was made for."""
    name: str
    """The person's name for the audit trail."""
    servers: list[int] | None
    """Servers that the person administered at the Discord sign-in; None for the operator's links, which open all."""


def make_link(session: Session, user_id: int, name: str, lasts: timedelta = LINK_LASTS) -> str:
    """Return the secret of a link that signs somebody in once."""
    return _add(session, user_id, name, lasts, is_link=True)


def digest_of(settings: Settings) -> str:
    """Return the digest of the database's address without its password, which could otherwise be guessed from it."""
    return _digest(identified(parse_address(settings.database_url)))


def link_address(port: int, secret: str) -> str:
    return f"http://{LOOPBACK}:{port}/enter?key={secret}"


def find_link(session: Session, secret: str) -> ConsoleSession | None:
    """Return the session that the link would begin, or None if it can no longer be used."""
    return read_first(session, ConsoleSession, _valid(secret, is_link=True))


def redeem_link(session: Session, secret: str) -> str | None:
    """Use up a link and return the secret of a new session; None if the link was used, is too old or is unknown."""
    found = find_link(session, secret)
    used = session.execute(
        delete(ConsoleSessionRow).where(ConsoleSessionRow.digest == _digest(secret), ConsoleSessionRow.is_link)
    )
    if found is None or changed_rows(used) != 1:
        return None
    return begin_session(session, found.user_id, found.name)


def begin_session(session: Session, user_id: int, name: str, servers: Sequence[int] | None = None) -> str:
    """Return the secret of a new session; `servers` are those of a person who signed in with Discord."""
    return _add(session, user_id, name, SESSION_LASTS, is_link=False, servers=servers)


def find_session(session: Session, secret: str) -> ConsoleSession | None:
    """Return the session, or None if it has ended or never existed."""
    return read_first(session, ConsoleSession, _valid(secret, is_link=False))


def end_session(session: Session, secret: str) -> None:
    session.execute(delete(ConsoleSessionRow).where(ConsoleSessionRow.digest == _digest(secret)))


def end_sessions_of(session: Session, user_id: int) -> None:
    """End all sessions and links of a person, on every machine."""
    session.execute(delete(ConsoleSessionRow).where(ConsoleSessionRow.user_id == user_id))


def delete_ended_sessions(session: Session) -> None:
    """Delete sessions and links whose time is over."""
    session.execute(delete(ConsoleSessionRow).where(ConsoleSessionRow.expires_at <= utc_now()))


def _valid(secret: str, *, is_link: bool) -> Select[Any]:
    return select(ConsoleSessionRow).where(
        ConsoleSessionRow.digest == _digest(secret),
        ConsoleSessionRow.is_link.is_(is_link),
        ConsoleSessionRow.expires_at > utc_now(),
    )


def _add(
    session: Session,
    user_id: int,
    name: str,
    lasts: timedelta,
    *,
    is_link: bool,
    servers: Sequence[int] | None = None,
) -> str:
    delete_ended_sessions(session)
    secret = secrets.token_urlsafe(32)
    row = ConsoleSessionRow(
        digest=_digest(secret),
        user_id=user_id,
        name=name[:64],
        is_link=is_link,
        expires_at=utc_now() + lasts,
        servers=None if servers is None else list(servers),
    )
    session.add(row)
    return secret


def _digest(secret: str) -> str:
    # A header may hold bytes that are not text.
    return hashlib.sha256(secret.encode(errors="backslashreplace")).hexdigest()
