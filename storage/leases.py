"""A worker holds its round by a lease: renewed while it lives, and worth nothing once it has run out."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.database.enums import RoundStatus
from storage.database.rows import changed_rows, database_now
from storage.database.tables import RoundRow
from storage.errors import LeaseRanOut, RoundConflict
from storage.runtime.processes import SILENT_AFTER_S

LEASE = timedelta(seconds=SILENT_AFTER_S)


def new_lease(session: Session) -> datetime:
    """Return until when a lease holds that begins now."""
    return database_now(session) + LEASE


def renew_lease(session: Session, round_id: int) -> bool:
    """Hold the round for another while, also where the lease ran out; return False where somebody ended the round."""
    renewed = session.execute(
        update(RoundRow)
        .where(RoundRow.id == round_id, RoundRow.status == RoundStatus.RUNNING)
        .values(lease_until=new_lease(session))
    )
    return changed_rows(renewed) == 1


def require_lease(session: Session, round_id: int) -> None:
    """Let nobody else end the round until this transaction does; raises RoundConflict where it ended, LeaseRanOut."""
    query = select(RoundRow).where(RoundRow.id == round_id).with_for_update()
    row = session.scalars(query.execution_options(populate_existing=True)).one()
    if row.status is not RoundStatus.RUNNING:
        raise RoundConflict(f"round {round_id} is not running any more")
    if row.lease_until is None or row.lease_until <= database_now(session):
        raise LeaseRanOut(round_id)
