from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import CHAMPION
from storage.database.rows import from_row
from storage.database.tables import AliasMoveRow
from storage.releases.versions import AliasMove


def trail_of(session: Session, personality_id: int, alias: str = CHAMPION) -> list[AliasMove]:
    """Return the audit trail of an alias, newest first."""
    moves = select(AliasMoveRow).where(AliasMoveRow.personality_id == personality_id, AliasMoveRow.alias == alias)
    return [from_row(AliasMove, row) for row in session.scalars(moves.order_by(AliasMoveRow.id.desc()))]
