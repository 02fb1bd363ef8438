"""How many answers come as blind pairs: more until there are enough choices, and while a version waits."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from storage.database.enums import GateVerdict, TrainingSource
from storage.releases.contests import find_rival
from storage.releases.pair_share import FIRST_CHOICES, first_choices_left, read_pair_share
from storage.votes.comparisons import Better, compare
from tests.past import add_round, add_version, lead
from tests.seeding import ALICE, ask_twice


@pytest.fixture
def share(session: Session, personality_id: int):
    def read(configured: float = 0.1) -> float:
        return read_pair_share(session, personality_id, find_rival(session, personality_id), configured)

    return read


def test_two_in_ten_until_there_are_forty_choices(session: Session, personality_id: int, share) -> None:
    for number in range(FIRST_CHOICES):
        assert (share(), first_choices_left(session, personality_id)) == (0.2, FIRST_CHOICES - number)
        compare(session, *ask_twice(session, None, None), ALICE, Better.SAME)
        session.flush()
    assert (share(), first_choices_left(session, personality_id)) == (0.1, 0)


def test_three_in_ten_while_a_version_waits_and_then_what_the_settings_say(session: Session, share) -> None:
    version = add_version(session, None, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
    assert (share(), share(0.5)) == (0.3, 0.5)
    compare(session, *ask_twice(session, version, None), ALICE, Better.FIRST)
    add_version(session, None)
    assert share() == 0.3, "the version still waits"


def test_after_the_first_round_the_share_is_that_of_the_settings(session: Session, share) -> None:
    add_version(session, add_round(session, 0))
    assert share() == 0.1


@pytest.mark.parametrize("source", [TrainingSource.EXAMPLES, None], ids=["made from examples", "imported"])
def test_choices_come_first_after_a_starter_too(session: Session, personality_id: int, share, source) -> None:
    starter = add_version(session, add_round(session, 0, learns_from=source) if source else None)
    lead(session, starter)
    compare(session, *ask_twice(session, starter, starter), ALICE, Better.FIRST)
    session.flush()
    assert (share(), first_choices_left(session, personality_id)) == (0.2, FIRST_CHOICES - 1)


def test_none_in_the_settings_stays_none(session: Session, share) -> None:
    assert share(0.0) == 0.0
    add_version(session, None, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
    assert share(0.0) == 0.0
