"""Canaries: how one starts and ends, and that it ends once."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import CHALLENGER, CHAMPION, LAST_GOOD, CanaryStatus, GateVerdict
from storage.database.tables import CanaryRow
from storage.errors import AliasConflict, AlreadyChampion, CanaryRefused, GateNotPassed, OverrideNeedsReason
from storage.releases.canaries import (
    Canary,
    end_canary,
    latest_canary,
    running_canary,
    start_canary,
    stop_canary,
)
from storage.releases.evidence import Contest, read_contest
from storage.releases.judging import conclude
from storage.releases.promotion import promote, release_passed, roll_back
from storage.releases.versions import Version, find_version, move_alias, read_alias, register
from storage.settings.sections import ReleaseSettings, VoteSettings
from tests.seeding import choose
from tests.storage.together import together
from tests.storage.trail import trail_of

SETTINGS = ReleaseSettings()
VOTES = VoteSettings()


def add(
    session: Session, personality_id: int, verdict: GateVerdict = GateVerdict.PASS, parent: Version | None = None
) -> Version:
    return register(
        session,
        personality_id,
        digest="d" * 64,
        base_name="tiny",
        base_revision="r" * 64,
        parent_id=parent.id if parent else None,
        round_id=None,
        metrics={},
        verdict=verdict,
    )


def start(session: Session, personality_id: int, version: Version | None, **more: object) -> Canary:
    words = {"by": "alice", "reason": "let us see", "share": 0.5} | more
    return start_canary(session, personality_id, version, SETTINGS, **words)  # type: ignore[arg-type]


def contest_of(session: Session, personality_id: int) -> Contest:
    contest = read_contest(session, personality_id, VOTES)
    assert contest is not None
    return contest


@pytest.fixture
def challenger(session: Session, personality_id: int) -> Version:
    return add(session, personality_id)


@pytest.fixture
def canary(session: Session, personality_id: int, challenger: Version) -> Canary:
    """One that compares v1 with the base."""
    return start(session, personality_id, challenger)


# Starting


def test_a_canary_names_its_challenger_and_keeps_its_limits(
    session: Session, personality_id: int, challenger: Version
) -> None:
    found = start_canary(session, personality_id, challenger, SETTINGS, by="alice", reason="let us see", share=0.25)
    assert running_canary(session, personality_id) == found
    assert (found.challenger_id, found.champion_id) == (challenger.id, None)
    assert (found.share, found.days) == (0.25, 14)
    assert read_alias(session, personality_id, CHALLENGER).version == challenger
    assert [(m.moved_by, m.reason) for m in trail_of(session, personality_id, CHALLENGER)] == [("alice", "let us see")]
    assert read_alias(session, personality_id, CHAMPION).target == "base"


def test_without_a_share_the_settings_say_it(session: Session, personality_id: int, challenger: Version) -> None:
    settings = ReleaseSettings(canary_share=0.4)
    assert start_canary(session, personality_id, challenger, settings, by="alice", reason="").share == 0.4


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0])
def test_a_share_of_none_or_all_is_refused(
    session: Session, personality_id: int, challenger: Version, share: float
) -> None:
    with pytest.raises(CanaryRefused, match="choose one between 0 and 1"):
        start(session, personality_id, challenger, share=share)
    assert running_canary(session, personality_id) is None


def test_one_canary_runs_at_a_time(session: Session, personality_id: int, canary: Canary) -> None:
    with pytest.raises(CanaryRefused, match="a canary of v1 is running: stop it first"):
        start(session, personality_id, add(session, personality_id))


def test_the_base_and_the_champion_are_not_challengers(
    session: Session, personality_id: int, challenger: Version
) -> None:
    with pytest.raises(CanaryRefused, match="promote base instead"):
        start(session, personality_id, None)
    promote(session, personality_id, challenger, expected_generation=0, by="alice", reason="")
    with pytest.raises(AlreadyChampion):
        start(session, personality_id, challenger)


def test_a_version_that_failed_is_tried_only_with_override_and_reason(session: Session, personality_id: int) -> None:
    doubtful = add(session, personality_id, GateVerdict.FAIL)
    with pytest.raises(GateNotPassed):
        start(session, personality_id, doubtful)
    with pytest.raises(OverrideNeedsReason):
        start(session, personality_id, doubtful, override=True, reason="")
    assert start(session, personality_id, doubtful, override=True).overrides_gate
    (move,) = trail_of(session, personality_id, CHALLENGER)
    assert (move.overrides_gate, move.reason) == (True, "let us see")


@pytest.mark.parametrize("admins", [2, 5])
def test_one_of_several_simultaneous_canary_starts_wins(database: Database, personality_id: int, admins: int) -> None:
    with database.transaction() as session:
        versions = [add(session, personality_id) for _ in range(admins)]
    outcomes: list[str] = []

    def decide(admin: int) -> None:
        try:
            with database.transaction() as session:
                start(session, personality_id, versions[admin])
            outcomes.append("started")
        except (AliasConflict, CanaryRefused):
            outcomes.append("refused")

    together(admins, decide)
    assert Counter(outcomes) == {"started": 1, "refused": admins - 1}
    with database.snapshot() as session:
        found = running_canary(session, personality_id)
        challenger = read_alias(session, personality_id, CHALLENGER).version
        assert found
        assert challenger
        assert found.challenger_id == challenger.id


# How it ends


def test_a_challenger_that_people_prefer_becomes_champion(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    choose(session, challenger, None, wins=9)
    contest = contest_of(session, personality_id)
    assert contest.decision is not None
    assert contest.decision.canary is CanaryStatus.PROMOTED
    assert contest.decision.reason == "people prefer v1 to base: 9 to 0 in blind pairs, by 9 people"
    assert conclude(session, contest, contest.decision, SETTINGS)
    champion, last_good = read_alias(session, personality_id), read_alias(session, personality_id, LAST_GOOD)
    assert (champion.target, last_good.target) == ("v1", "base")
    (move,) = trail_of(session, personality_id)
    assert (move.moved_by, move.reason, move.overrides_gate) == ("the canary", contest.decision.reason, False)
    ended = latest_canary(session, personality_id)
    assert ended
    assert (ended.status, ended.numbers["wins"], ended.numbers["champion"]) == (CanaryStatus.PROMOTED, 9, "base")
    assert ended.ended_at is not None
    assert read_alias(session, personality_id, CHALLENGER).version is None
    assert read_contest(session, personality_id, VOTES) is None


def test_a_challenger_that_people_like_less_goes(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    choose(session, challenger, None, losses=9)
    contest = contest_of(session, personality_id)
    assert contest.decision is not None
    assert contest.decision.canary is CanaryStatus.ROLLED_BACK
    assert conclude(session, contest, contest.decision, SETTINGS)
    assert read_alias(session, personality_id).target == "base"
    assert trail_of(session, personality_id) == []
    assert running_canary(session, personality_id) is None


@pytest.mark.parametrize(("days", "said"), [(14, "14 days"), (1, "1 day"), (1.5, "1.5 days")])
def test_after_its_days_without_a_result_the_champion_stays(
    session: Session, personality_id: int, canary: Canary, challenger: Version, days: float, said: str
) -> None:
    choose(session, challenger, None, wins=2, losses=2)
    assert contest_of(session, personality_id).decision is None
    session.execute(update(CanaryRow).values(started_at=utc_now() - timedelta(days=days), days=days))
    contest = contest_of(session, personality_id)
    assert contest.decision is not None
    assert contest.decision.canary is CanaryStatus.INCONCLUSIVE
    assert contest.decision.reason == (f"{said} did not decide between v1 and base: 2 to 2 in blind pairs, by 4 people")
    assert conclude(session, contest, contest.decision, SETTINGS)
    assert read_alias(session, personality_id).target == "base"
    assert find_version(session, challenger.id) == challenger


def test_what_a_waiting_version_shows_as_a_canary_is_its_verdict(session: Session, personality_id: int) -> None:
    waiting = add(session, personality_id, GateVerdict.NOT_ENOUGH_EVIDENCE)
    assert not start(session, personality_id, waiting).overrides_gate
    choose(session, waiting, None, wins=9)
    contest = contest_of(session, personality_id)
    assert contest.decision is not None
    assert conclude(session, contest, contest.decision, SETTINGS)
    found = find_version(session, waiting.id)
    assert found
    assert (found.verdict, found.evidence["reason"]) == (GateVerdict.PASS, contest.decision.reason)


def test_an_override_at_the_start_is_kept_with_the_promotion(session: Session, personality_id: int) -> None:
    vetoed = add(session, personality_id, GateVerdict.FAIL)
    start(session, personality_id, vetoed, override=True)
    choose(session, vetoed, None, wins=9)
    contest = contest_of(session, personality_id)
    assert contest.decision is not None
    conclude(session, contest, contest.decision, SETTINGS)
    (move,) = trail_of(session, personality_id)
    assert move.overrides_gate
    assert move.reason.endswith("; alice overrode the gate: let us see")
    assert find_version(session, vetoed.id) == vetoed


def test_an_admin_stops_it(session: Session, personality_id: int, canary: Canary) -> None:
    stop_canary(session, personality_id, by="bob", reason="enough")
    ended = latest_canary(session, personality_id)
    assert ended
    assert (ended.status, ended.reason) == (CanaryStatus.STOPPED, "bob stopped it: enough")
    assert read_contest(session, personality_id, VOTES) is None


def test_stopping_without_a_canary_is_a_sentence(session: Session, personality_id: int) -> None:
    with pytest.raises(CanaryRefused, match="no canary is running"):
        stop_canary(session, personality_id, by="bob", reason="")


def test_a_promotion_by_hand_stops_it(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    promote(session, personality_id, challenger, expected_generation=0, by="bob", reason="I know")
    ended = latest_canary(session, personality_id)
    assert ended
    assert (ended.status, ended.reason) == (CanaryStatus.STOPPED, "bob promoted v1")
    assert read_alias(session, personality_id, CHALLENGER).version is None


def test_a_roll_back_by_hand_stops_it(session: Session, personality_id: int, challenger: Version) -> None:
    promote(session, personality_id, challenger, expected_generation=0, by="bob", reason="")
    start(session, personality_id, add(session, personality_id))
    roll_back(session, personality_id, expected_generation=1, by="bob", reason="")
    ended = latest_canary(session, personality_id)
    assert ended
    assert (ended.status, ended.reason) == (CanaryStatus.STOPPED, "bob rolled back to base")


def test_without_its_champion_it_stops(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    choose(session, challenger, None, wins=9)
    contest = contest_of(session, personality_id)
    other = add(session, personality_id)
    before = read_alias(session, personality_id, CHAMPION)
    move_alias(session, personality_id, before, other, by="somebody", reason="by other means")
    assert contest.decision is not None
    assert not conclude(session, contest, contest.decision, SETTINGS)
    decision = contest_of(session, personality_id).decision
    assert decision is not None
    assert decision.canary is CanaryStatus.STOPPED
    assert read_alias(session, personality_id).version == other


# Two at once


def won(database: Database, personality_id: int) -> Contest:
    """Start a canary, let its challenger win, and return what people chose."""
    with database.transaction() as session:
        challenger = add(session, personality_id)
        start(session, personality_id, challenger)
        choose(session, challenger, None, wins=9)
        return contest_of(session, personality_id)


@pytest.mark.parametrize("side", [1, -1])
def test_one_of_several_bots_ends_the_canary(database: Database, personality_id: int, side: int) -> None:
    contest = won(database, personality_id)
    decision = contest.decision
    assert decision is not None
    if side < 0:
        decision = replace(decision, verdict=GateVerdict.FAIL, canary=CanaryStatus.ROLLED_BACK)
    ended = []

    def decide(_: int) -> None:
        try:
            with database.transaction() as session:
                if conclude(session, contest, decision, SETTINGS):
                    ended.append(True)
        except (AliasConflict, CanaryRefused):
            pass

    together(4, decide)
    assert ended == [True]
    with database.snapshot() as session:
        assert len(trail_of(session, personality_id)) == (side > 0)
        assert len(trail_of(session, personality_id, CHALLENGER)) == 2


def test_an_admin_and_the_canary_at_once_have_one_winner(database: Database, personality_id: int) -> None:
    contest = won(database, personality_id)
    with database.transaction() as session:
        other = add(session, personality_id)
    outcomes: list[str] = []
    seen = threading.Barrier(2)

    def decide(who: int) -> None:
        seen.wait()
        try:
            with database.transaction() as session:
                if who == 0:
                    promote(session, personality_id, other, expected_generation=0, by="bob", reason="")
                elif contest.decision is None or not conclude(session, contest, contest.decision, SETTINGS):
                    return
            outcomes.append("bob" if who == 0 else "canary")
        except (AliasConflict, CanaryRefused):
            pass

    together(2, decide)
    with database.snapshot() as session:
        champion, ended = read_alias(session, personality_id), latest_canary(session, personality_id)
        assert ended is not None
        assert (outcomes, champion.target, ended.status) in [
            (["bob"], "v2", CanaryStatus.STOPPED),
            (["canary"], "v1", CanaryStatus.PROMOTED),
        ]


def test_an_end_is_final(session: Session, personality_id: int, canary: Canary) -> None:
    assert end_canary(session, canary.id, CanaryStatus.INCONCLUSIVE, by="the canary", reason="enough")
    assert not end_canary(session, canary.id, CanaryStatus.ROLLED_BACK, by="the canary", reason="again")
    assert session.get_one(CanaryRow, canary.id).status is CanaryStatus.INCONCLUSIVE


# By itself


AUTOMATIC = ReleaseSettings(auto_promote=True)


def test_a_passed_version_is_promoted_if_the_operator_wants_it(
    session: Session, personality_id: int, challenger: Version
) -> None:
    assert release_passed(session, personality_id, challenger, AUTOMATIC) == "v1 answers from now on"
    assert read_alias(session, personality_id).version == challenger
    (move,) = trail_of(session, personality_id)
    assert (move.moved_by, move.reason) == ("the gate", "it passed the gate")


def test_by_default_it_waits_for_an_admin(session: Session, personality_id: int, challenger: Version) -> None:
    assert release_passed(session, personality_id, challenger, ReleaseSettings()) is None
    assert read_alias(session, personality_id).target == "base"


@pytest.mark.parametrize("verdict", [GateVerdict.FAIL, GateVerdict.NOT_ENOUGH_EVIDENCE])
def test_nothing_else_is_released_automatically(session: Session, personality_id: int, verdict: GateVerdict) -> None:
    assert release_passed(session, personality_id, add(session, personality_id, verdict), AUTOMATIC) is None
    assert read_alias(session, personality_id).target == "base"


def test_a_canary_that_runs_is_not_disturbed(session: Session, personality_id: int, canary: Canary) -> None:
    second = add(session, personality_id)
    said = release_passed(session, personality_id, second, AUTOMATIC)
    assert said == "v2 waits for an admin: a canary of v1 is running"
    assert running_canary(session, personality_id) == canary


def test_a_version_whose_parent_was_taken_back_waits(
    session: Session, personality_id: int, challenger: Version
) -> None:
    second = add(session, personality_id, parent=challenger)
    said = release_passed(session, personality_id, second, AUTOMATIC)
    assert said == "v2 waits for an admin: base answers now, which it did not start from"
    assert read_alias(session, personality_id).target == "base"
