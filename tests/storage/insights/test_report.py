"""The numbers of the report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from storage.database.enums import GateVerdict, Origin, PairSource, RoundStatus
from storage.insights.report import read_report, votes_by_day
from storage.settings.sections import Settings
from storage.votes.votes import Tally, Vote
from tests.past import add_round, add_version, day, lead, pair, quarantine, thumb_on
from tests.seeding import ALICE, BOB, CAROL, add_reply, vote

UP, DOWN = Vote.UP, Vote.DOWN
NOW = day(29)


def test_a_new_installation_has_a_report_of_nothing(session, personality_id):
    report = read_report(session, personality_id, NOW, Settings())
    assert (report.champion, report.rounds, report.curve, report.gate) == ("base", (), None, None)
    assert [(a.version, a.share, a.is_champion) for a in report.approvals] == [("base", None, True)]
    assert len(report.days) == 30
    assert not report.has_votes
    assert not report.has_recent_votes


def test_approval_is_reported_for_each_version_base_first(session, personality_id):
    first = add_version(session, None)
    second = add_version(session, None, first)
    lead(session, second)
    vote(session, add_reply(session), ALICE, DOWN)
    reply = add_reply(session, version_id=second.id)
    for user, value in ((ALICE, UP), (BOB, UP), (CAROL, DOWN)):
        vote(session, reply, user, value)
    report = read_report(session, 1, NOW, Settings())
    assert [(a.version, a.votes, a.is_champion) for a in report.approvals] == [
        ("base", Tally(down=1), False),
        ("v1", Tally(), False),
        ("v2", Tally(up=2, down=1), True),
    ]
    assert report.approval_of("v2").share == pytest.approx(2 / 3)


class TestVotesByDay:
    def test_a_vote_counts_on_the_day_on_which_it_became_what_it_is(self, session, personality_id):
        one, two, three = (add_reply(session) for _ in range(3))
        thumb_on(session, 27, one, ALICE, UP)
        thumb_on(session, 28, one, BOB, UP)
        thumb_on(session, 29, one, BOB, UP, added=False)  # withdrawn
        thumb_on(session, -5, two, ALICE, DOWN)  # before the thirty days
        thumb_on(session, -5, two, BOB, DOWN)
        thumb_on(session, 29, two, BOB, UP)  # cancels the old one
        thumb_on(session, -5, three, CAROL, DOWN)
        thumb_on(session, 26, three, CAROL, UP)
        thumb_on(session, 28, three, CAROL, UP, added=False)  # down again since then
        days = votes_by_day(session, 1, NOW)
        assert (len(days), days[0].day, days[-1].day) == (30, day(0).date(), day(29).date())
        assert {d.day: d.votes for d in days if d.votes != Tally()} == {
            day(27).date(): Tally(up=1),
            day(28).date(): Tally(down=1),
        }

    def test_votes_that_are_held_back_are_left_out(self, session, personality_id):
        reply = add_reply(session)
        for user in (ALICE, BOB):
            thumb_on(session, 28, reply, user, UP)
        quarantine(session, 28, [(reply, BOB)])
        assert sum(d.votes.up for d in votes_by_day(session, 1, NOW)) == 1
        assert read_report(session, 1, NOW, Settings()).approval_of("base").votes == Tally(up=1)

    def test_days_are_those_of_utc(self, session, personality_id):
        east = timezone(timedelta(hours=10))
        days = votes_by_day(session, 1, datetime(2026, 11, 5, 3, tzinfo=east))
        assert [d.day for d in days[-2:]] == [datetime(2026, 11, d, tzinfo=UTC).date() for d in (3, 4)]

    def test_arenas_and_other_personalities_are_left_out(self, session, personality_id):
        thumb_on(session, 28, add_reply(session, origin=Origin.ARENA), ALICE, UP)
        assert all(d.votes == Tally() for d in votes_by_day(session, 1, NOW))
        thumb_on(session, 28, add_reply(session), ALICE, UP)
        assert sum(d.votes.up for d in votes_by_day(session, 1, NOW)) == 1
        assert sum(d.votes.up for d in votes_by_day(session, 2, NOW)) == 0


class TestRounds:
    def test_pairs_are_counted_by_source_in_the_newest_rounds(self, session, personality_id):
        replies = [add_reply(session, answer=str(i)) for i in range(3)]
        for _ in range(12):
            lone = pair(*replies[:2], source=PairSource.TASTE)
            add_round(session, 1, [pair(*replies[:2]), pair(*replies[1:]), lone])
        skipped = add_round(session, 2, status=RoundStatus.SKIPPED)
        rounds = read_report(session, 1, NOW, Settings()).rounds
        assert [r.round_id for r in rounds] == list(range(skipped - 9, skipped))
        assert rounds[-1].by_source == {PairSource.SIBLINGS: 2, PairSource.TASTE: 1}

    def test_curve_and_gate_are_those_of_the_last_round_that_has_them(self, session, personality_id):
        checks = [{"name": "divergence", "outcome": "fail", "sentence": "too far"}]
        trained = add_round(
            session, 1, metrics={"loss_curve": [2.0, None, 1.0], "steps": 9}, gate={"verdict": "fail", "checks": checks}
        )
        add_round(session, 2, status=RoundStatus.FAILED, metrics={"pairs": 3})
        report = read_report(session, 1, NOW, Settings())
        assert (report.curve.round_id, report.curve.losses, report.curve.steps) == (trained, (2.0, 1.0), 9)
        assert (report.gate.round_id, report.gate.verdict) == (trained, GateVerdict.FAIL)
        assert (report.gate.checks[0].name, report.gate.checks[0].outcome) == ("divergence", GateVerdict.FAIL)
