"""The look of every chart: cards on a dark page, in colours that colour-blind people can tell apart."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

# Discord shows a picture at most about 550 points wide, so fonts in its preview are about as large as these.
WIDTH_IN, DPI = 8.0, 200
HEADER_PT, TITLE_PT, TEXT_PT, SMALL_PT = 16.0, 10.0, 7.5, 6.5
HEADER_IN, GAP_IN, PADDING_IN = 0.48, 0.1, 0.11
CAPTION_PT = 8.0
"""Space between a plot and its caption."""
LINE_EM, CHAR_EM, BOLD_EM = 1.27, 0.57, 1.13
"""Height of a line and generous width of a letter, in font sizes, and how much wider a bold letter is."""

# Okabe and Ito's palette, which suits Discord's dark theme and also works on its light one.
PAGE, CARD, INK, MUTED, GRID = "#17191d", "#24272d", "#f2f3f5", "#a9b0ba", "#3a3f48"
BLUE, ORANGE, GREEN, YELLOW, PURPLE, GREY = "#56b4e9", "#e69f00", "#2fbf94", "#f0e442", "#d68fb8", "#a9b0ba"


@dataclass(frozen=True)
class Words:
    """A panel's title, which states the finding, and its caption, which explains the plot or why there is none."""

    title: str
    caption: str
    is_empty: bool = False


def open_page(height_in: float, header: str, note: str = "") -> Figure:
    """Return a page with a header at the left and a note at the right."""
    # Without pyplot, which keeps every figure in a global registry and is not thread-safe.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    x, y = GAP_IN / WIDTH_IN, GAP_IN / height_in
    below_header = (x, y, 1 - 2 * x, 1 - y - HEADER_IN / height_in)
    layout = ConstrainedLayoutEngine(w_pad=PADDING_IN, h_pad=PADDING_IN, rect=below_header)
    page = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor=PAGE, layout=layout)
    middle = 1 - HEADER_IN / 2 / height_in
    page.text(2 * x, middle, header, va="center_baseline", size=HEADER_PT, weight="bold", color=INK)
    page.text(1 - 2 * x, middle, note, va="center_baseline", ha="right", size=TEXT_PT + 1, color=MUTED)
    return page


def add_panel(page: Figure, place: SubplotSpec, words: Words) -> Axes:
    """Add a card with these words, and return the axes for its plot."""
    axes = page.add_subfigure(place, facecolor=CARD).add_subplot(facecolor=CARD)
    axes.spines[:].set_visible(False)
    axes.yaxis.tick_right()  # so that the plot starts at the same edge as its title
    axes.tick_params(length=0, labelsize=TEXT_PT, labelcolor=MUTED)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    title_pt = CAPTION_PT
    if words.is_empty:
        hide_axes(axes)
        hint = wrapped(axes, words.caption, TEXT_PT, indent=0.25)
        axes.text(0.5, 0.5, hint, ha="center", va="center", size=TEXT_PT, color=MUTED)
    else:
        caption = wrapped(axes, words.caption, TEXT_PT)
        _write_above(axes, caption, CAPTION_PT, size=TEXT_PT, color=MUTED)
        title_pt += 3 + LINE_EM * TEXT_PT * len(caption.splitlines())
    title = wrapped(axes, words.title, BOLD_EM * TITLE_PT)
    _write_above(axes, title, title_pt, size=TITLE_PT, color=INK, weight="bold")
    return axes


def _write_above(axes: Axes, text: str, above_pt: float, **style: Any) -> None:
    axes.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, above_pt),
        textcoords="offset points",
        va="bottom",
        parse_math=False,
        **style,
    )


def hide_axes(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def wrapped(axes: Axes, text: str, size_pt: float, indent: float = 0.0, most_lines: int | None = None) -> str:
    """Return the text without undrawable characters, in lines that fit the card; `indent` is a share of its width."""
    width_pt = 72 * (axes.figure.bbox.width / DPI * (1 - indent) - 2 * PADDING_IN)
    drawable = "".join(letter for letter in text if ord(letter) in _glyphs())
    return textwrap.fill(drawable, int(width_pt / (CHAR_EM * size_pt)), max_lines=most_lines, placeholder=" …")


def thin_ticks(axes: Axes, labels: Sequence[str], most: int) -> None:
    """Label every position on the x axis, or every n-th if there are more than `most`; the last one always."""
    step = ceil(len(labels) / most)
    places = list(range(len(labels) - 1, -1, -step))[::-1]
    axes.set_xticks(places, [labels[place] for place in places])


@cache
def _glyphs() -> frozenset[int]:
    """Return the characters that the font has; it lacks emoji."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def to_png(page: Figure) -> bytes:
    file = BytesIO()
    page.savefig(file, format="png")
    return file.getvalue()
