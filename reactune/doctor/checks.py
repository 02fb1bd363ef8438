"""What the doctor looks at beside the program's own data: a module for each part of the surroundings."""

from __future__ import annotations

from collections.abc import Callable

Check = tuple[str, Callable[[], str]]
"""What is looked at, and the look: it returns what it found, or raises an error that says what to do."""


class Unwell(Exception):
    """A check failed; the text says what to do."""
