"""How answers differ in style from other answers to the same messages, in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from storage.taste.learning import style_of
from storage.taste.measures import MEASURES, Group

CLEAR = 3.3
"""Standard deviations of a clear change: with fifty measures, chance shows one in 5 % of comparisons."""
MOST_SHOWN = 2


@dataclass(frozen=True)
class Change:
    """A measure of which the answers have clearly more, or clearly less."""

    measure: str
    is_more: bool
    answers: int
    """Number of answers that changed in this direction."""

    @property
    def words(self) -> str:
        measure = next(measure for measure in MEASURES if measure.name == self.measure)
        return measure.more if self.is_more else measure.less


def find_changes(answers: Sequence[str], others: Sequence[str]) -> tuple[Change, ...]:
    """Return the clearest changes, one of each group of measures; `others` are answers to the same messages."""
    if len(answers) != len(others):
        return ()  # a broken version answers nothing
    found: dict[Group, tuple[float, Change]] = {}
    for measure, differences in zip(MEASURES, (style_of(answers) - style_of(others)).T, strict=True):
        more, less = int((differences > 0).sum()), int((differences < 0).sum())
        clearness = abs(more - less) / sqrt(max(1, more + less))
        if measure.group is not Group.BAND and clearness > max(CLEAR, found.get(measure.group, (0.0, None))[0]):
            found[measure.group] = clearness, Change(measure.name, more > less, max(more, less))
    clearest = sorted(found.values(), key=lambda one: -one[0])
    return tuple(change for _, change in clearest[:MOST_SHOWN])
