"""What every panel stands in: one column for a phone, on its own dark card, in colours for colour-blind eyes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 7.2
MARGIN_IN, LEFT_IN, RIGHT_IN, GAP_IN = 0.3, 0.75, 0.3, 0.3
HEADER_IN, TITLE_IN = 0.75, 0.68
EMPTY_IN = 0.1
CHARS_PER_IN = 12.5
FONT = "DejaVu Sans"  # comes with matplotlib
TITLE_PT, TEXT_PT = 12.5, 10.0
MOST_TICKS = 14

# Okabe and Ito's palette on a dark card, which suits Discord's dark theme and stands out in its light one.
CARD, INK, MUTED, GRID = "#1f2228", "#f2f3f5", "#a9b0ba", "#3a3f48"
BLUE, ORANGE, GREEN, YELLOW, GREY = "#56b4e9", "#e69f00", "#2fbf94", "#f0e442", "#a9b0ba"


@dataclass(frozen=True)
class Words:
    """A panel's title, which says what was found, and the line under it, which says what is shown."""

    title: str
    caption: str


@dataclass(frozen=True)
class Size:
    """Heights of a panel: the plot, and the room for labels below it."""

    plot_in: float
    below_in: float

    @property
    def total_in(self) -> float:
        return TITLE_IN + self.plot_in + self.below_in + GAP_IN if self.plot_in else 0.0


EMPTY = Size(EMPTY_IN, 0.0)
NOTHING = Size(0.0, 0.0)


class ReportPage:
    """Hands out axes from top to bottom, each with room for its words above and its labels below."""

    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        self._height_in = figure.get_figheight()
        self._top_in = self._height_in - HEADER_IN

    def header(self, text: str, date: str) -> None:
        y = 1 - 0.42 / self._height_in
        self._write(MARGIN_IN, y, text, size=17, weight="bold", color=INK)
        self._write(WIDTH_IN - RIGHT_IN, y, date, size=TEXT_PT, color=MUTED, ha="right")

    def _write(self, x_in: float, y: float, text: str, **style: Any) -> None:
        self._figure.text(x_in / WIDTH_IN, y, text, va="center", fontfamily=FONT, parse_math=False, **style)

    def row(self, size: Size, left_in: float = LEFT_IN) -> Axes:
        bottom_in = self._go_down(size)
        return self._axes(left_in, bottom_in, WIDTH_IN - left_in - RIGHT_IN, size.plot_in)

    def halves(self, size: Size) -> tuple[Axes, Axes]:
        bottom_in = self._go_down(size)
        width_in = (WIDTH_IN - 2 * LEFT_IN - RIGHT_IN) / 2
        places_in = LEFT_IN, 2 * LEFT_IN + width_in
        left, right = (self._axes(place_in, bottom_in, width_in, size.plot_in) for place_in in places_in)
        return left, right

    def _go_down(self, size: Size) -> float:
        """Return where the plot of a panel of this size ends, and let the next one begin below its labels."""
        bottom_in = self._top_in - TITLE_IN - size.plot_in
        self._top_in -= size.total_in
        return bottom_in

    def _axes(self, left_in: float, bottom_in: float, width_in: float, height_in: float) -> Axes:
        box = (left_in / WIDTH_IN, bottom_in / self._height_in, width_in / WIDTH_IN, height_in / self._height_in)
        axes = self._figure.add_axes(box, facecolor=CARD)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=TEXT_PT, labelcolor=MUTED, labelfontfamily=FONT)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        return axes


def entitle(axes: Axes, words: Words) -> None:
    """Write the words above the panel, from the card's margin or the panel's own edge, whichever is nearer."""
    for text, above_pt, style in (
        (words.title, 28, {"size": TITLE_PT, "weight": "bold", "color": INK}),
        (words.caption, 12, {"size": TEXT_PT, "color": MUTED}),
    ):
        annotate(axes, drawable(text), (0, 1), (-_hanging_pt(axes), above_pt), ha="left", va="bottom", **style)


def leave_empty(axes: Axes, words: Words) -> None:
    """Show a title and a hint in place of a plot."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    entitle(axes, Words(words.title, ""))
    chars = int(axes.get_position().width * WIDTH_IN * CHARS_PER_IN)
    hint = textwrap.fill(words.caption, chars)
    annotate(axes, hint, (0, 1), (-_hanging_pt(axes), 23), color=MUTED, size=TEXT_PT, va="top")


def annotate(axes: Axes, text: str, at: tuple[float, float], offset_pt: tuple[float, float], **style: Any) -> None:
    axes.annotate(
        text,
        at,
        xycoords="axes fraction",
        xytext=offset_pt,
        textcoords="offset points",
        fontfamily=FONT,
        parse_math=False,
        annotation_clip=False,
        **style,
    )


def _hanging_pt(axes: Axes) -> float:
    """Return how far titles begin left of the panel, so that they stand over its axis labels, in points."""
    left_in = float(axes.get_position().x0) * WIDTH_IN
    return 72 * min(LEFT_IN - MARGIN_IN, left_in - MARGIN_IN)


def thin_ticks(axes: Axes, labels: Sequence[str], most: int = MOST_TICKS) -> None:
    """Label every place, or so few of them, evenly, that labels cannot touch; the last one always."""
    step = ceil(len(labels) / most)
    places = list(range(len(labels) - 1, -1, -step))[::-1]
    axes.set_xticks(places, [labels[place] for place in places])


def drawable(text: str) -> str:
    """Return the text without the characters that the font lacks, such as emoji."""
    return "".join(letter for letter in text if ord(letter) in _glyphs())


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())
