"""The picture of `/model report`: what its titles claim, that it reads, and that it is posted."""

from __future__ import annotations

import struct
import time
from datetime import date, timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from bot.charts.approvals import approval_words
from bot.charts.gate import MOST_CHECKS, gate_words
from bot.charts.report import build_figure, describe_report, draw_report
from bot.charts.rounds import curve_words, smoothed, sources_words
from bot.charts.votes import days_words
from storage.database.enums import GateVerdict, PairSource
from storage.insights.report import Curve, DayOfVotes, GateCheck, GateResult, Report, RoundPairs, VersionApproval
from storage.votes.votes import Tally

PNG = b"\x89PNG\r\n\x1a\n"
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


def approvals(champion: tuple[int, int], base: tuple[int, int]) -> Report:
    return Report(
        champion="v1",
        approvals=(VersionApproval("base", Tally(*base), False), VersionApproval("v1", Tally(*champion), True)),
        days=NOTHING.days,
        rounds=(),
        curve=None,
        gate=None,
    )


class TestTitles:
    @pytest.mark.parametrize(
        ("champion", "base", "title"),
        [
            ((90, 10), (50, 50), "v1 is liked more than the base: 90% to 50%"),
            ((10, 90), (50, 50), "v1 is liked less than the base: 10% to 50%"),
            ((9, 1), (5, 5), "No clear difference between v1 and the base: 90% to 50%"),
            ((3, 1), (0, 0), "v1: 75% of votes are up"),
            ((0, 0), (5, 5), "No votes on v1, the champion, yet"),
            ((0, 0), (0, 0), "No votes yet"),
        ],
    )
    def test_a_difference_is_claimed_only_where_intervals_lie_apart(self, champion, base, title):
        assert approval_words(approvals(champion, base)).title == title

    def test_a_base_that_answers_is_not_compared_with_itself(self):
        report = make_report(votes=30)
        assert approval_words(report).title == "The base: 67% of votes are up"

    def test_the_interval_is_named(self):
        assert "95% Wilson interval" in approval_words(A_FEW).caption

    def test_days_pairs_curve_and_gate_say_what_was_found(self):
        assert days_words(A_FEW).title == "120 votes in 30 days, 75% of them up"
        assert sources_words(A_FEW.rounds).title == "Round 1: 28 pairs"
        assert curve_words(A_FEW.curve).title == "Round 1: the loss fell"
        assert curve_words(Curve(4, (1.0, 2.0), 2)).title == "Round 4: the loss rose"
        assert curve_words(Curve(4, (1.0,), 2)).title == "Round 4: the loss stayed"
        assert gate_words(A_FEW.gate).title == "Round 1: not enough evidence to pass the gate"
        assert gate_words(A_LOT.gate).caption == "0 of 20 checks passed, 20 failed"

    def test_where_there_is_nothing_the_titles_say_so(self):
        assert [
            approval_words(NOTHING).title,
            days_words(NOTHING).title,
            sources_words(()).title,
            curve_words(None).title,
            gate_words(None).title,
        ] == [
            "No votes yet",
            "No votes in the last 30 days",
            "No rounds yet",
            "No training yet",
            "The gate has not judged a version yet",
        ]

    @given(st.lists(st.floats(-10, 10), min_size=1, max_size=300))
    def test_a_smooth_curve_stays_within_the_losses(self, losses):
        smooth = smoothed(losses)
        assert 1 <= len(smooth) <= len(losses)
        assert min(losses) - 1e-6 <= min(smooth)
        assert max(smooth) <= max(losses) + 1e-6


class TestPicture:
    @pytest.mark.parametrize("report", [NOTHING, A_FEW, A_LOT], ids=["nothing", "a few", "a lot"])
    def test_it_is_a_png_as_wide_as_a_phone_and_soon_drawn(self, report):
        draw_report(NOTHING)  # imports, and reads the font
        began = time.process_time()
        picture = draw_report(report)
        assert time.process_time() - began < 4.0
        width, height = struct.unpack(">II", picture[16:24])
        assert (picture[:8], width) == (PNG, 1080)
        assert 400 < height < 3000
        assert len(picture) < 1_000_000

    @pytest.mark.parametrize("versions", [1, 2, 6, 7, 15, 40, 41, 100])
    def test_no_words_overlap_or_leave_the_card(self, versions):
        report = make_report(versions, votes=10_431, rounds=min(versions, 10), steps=versions, checks=min(versions, 20))
        boxes = _words(report)
        overlapping = [
            (a, b) for (a, box_a), (b, box_b) in combinations(boxes, 2) if Bbox.intersection(box_a, box_b) is not None
        ]
        assert overlapping == []

    @pytest.mark.parametrize(
        "report",
        [NOTHING, make_report(votes=1), make_report(2, rounds=1), make_report(steps=1), approvals((9, 0), (0, 9))],
    )
    def test_no_words_overlap_where_some_panels_are_empty(self, report):
        boxes = [box for _, box in _words(report)]
        assert all(Bbox.intersection(a, b) is None for a, b in combinations(boxes, 2))

    def test_rows_beyond_the_most_are_counted_in_words(self):
        assert f"… and {20 - MOST_CHECKS} more" in [words for words, _ in _words(A_LOT)]

    def test_letters_that_the_font_lacks_are_left_out(self):
        assert not any("🙂" in words for words, _ in _words(A_FEW))


def _words(report: Report) -> list[tuple[str, Bbox]]:
    """Return every visible text of the picture with its box, and check that it lies on the card."""
    figure = build_figure(report)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    undrawn = _undrawn(figure)
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in undrawn]
    shown = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    for text, box in shown:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width, text
        assert 0 <= box.y0 < box.y1 <= figure.bbox.height, text
    return [(text, Bbox.from_extents(box.x0 + 1, box.y0 + 1, box.x1 - 1, box.y1 - 1)) for text, box in shown]


def _undrawn(figure: Figure) -> set[Text]:
    """Return the labels of ticks beyond an axis' limits: they exist, but are not drawn."""
    axes = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    ticks = [(tick, *sorted(axis.get_view_interval())) for axis in axes for tick in axis.get_major_ticks()]
    return {tick.label1 for tick, low, high in ticks if not low <= tick.get_loc() <= high}


class TestCommand:
    async def test_it_posts_the_picture_with_a_line_that_says_the_same(self, place):
        await place.ada.react(await place.ask("hi"), "👍")
        posted = (await place.grace.slash(place.channel, "model report")).response
        assert posted.content == (
            "**The base** answers now. The base: 100% of votes are up. 1 vote in 30 days, 100% of them up. "
            "The gate has not judged a version yet."
        )
        (picture,) = posted.attachments
        assert picture.filename == "report.png"
        assert picture.description == posted.content.replace("**", "")
        assert (await picture.read())[:8] == PNG
        assert not posted.flags.ephemeral

    async def test_members_may_not(self, place):
        with pytest.raises(Exception, match="model"):
            await place.ada.slash(place.channel, "model report")

    def test_the_line_names_the_champion_first(self):
        assert describe_report(A_LOT).startswith("**v40** answers now. No clear difference")
