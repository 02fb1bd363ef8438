"""The privacy report: numbers by training basis, age and table, without names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from storage.database import tables
from storage.database.rows import count_rows
from storage.privacy.erasure import names_of
from storage.privacy.ownership import naming_members, naming_pseudonyms
from storage.privacy.retention import count_past, read_expiry
from storage.settings.sections import PrivacySettings

NO_BASIS = "none"
AGES = (("under 1 day", 1), ("1 to 7 days", 7), ("7 to 30 days", 30), ("30 to 90 days", 90))
OLDER = "over 90 days"
TABLES: tuple[type[tables.Base], ...] = (
    *dict.fromkeys(table for table, _ in (*naming_members(), *naming_pseudonyms())),
    tables.ReplyMessageRow,
    tables.ReplyNoteRow,
    tables.ConversationRow,
    tables.DocumentRow,
    tables.DocumentSourceRow,
)
"""Every table that names a member or holds their messages."""


@dataclass(frozen=True)
class PrivacyReport:
    discord_training_permission: bool
    retention_days: float
    answers: dict[str, dict[str, int]]
    """Numbers of answers by training basis and age, without zeros."""
    rows: dict[str, int]
    """Numbers of rows by table."""
    past_retention: int
    """Number of answers that the next clean-up deletes."""
    consents: int
    erasures: int
    """Number of members who deleted their data."""
    departures: int
    """Number of departed members and servers whose data is still stored."""
    marked_versions: tuple[str, ...]
    """Versions trained on data that was deleted later."""


def report_privacy(session: Session, settings: PrivacySettings, now: datetime) -> PrivacyReport:
    expiry = read_expiry(settings)
    rows = {table.__tablename__: count_rows(session, select(table)) for table in TABLES}
    return PrivacyReport(
        discord_training_permission=settings.discord_training_permission,
        retention_days=settings.retention_days,
        answers=_by_basis_and_age(session, now),
        rows=rows,
        past_retention=count_past(session, expiry) if expiry else 0,
        consents=rows[tables.ConsentRow.__tablename__],
        erasures=rows[tables.ErasureRow.__tablename__],
        departures=rows[tables.DepartureRow.__tablename__],
        marked_versions=names_of(session, tables.VersionRow.trained_on_deleted_data.is_(True)),
    )


def _by_basis_and_age(session: Session, now: datetime) -> dict[str, dict[str, int]]:
    replies = tables.ReplyRow
    younger = [(replies.created_at > now - timedelta(days=days), name) for name, days in AGES]
    age = case(*younger, else_=OLDER)
    counted = session.execute(select(replies.basis, age, func.count()).group_by(replies.basis, age))
    found = {(basis.value if basis else NO_BASIS, name): number for basis, name, number in counted}
    order = [name for name, _ in AGES] + [OLDER]
    bases = sorted({basis for basis, _ in found})
    return {basis: {name: found[basis, name] for name in order if (basis, name) in found} for basis in bases}
