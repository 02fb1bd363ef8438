"""Fills the console's templates. Text that others wrote is escaped; the bot's own sentences may have **bold** words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from storage.wording import Duration, count

_markdown = MarkdownIt("zero", {"html": False, "breaks": True}).enable(["emphasis", "backticks", "newline", "escape"])


def _with_emphasis(text: str) -> Markup:
    """Return the HTML of a sentence written for Discord; only bold, italics and code are kept."""
    return Markup(_markdown.renderInline(text))


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


def _environment() -> Environment:
    environment = Environment(
        loader=_loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "emphasis": _with_emphasis,
        "moment": show_moment,
        "clock": show_clock,
        "duration": Duration,
    }
    return environment


_templates = _environment()


def fill(template: str, facts: dict[str, Any], *, status: int = 200) -> web.Response:
    """Return a response with the filled template; HTML by its name."""
    text = _templates.get_template(template).render(facts | {"count": count})
    return web.Response(text=text, content_type="text/html", status=status)
