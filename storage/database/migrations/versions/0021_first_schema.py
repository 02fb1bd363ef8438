"""The first schema, which `migrate` creates from the tables."""

from __future__ import annotations

revision = "21"  # 1 to 20 were development versions
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
