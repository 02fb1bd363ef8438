"""The look of every chart: cards on a dark page, in colours that colour-blind people can tell apart."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from matplotlib.transforms import Transform

# Discord shows a picture at most about 550 points wide, so fonts in its preview are about as large as these.
WIDTH_IN, DPI = 8.0, 200
HEADER_PT, TITLE_PT, TEXT_PT, SMALL_PT = 16.0, 10.0, 7.5, 6.5
HEADER_IN, GAP_IN, PADDING_IN = 0.48, 0.1, 0.11
CAPTION_PT = 8.0
"""Space between a plot and its caption."""
LINE_EM, BOLD_EM = 1.27, 1.13
"""Height of a line in font sizes, and how much wider bold letters are."""
ROUNDED_UP = 1.04
MORE = " …"
PARTS_OF_EMOJI = "\u200d\ufe0e\ufe0f\ufffd\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
"""Characters that join two emoji, choose a look or a skin colour, or are half of an emoji."""
REPEATED_NAME = re.compile(r"(:[a-z -]+:)(?: \1)+")
LONGEST_NAME = 26

# Okabe and Ito's palette, which suits Discord's dark theme and also works on its light one.
PAGE, CARD, INK, MUTED, GRID = "#17191d", "#24272d", "#f2f3f5", "#a9b0ba", "#3a3f48"
BLUE, ORANGE, GREEN, YELLOW, PURPLE, GREY = "#56b4e9", "#e69f00", "#2fbf94", "#f0e442", "#d68fb8", "#a9b0ba"


@dataclass(frozen=True)
class Words:
    """A panel's title, which states the finding, and its caption, which explains the plot or its absence."""

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
    middle, note_pt = 1 - HEADER_IN / 2 / height_in, TEXT_PT + 1
    page.text(1 - 2 * x, middle, note, va="center_baseline", ha="right", size=note_pt, color=MUTED)
    room_pt = 72 * (WIDTH_IN - 6 * GAP_IN) - note_pt * _width(note)
    size = min(HEADER_PT, room_pt / (BOLD_EM * _width(header)))
    page.text(2 * x, middle, header, va="center_baseline", size=size, weight="bold", color=INK)
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


def points_below(axes: Axes) -> Transform:
    """Return the coordinates in points from the upper left corner of the axes; y is negative below it."""
    from matplotlib.transforms import Affine2D, ScaledTranslation

    corner = ScaledTranslation(0, 1, axes.transAxes)  # pyrefly: ignore[bad-argument-type]  # it is affine, which stubs don't say
    return Affine2D().scale(DPI / 72) + corner


def hide_axes(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def wrapped(axes: Axes, text: str, size_pt: float, indent: float = 0.0, most_lines: int | None = None) -> str:
    """Return the text without undrawable characters, in lines that fit the card; `indent` is a share of its width."""
    room = (72 * axes.figure.bbox.width / DPI * (1 - indent) - 144 * PADDING_IN) / size_pt
    drawable = "".join(letter for letter in text if ord(letter) in _glyphs())
    lines = _fill(drawable.split(), room)
    if most_lines is not None and len(lines) > most_lines:
        last = _start(lines[most_lines - 1] + " ", room - _width(MORE))
        lines[most_lines - 1 :] = [(last.rpartition(" ")[0] or last) + MORE]
    return "\n".join(lines)


def _fill(words: Sequence[str], room: float) -> list[str]:
    """Return the words in lines of at most this width, in font sizes; a longer word is broken."""
    lines: list[str] = []
    for word in words:
        if lines and _width(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
            continue
        rest = word
        while rest:
            lines.append(_start(rest, room))
            rest = rest[len(lines[-1]) :]
    return lines


def _start(text: str, room: float) -> str:
    """Return as many letters as fit, at least one."""
    ends = accumulate(map(_letter_width, text))
    return text[: max(1, sum(end <= room for end in ends))]


def _width(text: str) -> float:
    return sum(map(_letter_width, text))


@cache
def _letter_width(letter: str) -> float:
    """Return the width of a letter in font sizes, as wide as rounding to whole pixels can make it."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    font.set_size(100, 72)
    return ROUNDED_UP * float(font.load_char(ord(letter)).linearHoriAdvance) / 65_536 / 100


def spell_emoji(text: str) -> str:
    """Return one line with the names of emoji that the font lacks, such as ":rocket:"; repeated emoji count once."""
    named = "".join(_spelled(letter) for letter in text if letter not in PARTS_OF_EMOJI)
    return REPEATED_NAME.sub(r"\1", " ".join(named.split()))


def _spelled(letter: str) -> str:
    if unicodedata.category(letter) != "So" or ord(letter) in _glyphs():
        return letter
    name = unicodedata.name(letter, "").lower()
    return f" :{name}: " if 0 < len(name) <= LONGEST_NAME else " :emoji: "


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
