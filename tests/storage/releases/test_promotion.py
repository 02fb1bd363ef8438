"""Promotion and roll back: by compare-and-swap, with the gate's consent or an override, and a trail of who and why."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import LAST_GOOD, GateVerdict
from storage.database.tables import VersionRow
from storage.errors import (
    NOT_READY,
    AliasConflict,
    AlreadyChampion,
    GateNotPassed,
    NothingToRollBack,
    OverrideNeedsReason,
)
from storage.releases.promotion import promote, roll_back
from storage.releases.versions import (
    Alias,
    Version,
    failed_checks,
    find_version,
    move_alias,
    moves_of,
    note_contest,
    read_alias,
    version_named,
)
from tests.past import add_round, add_version, go_back, lead
from tests.storage.releases.test_versions import add_chain
from tests.storage.together import at_once
from tests.storage.trail import trail_of

pytestmark = pytest.mark.both_databases


def test_promotion_moves_the_champion_and_remembers_the_one_before(session: Session, personality_id: int) -> None:
    first, second = add_chain(session, 2)
    lead(session, first, second)
    assert read_alias(session, personality_id).version == second
    assert read_alias(session, personality_id, LAST_GOOD).version == first


def test_the_base_can_be_promoted(session: Session, personality_id: int) -> None:
    version = add_version(session)
    lead(session, version, None)
    assert read_alias(session, personality_id).target == "base"
    assert read_alias(session, personality_id, LAST_GOOD).version == version


def test_promoting_the_champion_changes_nothing(session: Session, personality_id: int) -> None:
    version = add_version(session)
    lead(session, version)
    # Marked by a deletion since `version` was read: it is still the same version.
    session.execute(update(VersionRow).values(trained_on_deleted_data=True))
    with pytest.raises(AlreadyChampion, match="v1 is already in use: nothing was changed"):
        lead(session, version)
    assert len(trail_of(session, personality_id)) == 1


def test_promoting_the_base_where_it_answers_changes_nothing(session: Session, personality_id: int) -> None:
    with pytest.raises(AlreadyChampion, match="base is already in use"):
        lead(session, None)


def test_every_move_leaves_a_line(session: Session, personality_id: int) -> None:
    version = add_version(session)
    lead(session, version, by="alice", reason="sounds better")
    go_back(session, by="bob")
    newest, oldest = trail_of(session, personality_id)
    assert (oldest.generation, oldest.from_version_id, oldest.to_version_id) == (1, None, version.id)
    assert (oldest.moved_by, oldest.reason) == ("alice", "sounds better")
    assert (newest.generation, newest.from_version_id, newest.to_version_id) == (2, version.id, None)
    assert (newest.moved_by, newest.reason) == ("bob", "worse")
    assert newest.moved_at >= oldest.moved_at


# The gate

CHECKS = [
    {"name": "divergence", "outcome": "fail", "sentence": "answers moved 4.2 nats per token"},
    {"name": "held out", "outcome": "not enough evidence", "sentence": "5 pairs were held out, 8 are needed"},
    {"name": "length", "outcome": "pass", "sentence": "answers are as long as before"},
]


def add_doubtful(session: Session, verdict: GateVerdict = GateVerdict.FAIL) -> Version:
    """Add a version that the gate did not pass, and the round that says why."""
    return add_version(session, add_round(session, 0, gate={"verdict": verdict, "checks": CHECKS}), verdict=verdict)


@pytest.mark.parametrize("verdict", [GateVerdict.FAIL, GateVerdict.NOT_ENOUGH_EVIDENCE])
def test_a_version_that_did_not_pass_is_not_promoted_and_the_reasons_are_named(
    session: Session, personality_id: int, verdict: GateVerdict
) -> None:
    doubtful = add_doubtful(session, verdict)
    assert find_version(session, doubtful.id) == doubtful
    assert doubtful.verdict is verdict
    with pytest.raises(GateNotPassed) as refusal:
        lead(session, doubtful)
    said = NOT_READY[verdict]
    assert str(refusal.value) == (
        f"v1 is not ready ({said}: answers moved 4.2 nats per token; 5 pairs were held out, 8 are needed): "
        "to use it anyway, repeat with override and a reason"
    )
    assert trail_of(session, personality_id) == []


def test_a_refusal_does_not_say_that_nobody_compared_a_version_once_somebody_has(
    session: Session, personality_id: int
) -> None:
    nobody_yet = {"name": "people", "outcome": "not enough evidence", "sentence": "members have not compared it yet"}
    round_id = add_round(session, 0, gate={"verdict": "not enough evidence", "checks": [nobody_yet]})
    waiting = add_version(session, round_id, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
    assert failed_checks(session, waiting) == ["members have not compared it yet"]
    note_contest(session, waiting, {"wins": 9, "losses": 7, "ties": 0})
    compared = find_version(session, waiting.id)
    assert compared is not None
    assert failed_checks(session, compared) == []
    with pytest.raises(GateNotPassed, match=r"v1 is not ready \(members have not decided yet\): "):
        lead(session, compared)


def test_without_a_round_the_verdict_alone_is_named(session: Session, personality_id: int) -> None:
    doubtful = add_version(session, verdict=GateVerdict.FAIL)
    assert failed_checks(session, doubtful) == []
    with pytest.raises(GateNotPassed, match=r"v1 is not ready \(it failed a check\): "):
        lead(session, doubtful)


def test_an_override_promotes_it_and_is_kept_with_its_reason(session: Session, personality_id: int) -> None:
    doubtful = add_doubtful(session)
    lead(session, doubtful, reason="it is only a test", override=True)
    (move,) = trail_of(session, personality_id)
    assert (move.to_version_id, move.overrides_gate, move.reason) == (doubtful.id, True, "it is only a test")
    assert moves_of(session, doubtful) == [move]


@pytest.mark.parametrize("reason", ["", "  "])
def test_an_override_without_a_reason_is_refused(session: Session, personality_id: int, reason: str) -> None:
    doubtful = add_doubtful(session)
    with pytest.raises(OverrideNeedsReason, match="say why v1 should answer"):
        lead(session, doubtful, reason=reason, override=True)
    assert trail_of(session, personality_id) == []


def test_no_override_is_noted_if_nothing_is_overridden(session: Session, personality_id: int) -> None:
    lead(session, add_version(session), reason="it is only a test", override=True)
    lead(session, None, override=True)
    assert [move.overrides_gate for move in trail_of(session, personality_id)] == [False, False]


def test_rolling_back_asks_no_gate(session: Session, personality_id: int) -> None:
    doubtful = add_doubtful(session)
    lead(session, doubtful, reason="it is only a test", override=True)
    lead(session, add_version(session))
    assert go_back(session) == "v1"


# Rolling back


def test_roll_back_from_a_champion_that_was_called_good_walks_to_its_parent(
    session: Session, personality_id: int
) -> None:
    first, second = add_chain(session, 2)
    lead(session, first, second)
    move_alias(
        session, personality_id, read_alias(session, personality_id, LAST_GOOD), second, by="alice", reason="it is good"
    )
    assert go_back(session) == "v1"


@pytest.mark.parametrize(
    ("promoted", "answers"),
    [
        ("", []),
        ("v1", ["base"]),
        ("v3", ["base"]),
        ("v1 v2", ["v1", "base"]),
        ("v1 v2 v3", ["v2", "v1", "base"]),
        ("v1 v3", ["v1", "base"]),
        ("v1 base", ["v1", "base"]),
        ("v1 v2 base", ["v2", "v1", "base"]),
        ("v1 base v2", ["base"]),
        ("v2 v1", ["v2", "v1", "base"]),
        ("v3 v1 base", ["v1", "base"]),
        ("v1 back", []),
        ("v1 v2 back v2", ["v1", "base"]),
        ("v1 v2 back base", ["v1", "base"]),
        ("v1 v2 back v3", ["v1", "base"]),
        ("v1 v2 base back base", ["v2", "v1", "base"]),
    ],
)
def test_roll_backs_undo_the_last_promotion_and_then_walk_to_the_base(
    session: Session, personality_id: int, promoted: str, answers: list[str]
) -> None:
    """v2 continues v1, and v3 continues v2."""
    add_chain(session, 3)
    for name in promoted.split():
        if name == "back":
            go_back(session)
        else:
            lead(session, version_named(session, personality_id, name))
    assert [go_back(session) for _ in answers] == answers
    with pytest.raises(NothingToRollBack, match="the base model is already in use"):
        go_back(session)


# Two admins at once


def test_a_move_from_a_stale_view_is_refused(session: Session, personality_id: int) -> None:
    first, second = add_chain(session, 2)
    lead(session, first)
    with pytest.raises(AliasConflict) as conflict:
        promote(session, personality_id, second, expected_generation=0, by="bob", reason="stale")
    assert (conflict.value.expected, conflict.value.found) == (0, 1)
    with pytest.raises(AliasConflict):
        roll_back(session, personality_id, expected_generation=0, by="bob", reason="stale")
    assert read_alias(session, personality_id).version == first


def test_one_of_several_simultaneous_promotions_wins_and_the_others_fail(
    database: Database, personality_id: int
) -> None:
    admins = 6
    with database.transaction() as session:
        versions = [add_version(session) for _ in range(admins)]

    def decide(session: Session, admin: int) -> Alias:
        how = {"expected_generation": 0, "by": f"admin {admin}", "reason": "mine"}
        return promote(session, personality_id, versions[admin], **how)

    outcomes = at_once(database, admins, decide, AliasConflict)
    won = [admin for admin, one in enumerate(outcomes) if not isinstance(one, AliasConflict)]
    assert len(won) == 1
    assert {one.found for one in outcomes if isinstance(one, AliasConflict)} == {1}
    with database.snapshot() as session:
        assert read_alias(session, personality_id).version == versions[won[0]]
        assert [move.moved_by for move in trail_of(session, personality_id)] == [f"admin {won[0]}"]
        assert len(trail_of(session, personality_id, LAST_GOOD)) == 1


def test_a_promotion_and_a_roll_back_at_once_have_one_winner(database: Database, personality_id: int) -> None:
    with database.transaction() as session:
        first, second, third = add_chain(session, 3)
        lead(session, first, second)
    how = {"expected_generation": 2, "by": "alice", "reason": "better"}
    work = partial(promote, to=third, **how), partial(roll_back, **how)
    outcomes = at_once(database, 2, lambda session, admin: work[admin](session, personality_id), AliasConflict)
    assert sorted(isinstance(one, AliasConflict) for one in outcomes) == [False, True]
    with database.snapshot() as session:
        champion, last_good = read_alias(session, personality_id), read_alias(session, personality_id, LAST_GOOD)
        assert (champion.target, last_good.target) in [("v3", "v2"), ("v1", "base")]
