"""A picture of `reactune bench serving`: answers per second by number of chats, a line for each engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bot.charts.frame import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, TEXT_PT, Words, add_panel, open_page, to_png
from tests.benchmarks.disturbance import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT_IN = 4.5
COLORS = (GREEN, BLUE, ORANGE, PURPLE, GREY)


def draw_answers(rows: Sequence[Row], file: Path) -> None:
    """Write a PNG of the rows with one adapter."""
    shown = [row for row in rows if row["what"] == "chats" and row["adapters"] == 1]
    page = open_page(HEIGHT_IN, "Answers per second, by concurrent chats")
    _draw(add_panel(page, page.add_gridspec()[0], Words("More is better", _caption(shown))), shown)
    file.write_bytes(to_png(page))


def _draw(axes: Axes, rows: Sequence[Row]) -> None:
    for engine, color in zip(dict.fromkeys(row["engine"] for row in rows), COLORS, strict=False):
        points = [
            (row["chats"], row["answers_per_s"]) for row in rows if row["engine"] == engine and "answers_per_s" in row
        ]
        if points:
            axes.plot(*zip(*points, strict=True), color=color, label=engine, marker="o", linewidth=2)
    axes.set_xticks(sorted({row["chats"] for row in rows}))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("chats", color=INK, size=TEXT_PT)
    axes.legend(loc="upper left", frameon=False, labelcolor=INK, fontsize=TEXT_PT)


def _caption(rows: Sequence[Row]) -> str:
    think_s = max(row["think_s"] for row in rows)
    pauses = f"members pause for {think_s:g} s on average" if think_s else "members never pause"
    return f"One adapter; {pauses}; seconds without a waiting member are not counted"
