"""presence penalty: cards lose the repetition penalty, whose numbers mean nothing to what took its place"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _forget("repetition_penalty")


def downgrade() -> None:
    _forget("presence_penalty")


def _forget(key: str) -> None:
    for name in ("personalities", "card_revisions"):
        table = sa.table(name, sa.column("id", sa.Integer), sa.column("card", sa.JSON))
        for row in op.get_bind().execute(sa.select(table)).all():
            if key in row.card.get("sampling", {}):
                change = sa.update(table).where(table.c.id == row.id).values(card=_without(row.card, key))
                op.get_bind().execute(change)


def _without(card: dict[str, Any], key: str) -> dict[str, Any]:
    return {**card, "sampling": {name: value for name, value in card["sampling"].items() if name != key}}
