"""What the formulas of memory say, beside what processes really need."""

from __future__ import annotations

import sys

import pytest

from tests.benchmarks.memory import Case, Size, measure

SIZES = (Size(128, 4, 16_000), Size(256, 8, 24_000), Size(512, 8, 32_000))
"""With 3, 14 and 50 million parameters."""
CASES = [
    *(Case(size, "answers", answer_tokens=8) for size in SIZES),
    *(Case(size, "trains") for size in SIZES),
]
"""In the order of what they need: one process measures all, and training loads more libraries."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_predictions_are_within_15_percent_of_the_peaks_of_three_sizes():
    for case, found in zip(CASES, measure(CASES), strict=True):
        assert found.ratio == pytest.approx(1, abs=0.15), (case, found)
