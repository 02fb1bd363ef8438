from __future__ import annotations

from storage.taste.likings import Change, find_changes

BEFORE = [
    f"The harbour has {number} boats and they all came back before the rain this evening." for number in range(20)
]


def test_clear_changes_are_named_one_of_each_group() -> None:
    found = find_changes(["Lovely. Thank you!"] * 20, BEFORE)
    assert len(found) == 2
    assert all(change.answers == 20 for change in found)
    assert all(change.words for change in found)


def test_equal_answers_and_few_ones_show_no_change() -> None:
    assert find_changes(BEFORE, BEFORE) == ()
    assert find_changes(["Lovely!"] * 5, BEFORE[:5]) == ()


def test_the_words_say_the_direction() -> None:
    assert Change("words", is_more=True, answers=3).words == "longer answers"
    assert Change("words", is_more=False, answers=3).words == "shorter answers"
