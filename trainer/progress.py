"""How far a round is, as it is reported while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ReportProgress:
    phase: str
    """What is done now, such as sampling, training or judging."""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None


Report = Callable[[ReportProgress], None]
