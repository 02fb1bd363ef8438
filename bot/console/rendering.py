"""Fills the console's templates, and finds the coordinates of the pictures that they draw as SVG.

Text that others wrote is escaped; the bot's own sentences may have **bold** words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from bot.charts.rounds import smoothed
from storage.insights.model_status import TreeNode
from storage.runtime.shell import as_called
from storage.wording import Duration, count, format_bytes

_markdown = MarkdownIt("zero", {"html": False, "breaks": True}).enable(["emphasis", "backticks", "newline", "escape"])
ROW, COLUMN, MARGIN = 28, 24, 16
"""Distances in the tree, in pixels."""
LETTER = 9
"""The width of a letter at most."""
CURVE_WIDTH, CURVE_HEIGHT = 100, 30


def _with_emphasis(text: str) -> Markup:
    """Return the HTML of a sentence written for Discord, its commands as the shell knows them.

    Only bold, italics and code are kept.
    """
    return Markup(_markdown.renderInline(as_called(text)))


def show_moment(moment: datetime) -> Markup:
    """Return a time in UTC, which the page's script shows in the reader's own time zone."""
    said = f"{moment:%-d %b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), said)


def show_clock(moment: datetime) -> Markup:
    """Return the time of day in UTC; the page's script shows the reader's, and the date when hovered."""
    return Markup('<time class="clock" datetime="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), f"{moment:%H:%M}"
    )


_loader = ChoiceLoader([PackageLoader("bot.console")])


def add_templates(package: str) -> None:
    """Let pages that another package adds have their templates there."""
    _loader.loaders = [*_loader.loaders, PackageLoader(package)]


_templates = Environment(
    loader=_loader,
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "emphasis": _with_emphasis,
    "moment": show_moment,
    "clock": show_clock,
    "duration": Duration,
    "bytes": format_bytes,
}


def fill(template: str, facts: dict[str, Any], *, status: int = 200) -> web.Response:
    """Return a response with the filled template; HTML by its name."""
    text = _templates.get_template(template).render(facts | {"count": count})
    return web.Response(text=text, content_type="text/html", status=status)


@dataclass(frozen=True)
class DrawnNode:
    x: int
    y: int
    parent: tuple[int, int] | None
    """Start of the line to this node, in pixels."""
    look: str
    """CSS class of the node."""
    label: str


@dataclass(frozen=True)
class DrawnTree:
    width: int
    height: int
    nodes: list[DrawnNode]
    words: list[str]
    """The picture's content in words."""


def lay_out_tree(nodes: Sequence[TreeNode]) -> DrawnTree:
    """Place each node in a row of its own, so that any number of versions can be read."""
    drawn: list[DrawnNode] = []
    for node in nodes:
        x, y = MARGIN + COLUMN * node.column, MARGIN + ROW * len(drawn)
        parent = None if node.parent is None else (drawn[node.parent].x, drawn[node.parent].y)
        look = node.marks[0].name.lower().replace("_", "-") if node.marks else ""
        drawn.append(DrawnNode(x, y, parent, look, " · ".join([node.name, *node.marks])))
    return DrawnTree(
        width=max(node.x + LETTER * len(node.label) for node in drawn) + 2 * MARGIN,
        height=drawn[-1].y + MARGIN,
        nodes=drawn,
        words=[_words(node, nodes) for node in nodes],
    )


def _words(node: TreeNode, nodes: Sequence[TreeNode]) -> str:
    origin = "" if node.parent is None else f" came from {nodes[node.parent].name}"
    return f"{node.name}{origin}" + (f": {', '.join(node.marks)}" if node.marks else "")


@dataclass(frozen=True)
class DrawnCurve:
    """Points as SVG writes them, in a box of CURVE_WIDTH by CURVE_HEIGHT."""

    every_step: str
    smooth: str


def lay_out_curve(losses: Sequence[float]) -> DrawnCurve:
    low, high = min(losses), max(losses)
    smooth = smoothed(losses)
    shift = (len(losses) - len(smooth)) / 2

    def place(step: float, loss: float) -> str:
        x = CURVE_WIDTH * step / max(1, len(losses) - 1)
        y = CURVE_HEIGHT * (high - loss) / (high - low or 1)
        return f"{x:.2f},{y:.2f}"

    return DrawnCurve(
        every_step=" ".join(place(step, loss) for step, loss in enumerate(losses)),
        smooth=" ".join(place(shift + step, loss) for step, loss in enumerate(smooth)),
    )
