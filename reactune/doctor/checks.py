"""What a check is, and how it reports a problem or a hint."""

from __future__ import annotations

from collections.abc import Callable

Check = tuple[str, Callable[[], str]]
"""Its name, and a function that returns what it found or raises Problem or Hint."""


class Problem(Exception):
    """Something must be fixed; the text says how."""


class Hint(Exception):
    """Nothing is broken, but the operator should know; the text says what to do."""
