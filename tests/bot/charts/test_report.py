"""The picture of the report: the claims of its titles, its layout, and the message that carries it."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.transforms import Bbox

from bot.charts.report import approval_words, build_figure, days_words, describe_report, draw_report
from bot.charts.rounds import curve_words, gate_words, pairs_words, smoothed
from bot.charts.taste import liking_words
from storage.database.enums import Cause, GateVerdict, PairSource
from storage.database.tables import AuditRow
from storage.insights.report import Curve, DayOfVotes, GateResult, Report, RoundPairs, VersionApproval
from storage.taste.likings import Sureness
from storage.training.rounds import GateCheck
from storage.votes.votes import Tally
from tests.bot.charts.drawn import PNG, effect, overlapping, words_of
from tests.bot.panels import post_report, said

TODAY = date(2026, 11, 4)
SENTENCE = "the loss on the retention text is 2.61, 1.083 times the base's 2.41, above the limit of 1.050 🙂 $x$"


def make_report(
    versions: int = 1,
    votes: int = 0,
    rounds: int = 0,
    steps: int = 0,
    checks: int = 0,
    verdict: GateVerdict = GateVerdict.PASS,
) -> Report:
    names = ["base", *(f"v{i}" for i in range(1, versions))]
    each = Tally(up=2 * votes // 3, down=votes - 2 * votes // 3)
    return Report(
        champion=names[-1],
        approvals=tuple(VersionApproval(name, each, is_champion=name == names[-1]) for name in names),
        days=tuple(DayOfVotes(TODAY - timedelta(days=29 - i), Tally(votes, votes // 2)) for i in range(30)),
        rounds=tuple(RoundPairs(i + 1, dict.fromkeys(PairSource, 7 * (i + 1))) for i in range(rounds)),
        curve=Curve(rounds, tuple(2.0 - i / (steps + 1) for i in range(steps)), 3 * steps) if steps else None,
        gate=GateResult(rounds, verdict, tuple(GateCheck(f"suite {i}", verdict, SENTENCE) for i in range(checks)))
        if checks
        else None,
    )


NOTHING = make_report()
A_FEW = make_report(versions=2, votes=3, rounds=1, steps=6, checks=2, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
A_LOT = make_report(versions=41, votes=250, rounds=10, steps=256, checks=20, verdict=GateVerdict.FAIL)


LIKINGS = (
    effect("shorter answers", Sureness.SURE, 0.11),
    effect("a capital letter at the start", Sureness.FAIRLY, 0.06),
    effect("“I can't” and “I don't know”", Sureness.GUESS, 0.04),
    effect("no lists", Sureness.GUESS, 0.0001),
    effect("emoji", Sureness.GUESS, 0.0001),
)


def approvals(champion: tuple[int, int], base: tuple[int, int]) -> Report:
    versions = (VersionApproval("base", Tally(*base), False), VersionApproval("v1", Tally(*champion), True))
    return replace(NOTHING, champion="v1", approvals=versions)


def curve(*losses: float) -> Report:
    return replace(NOTHING, curve=Curve(4, losses, 2))


class TestTitles:
    @pytest.mark.parametrize(
        ("champion", "base", "title"),
        [
            ((90, 10), (50, 50), "v1 is liked more than the base: 90% to 50%"),
            ((10, 90), (50, 50), "v1 is liked less than the base: 10% to 50%"),
            ((9, 1), (5, 5), "No clear difference from the base: 90% to 50%"),
            ((3, 1), (0, 0), "v1: 75% of votes are up"),
            ((0, 0), (5, 5), "No votes yet on v1, which answers now"),
            ((0, 0), (0, 0), "No votes yet"),
        ],
    )
    def test_a_difference_is_claimed_only_if_intervals_do_not_overlap(self, champion, base, title):
        assert approval_words(approvals(champion, base)).title == title

    def test_the_base_as_champion_is_not_compared_with_itself(self):
        report = make_report(votes=30)
        assert approval_words(report).title == "The base: 67% of votes are up"

    def test_the_interval_is_named(self):
        assert "95% interval" in approval_words(A_FEW).caption

    def test_days_pairs_curve_and_gate_state_their_findings(self):
        assert days_words(A_FEW).title == "120 votes in 30 days, 75% up"
        assert pairs_words(A_FEW).title == "Round 1: 35 pairs"
        assert curve_words(A_FEW).title == "Round 1: the loss fell"
        assert curve_words(curve(1.0, 2.0)).title == "Round 4: the loss rose"
        assert curve_words(curve(1.0)).title == "Round 4: the loss stayed"
        assert gate_words(A_FEW).title == "Round 1: passed, now being compared"
        assert gate_words(A_LOT).caption == "0 of 20 checks passed, 20 failed"

    def test_sources_of_pairs_are_named_in_words_that_admins_know(self):
        only_siblings = replace(A_FEW, rounds=(RoundPairs(1, {PairSource.SIBLINGS: 3}),))
        assert pairs_words(only_siblings).caption == "Most from answers to the same question"

    def test_the_surest_liking_is_named(self):
        assert liking_words(replace(A_LOT, likings=LIKINGS)).title == "Clearly liked: shorter answers"
        assert liking_words(replace(A_LOT, likings=LIKINGS[1:])).title.startswith("Probably liked: ")
        assert liking_words(replace(A_LOT, likings=LIKINGS[2:])).title.startswith("Perhaps liked: ")

    def test_empty_panels_say_so(self):
        panels = (approval_words, days_words, liking_words, pairs_words, curve_words, gate_words)
        words = [panel(NOTHING) for panel in panels]
        assert all(panel.is_empty and panel.caption for panel in words)
        assert [panel.title for panel in words] == [
            "No votes yet",
            "No votes in the last 30 days",
            "Not known yet what members like",
            "No rounds yet",
            "No training yet",
            "No version judged yet",
        ]

    @given(st.lists(st.floats(-10, 10), min_size=1, max_size=300))
    def test_a_smooth_curve_stays_within_the_losses(self, losses):
        smooth = smoothed(losses)
        assert 1 <= len(smooth) <= len(losses)
        assert min(losses) - 1e-6 <= min(smooth)
        assert max(smooth) <= max(losses) + 1e-6


class TestPicture:
    @pytest.mark.parametrize("report", [NOTHING, A_LOT], ids=["nothing", "a lot"])
    def test_it_is_a_wide_png_of_moderate_size(self, report):
        picture = draw_report(report, "default")
        assert picture[:8] == PNG
        assert struct.unpack(">II", picture[16:24]) == (1600, 1000)
        assert len(picture) < 500_000

    @pytest.mark.parametrize(
        ("versions", "verdict"), list(zip([2, 4, 5, 8, 9, 120], 2 * list(GateVerdict), strict=True))
    )
    def test_no_words_overlap_or_leave_their_card(self, versions, verdict):
        rounds, checks = min(versions, 10), min(versions, 20)
        report = make_report(versions, votes=10_431, rounds=rounds, steps=versions, checks=checks, verdict=verdict)
        assert overlapping(_words(report)) == []

    @pytest.mark.parametrize(
        "report",
        [
            NOTHING,
            make_report(votes=1),
            make_report(rounds=1, steps=1),
            replace(A_LOT, rounds=tuple(RoundPairs(99_990 + i, dict.fromkeys(PairSource, 9_999)) for i in range(10))),
            approvals((9, 0), (0, 9)),
            replace(NOTHING, causes=dict.fromkeys(Cause, 12_345), likings=LIKINGS[:1]),
            replace(A_LOT, gate=GateResult(9, GateVerdict.FAIL, (GateCheck("w" * 90, GateVerdict.FAIL, SENTENCE),))),
            replace(A_LOT, causes=dict.fromkeys(Cause, 12_345), likings=LIKINGS),
        ],
    )
    def test_no_words_overlap_if_some_panels_are_empty_or_full(self, report):
        assert overlapping(_words(report)) == []

    def test_a_long_name_of_a_personality_fits_next_to_the_header(self):
        words = _words(A_LOT, "w" * 32)
        assert f"personality {'w' * 32} · Nov 4, 2026" in [text for text, _ in words]
        assert overlapping(words) == []

    def test_the_last_day_is_labelled_and_no_date_leaves_its_card(self):
        texts = [text for text, _ in _words(A_LOT)]
        assert [text for text in texts if text.startswith(("Oct", "Nov")) and "," not in text] == [
            "Oct 11",
            "Oct 17",
            "Oct 23",
            "Oct 29",
            "Nov 4",
        ]

    def test_failed_checks_have_reasons_and_passed_ones_at_least_their_names(self):
        gate = make_report(rounds=1, checks=9).gate
        failed = GateCheck("held-out pairs", GateVerdict.FAIL, "It lost.")
        report = replace(NOTHING, gate=replace(gate, verdict=GateVerdict.FAIL, checks=(*gate.checks, failed)))
        texts = [text for text, _ in _words(report)]
        assert texts.index("held-out pairs") < texts.index("It lost.") < texts.index("suite 0")
        assert all(any(f"suite {i}" in " ".join(text.split()) for text in texts) for i in range(9))

    def test_failed_checks_that_do_not_fit_are_counted(self):
        assert any(text.startswith("… and ") and text.endswith(" more") for text, _ in _words(A_LOT))

    def test_letters_that_the_font_lacks_are_left_out(self):
        assert not any("🙂" in text for text, _ in _words(A_FEW))


def _words(report: Report, personality: str = "default") -> list[tuple[str, Bbox]]:
    return words_of(build_figure(report, personality))


class TestCommand:
    async def test_it_posts_the_picture_with_its_findings_in_words(self, place, rows):
        await place.ada.react(await place.ask("hi"), "👍")
        posted = await post_report(place)
        assert said(posted) == (
            "**The base** answers now. The base: 100% of votes are up. 1 vote in 30 days, 100% up. "
            "No version judged yet."
        )
        (picture,) = posted.attachments
        assert picture.filename == "report.png"
        assert picture.description == said(posted).replace("**", "")
        assert (await picture.read())[:8] == PNG
        assert not posted.flags.ephemeral

        assert [(row.action, row.subject) for row in rows(AuditRow)][-1] == ("version report", "personality: default")

    def test_the_line_names_the_champion_first(self):
        assert describe_report(A_LOT).startswith("**v40** answers now. No clear difference")

    def test_the_line_says_what_is_liked(self):
        assert ". Clearly liked: shorter answers. " in describe_report(replace(A_LOT, likings=LIKINGS))
