"""Votes day by day, and the causes that came with thumbs down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bot.charts.frame import BLUE, GREY, MUTED, ORANGE, Words, entitle, leave_empty, thin_ticks
from storage.database.enums import Cause
from storage.insights.report import Report
from storage.votes.votes import Tally
from storage.wording import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UP, DOWN = BLUE, ORANGE


def days_words(report: Report) -> Words:
    votes = _sum(day.votes for day in report.days)
    total = votes.up + votes.down
    if not total:
        return Words(f"No votes in the last {len(report.days)} days", "Members vote with the thumbs under an answer.")
    return Words(
        f"{count(total, 'vote')} in {len(report.days)} days, {votes.up / total:.0%} of them up",
        "votes in chat per day (UTC), up above, down below",
    )


def draw_days(axes: Axes, report: Report) -> None:
    words = days_words(report)
    if not report.has_recent_votes:
        leave_empty(axes, words)
        return
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    entitle(axes, words)
    places = range(len(report.days))
    axes.bar(places, [day.votes.up for day in report.days], color=UP, width=0.8)
    axes.bar(places, [-day.votes.down for day in report.days], color=DOWN, width=0.8)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda votes, _: f"{abs(votes):,.0f}"))
    axes.margins(x=0.01, y=0.1)
    thin_ticks(axes, [f"{day.day:%-d %b}" for day in report.days], most=6)


def _sum(tallies: Any) -> Tally:
    up, down = 0, 0
    for votes in tallies:
        up, down = up + votes.up, down + votes.down
    return Tally(up, down)


def causes_words(causes: Mapping[Cause, int]) -> Words:
    told = ", ".join(f"{number} {cause.value}" for cause, number in causes.items())
    return Words(f"What is wrong: {told}", "thumbs down whose cause was given; wrong facts are kept out of training")


def draw_causes(axes: Axes, causes: Mapping[Cause, int]) -> None:
    from matplotlib.ticker import MaxNLocator

    entitle(axes, causes_words(causes))
    places = range(len(causes))
    colors = [GREY if cause is Cause.WRONG_FACT else DOWN for cause in causes]
    axes.barh(places, list(causes.values()), color=colors, height=0.6)
    axes.set_yticks(places, [cause.value for cause in causes])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
