"""Names who did something: an admin, or a part of the program."""

from __future__ import annotations

from bot.localization.sentences import gettext
from storage.releases.judging import CHOICES
from storage.releases.promotion import GATE
from storage.training.rounds import SCHEDULE

PARTS = frozenset({CHOICES, GATE, SCHEDULE})
"""No admin is called so: behind their names are their IDs."""


def name_actor(recorded: str) -> str:
    """Return who did something, as it was recorded; a part of the program is named in the present language."""
    return gettext(recorded) if recorded in PARTS else recorded
