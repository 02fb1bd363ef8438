"""What a chart shows: its texts, where they are, and whether they overlap; and effects to draw."""

from __future__ import annotations

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from storage.insights.taste_report import ShownEffect
from storage.taste.likings import Sureness

PNG = b"\x89PNG\r\n\x1a\n"


def effect(words: str, sureness: Sureness, gain: float, *, before: float = 0.6) -> ShownEffect:
    """Return an effect whose interval reaches a tenth to both sides."""
    after = before + gain
    return ShownEffect("name", words, 0.4, 0.1, sureness, before, after, after - 0.1, after + 0.1)


def words_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return every visible text of the picture with its box, and check that it lies within its card."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    undrawn = _undrawn(figure)
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in undrawn]
    shown = []
    for text in texts:
        box, card = text.get_window_extent(canvas.get_renderer()), text.get_figure().bbox
        assert card.x0 <= box.x0 < box.x1 <= card.x1, text
        assert card.y0 <= box.y0 < box.y1 <= card.y1, text
        shown.append((text.get_text(), box))
    return shown


def overlapping(words: list[tuple[str, Bbox]]) -> list[tuple[str, str]]:
    """Return the pairs of texts that overlap by more than 2 pixels, which is less than the gap of their letters."""
    boxes = [(text, box.padded(-1)) for text, box in words]
    return [(a, b) for (a, box_a), (b, box_b) in combinations(boxes, 2) if Bbox.intersection(box_a, box_b)]


def _undrawn(figure: Figure) -> set[Text]:
    """Return the labels of ticks outside an axis' limits, which exist but are not drawn."""
    axes = [axis for axes in figure.findobj(Axes) for axis in (axes.xaxis, axes.yaxis)]
    ticks = [(tick, *sorted(axis.get_view_interval())) for axis in axes for tick in axis.get_major_ticks()]
    outside = [tick for tick, low, high in ticks if not low <= tick.get_loc() <= high]
    return {label for tick in outside for label in (tick.label1, tick.label2)}
