"""What came with messages is remembered for a while, and for so many messages."""

from __future__ import annotations

from bot.attachments.material import KEPT_S, NOTHING, Reading, RecentReadings


def test_the_oldest_are_forgotten_first() -> None:
    recent = RecentReadings(most=2)
    for number in (1, 2, 3, 2):
        recent.keep(number, Reading(heard=str(number)))
    recent.keep(4, Reading(heard="4"))
    assert [recent.of(number).heard for number in (1, 2, 3, 4)] == ["", "2", "", "4"]


def test_nothing_is_remembered_for_longer_than_it_should() -> None:
    now = 0.0
    recent = RecentReadings(clock=lambda: now)
    recent.keep(1, Reading(heard="hello"))
    now = KEPT_S
    assert recent.of(1).heard == "hello"
    now += 1.0
    assert recent.of(1) is NOTHING
