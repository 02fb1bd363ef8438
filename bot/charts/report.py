"""All panels on one card, and the line that says the same."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from bot.charts.approvals import approval_words, draw_approvals, version_label
from bot.charts.frame import CARD, EMPTY, HEADER_IN, MARGIN_IN, NOTHING, WIDTH_IN, ReportPage, Size
from bot.charts.gate import draw_gate, gate_rows, gate_words
from bot.charts.rounds import draw_curve, draw_sources
from bot.charts.votes import causes_words, days_words, draw_causes, draw_days
from storage.insights.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150  # 1,080 pixels: as wide as a phone's screen
LABELS_IN, LEGEND_IN = 0.3, 0.8
CAUSE_IN = 0.3


def draw_report(report: Report) -> bytes:
    """Return the picture as a PNG of 1,080 pixels' width; it takes about a second, so call it on a thread."""
    figure = build_figure(report)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor=CARD)
    figure.clear()
    return file.getvalue()


def build_figure(report: Report) -> Figure:
    # Not pyplot: it keeps every figure in a register that threads share.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = gate_rows(report.gate)
    has_rounds = bool(report.rounds or report.curve)
    sizes = [
        Size(2.3, LABELS_IN) if report.has_votes else EMPTY,
        Size(1.5, LABELS_IN) if report.has_recent_votes else EMPTY,
        Size(CAUSE_IN * len(report.causes), LABELS_IN) if report.causes else NOTHING,
        Size(1.7, LEGEND_IN) if has_rounds else EMPTY,
        Size(sum(row.height_in for row in rows), 0.0) if rows else EMPTY,
    ]
    figure = Figure(figsize=(WIDTH_IN, HEADER_IN + sum(size.total_in for size in sizes)))
    FigureCanvasAgg(figure)
    page = ReportPage(figure)
    page.header(f"{version_label(report.champion)} answers now", f"{report.days[-1].day:%-d %B %Y}")
    draw_approvals(page.row(sizes[0]), report)
    draw_days(page.row(sizes[1]), report)
    if report.causes:
        draw_causes(page.row(sizes[2]), report.causes)
    left, right = page.halves(sizes[3])
    draw_sources(left, report.rounds)
    draw_curve(right, report.curve)
    draw_gate(page.row(sizes[4], left_in=MARGIN_IN), report.gate, rows)
    return figure


def describe_report(report: Report) -> str:
    """Return what the picture says, in a line that also serves those who cannot see it."""
    panels = (approval_words, days_words)
    causes = [causes_words(report.causes).title] if report.causes else []
    titles = [panel(report).title for panel in panels] + causes + [gate_words(report.gate).title]
    return f"**{version_label(report.champion)}** answers now. " + ". ".join(titles) + "."
