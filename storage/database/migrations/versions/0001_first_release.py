"""The schema of the first release, which `migrate` creates from the tables."""

from __future__ import annotations

revision = "1"  # 0001 to 0012 were those of development versions
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
