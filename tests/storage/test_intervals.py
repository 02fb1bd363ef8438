"""How sure a share of 👍 is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.intervals import wilson_interval


def test_known_values() -> None:
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_it_holds_the_share_and_keeps_to_shares(up: int, down: int) -> None:
    low, high = wilson_interval(up, up + down)
    assert 0.0 <= low <= high <= 1.0
    if up + down:
        assert low - 1e-12 <= up / (up + down) <= high + 1e-12
