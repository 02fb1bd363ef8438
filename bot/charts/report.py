"""All panels on one page, and their findings as one line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.charts.frame import GAP_IN, WIDTH_IN, add_panel, open_page, to_png
from bot.charts.rounds import curve_words, draw_curve, draw_gate, draw_pairs, gate_words, pairs_words
from bot.charts.votes import approval_words, causes_text, days_words, draw_approvals, draw_days, version_label
from storage.insights.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT_IN = WIDTH_IN * 5 / 8
PANELS = (
    ((0, slice(0, 6)), approval_words, draw_approvals),
    ((0, slice(6, 10)), gate_words, draw_gate),
    ((1, slice(0, 4)), days_words, draw_days),
    ((1, slice(4, 7)), pairs_words, draw_pairs),
    ((1, slice(7, 10)), curve_words, draw_curve),
)
"""Row and columns of each panel, its words, and its plot."""


def draw_report(report: Report, personality: str) -> bytes:
    """Return the picture as a PNG of 1,600 by 1,000 pixels; it takes about a second, so call it on a thread."""
    return to_png(build_figure(report, personality))


def build_figure(report: Report, personality: str) -> Figure:
    date = f"{report.days[-1].day:%-d %B %Y}"
    page = open_page(HEIGHT_IN, f"{version_label(report.champion)} answers now", f"personality {personality} · {date}")
    grid = page.add_gridspec(
        2, 10, height_ratios=(1.06, 1), wspace=10 * GAP_IN / WIDTH_IN, hspace=2 * GAP_IN / HEIGHT_IN
    )
    for place, words_of, draw in PANELS:
        words = words_of(report)
        axes = add_panel(page, grid[place], words)
        if not words.is_empty:
            draw(axes, report)
    return page


def describe_report(report: Report) -> str:
    """Return the findings in one line, also for people who cannot see the picture."""
    causes = [causes_text(report.causes)] if report.causes else []
    findings = [approval_words(report).title, days_words(report).title, *causes, gate_words(report).title]
    return f"**{version_label(report.champion)}** answers now. " + ". ".join(findings) + "."
