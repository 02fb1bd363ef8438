"""A picture of `reactune bench serving`: answers per second against chats, a line for each engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bot.charts.frame import (
    BLUE,
    CARD,
    GREEN,
    GREY,
    HEADER_IN,
    INK,
    ORANGE,
    PURPLE,
    TEXT_PT,
    WIDTH_IN,
    ReportPage,
    Size,
    Words,
    entitle,
)
from tests.benchmarks.disturbance import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 150
PLOT = Size(3.2, 0.5)
COLORS = (GREEN, BLUE, ORANGE, PURPLE, GREY)


def draw_answers(rows: Sequence[Row], file: Path) -> None:
    """Write a PNG of the rows with one adapter."""
    # Not pyplot: it opens windows.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, HEADER_IN + PLOT.total_in))
    FigureCanvasAgg(figure)
    page = ReportPage(figure)
    page.header("Answers a second, by chats at once", "")
    _draw(page.row(PLOT), [row for row in rows if row["what"] == "chats" and row["adapters"] == 1])
    figure.savefig(file, format="png", dpi=DPI, facecolor=CARD)


def _draw(axes: Axes, rows: Sequence[Row]) -> None:
    for engine, color in zip(dict.fromkeys(row["engine"] for row in rows), COLORS, strict=False):
        told = [
            (row["chats"], row["answers_per_s"]) for row in rows if row["engine"] == engine and "answers_per_s" in row
        ]
        if not told:
            continue
        axes.plot(*zip(*told, strict=True), color=color, label=engine, marker="o", linewidth=2)
    axes.set_xticks(sorted({row["chats"] for row in rows}))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("chats", color=INK, size=TEXT_PT)
    axes.legend(loc="upper left", frameon=False, labelcolor=INK, fontsize=TEXT_PT)
    entitle(axes, Words("More is better", _caption(rows)))


def _caption(rows: Sequence[Row]) -> str:
    think_s = max(row["think_s"] for row in rows)
    pauses = f"members pause for {think_s:g} s on average" if think_s else "members never pause"
    return f"One adapter; {pauses}; seconds in which nobody waits do not count"
