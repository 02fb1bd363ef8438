"""The report's picture: its panels about votes, and the arrangement of all panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bot.charts.frame import (
    BLUE,
    CARD,
    GAP_IN,
    GREY,
    INK,
    MUTED,
    ORANGE,
    SMALL_PT,
    TEXT_PT,
    WIDTH_IN,
    YELLOW,
    Words,
    add_panel,
    open_page,
    thin_ticks,
    to_png,
    wrapped,
)
from bot.charts.rounds import curve_words, draw_curve, draw_gate, draw_pairs, gate_words, pairs_words
from bot.charts.taste import draw_likings, liking_words
from bot.localization.sentences import day, day_of_year, gettext, ngettext, number, percent
from bot.text.releases import describe_left_out
from storage.database.enums import Cause
from storage.insights.report import Report, VersionApproval
from storage.wording import BASE_NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CHAMPION, UP, DOWN = YELLOW, BLUE, ORANGE
MOST_VERSIONS = 40
MOST_LABELLED, MOST_COUNTED = 8, 4
"""Maximum number of versions whose points show a share, and of those that also show the number of votes."""


def version_label(version: str) -> str:
    return gettext("The base") if version == BASE_NAME else version


def approval_words(report: Report) -> Words:
    """Compare the champion with the base; claim a difference only if their intervals do not overlap."""
    champion, base = report.approval_of(report.champion), report.approvals[0]
    if not report.has_votes:
        return Words(gettext("No votes yet"), gettext("Members vote with the thumbs under an answer."), is_empty=True)
    left_out = len(report.approvals) - len(_shown_versions(report.approvals))
    caption = gettext("Share of thumbs up in chat, with its 95% interval; ◆ version in use, ■ base")
    if left_out:
        older = ngettext("{count} older version not shown", "{count} older versions not shown", left_out)
        caption += f"; {older}"
    name = version_label(champion.version)
    if champion.share is None:
        return Words(gettext("No votes yet on {version}, which answers now", version=name), caption)
    if champion is base or base.share is None:
        up = gettext("{version}: {share} of votes are up", version=name, share=percent(champion.share))
        return Words(up, caption)
    return Words(_comparison(champion, base), caption)


def _comparison(champion: VersionApproval, base: VersionApproval) -> str:
    (low, high), (base_low, base_high) = champion.interval, base.interval
    assert champion.share is not None
    assert base.share is not None
    shares = gettext("{share} to {other}", share=percent(champion.share), other=percent(base.share))
    if low > base_high:
        return gettext("{version} is liked more than the base: {shares}", version=champion.version, shares=shares)
    if high < base_low:
        return gettext("{version} is liked less than the base: {shares}", version=champion.version, shares=shares)
    return gettext("No clear difference from the base: {shares}", shares=shares)


def draw_approvals(axes: Axes, report: Report) -> None:
    shown = _shown_versions(report.approvals)
    for x, approval in enumerate(shown):
        if approval.share is not None:
            _draw_approval(axes, (x, approval.share), approval, _label(approval, among=len(shown)))
    base = report.approvals[0]
    if base.share is not None:
        axes.axhline(base.share, color=GREY, linewidth=0.8, linestyle=(0, (4, 4)), zorder=1)
    centre, reach = (len(shown) - 1) / 2, max(0.55 * len(shown), 2.5)
    axes.set_xlim(centre - reach, centre + reach)
    axes.set_ylim(-0.05, 1.25)  # with space for points at 0% and for labels above 100%
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], [percent(quarter / 4) for quarter in range(5)])
    thin_ticks(axes, [approval.version for approval in shown], most=MOST_LABELLED)


def _shown_versions(approvals: Sequence[VersionApproval]) -> list[VersionApproval]:
    """Return the base, the champion and the newest versions."""
    first_shown = len(approvals) - MOST_VERSIONS
    return [a for i, a in enumerate(approvals) if i == 0 or a.is_champion or i >= first_shown]


def _draw_approval(axes: Axes, at: tuple[int, float], approval: VersionApproval, label: str) -> None:
    is_base = approval.version == BASE_NAME
    color = CHAMPION if approval.is_champion else GREY if is_base else BLUE
    marker = "D" if approval.is_champion else "s" if is_base else "o"
    low, high = approval.interval
    axes.vlines(at[0], low, high, color=color, linewidth=2, alpha=0.75)
    axes.plot(*at, marker=marker, color=color, markersize=5, markeredgecolor=CARD)
    axes.annotate(label, (at[0], high), xytext=(0, 3), textcoords="offset points", ha="center", color=INK, size=TEXT_PT)


def _label(approval: VersionApproval, among: int) -> str:
    """Return a point's share with the number of votes, or less if there are many points."""
    share = percent(approval.share or 0)
    if among <= MOST_COUNTED:
        return gettext("{share}\nof {votes}", share=share, votes=approval.votes.total)
    if among <= MOST_LABELLED:
        return share
    return f"{approval.version}\n{share}" if approval.is_champion else ""


def days_words(report: Report) -> Words:
    up, down = (sum(getattr(day.votes, side) for day in report.days) for side in ("up", "down"))
    days = len(report.days)
    if not report.has_recent_votes:
        soon = gettext("Votes in chat will appear here, day by day.")
        hint = causes_text(report.causes) if report.causes else soon
        return Words(gettext("No votes in the last {days} days", days=days), hint, is_empty=True)
    title = ngettext(
        "{count} vote in {days} days, {share} up",
        "{count} votes in {days} days, {share} up",
        up + down,
        days=days,
        share=percent(up / (up + down)),
    )
    return Words(title, gettext("Votes in chat by UTC day, thumbs up above the line"))


def draw_days(axes: Axes, report: Report) -> None:
    places = range(len(report.days))
    axes.bar(places, [day.votes.up for day in report.days], color=UP, width=0.8)
    axes.bar(places, [-day.votes.down for day in report.days], color=DOWN, width=0.8)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.locator_params(axis="y", nbins=4, integer=True, min_n_ticks=2)
    axes.yaxis.set_major_formatter(lambda votes, _: number(abs(votes)))
    axes.use_sticky_edges = False  # so that the label of 0 stays clear of the last date if all votes are up
    axes.margins(x=0.01, y=0.1)
    thin_ticks(axes, [day_of_year(one.day) for one in report.days], most=5)
    if report.causes:
        note = gettext("wrong facts are kept out of training") if Cause.WRONG_FACT in report.causes else ""
        said = "; ".join(filter(None, (causes_text(report.causes), note)))
        text = wrapped(axes, said, SMALL_PT)
        axes.set_xlabel(text, loc="left", color=MUTED, size=SMALL_PT)


def causes_text(causes: Mapping[Cause, int]) -> str:
    counted = ", ".join(f"{number(times)} {gettext(cause.value)}" for cause, times in causes.items())
    return gettext("Reasons for thumbs down: {causes}", causes=counted)


HEIGHT_IN = WIDTH_IN * 5 / 8
PANELS = (
    ((0, slice(0, 4)), approval_words, draw_approvals),
    ((0, slice(4, 7)), liking_words, draw_likings),
    ((0, slice(7, 10)), gate_words, draw_gate),
    ((1, slice(0, 4)), days_words, draw_days),
    ((1, slice(4, 7)), pairs_words, draw_pairs),
    ((1, slice(7, 10)), curve_words, draw_curve),
)
"""Row and columns of each panel, its words, and its plot."""


def draw_report(report: Report, personality: str) -> bytes:
    """Return the picture as a PNG of 1,600 by 1,000 pixels; it takes about a second, so call it on a thread."""
    return to_png(build_figure(report, personality))


def build_figure(report: Report, personality: str) -> Figure:
    whose = gettext("personality {personality}", personality=personality)
    header = gettext("{version} answers now", version=version_label(report.champion))
    page = open_page(HEIGHT_IN, header, f"{whose} · {day(report.days[-1].day)}")
    grid = page.add_gridspec(
        2, 10, height_ratios=(1.06, 1), wspace=10 * GAP_IN / WIDTH_IN, hspace=2 * GAP_IN / HEIGHT_IN
    )
    for place, words_of, draw in PANELS:
        words = words_of(report)
        axes = add_panel(page, grid[place], words)
        if not words.is_empty:
            draw(axes, report)
    return page


def describe_report(report: Report) -> str:
    """Return the findings in one line, also for people who cannot see the picture."""
    causes = [causes_text(report.causes)] if report.causes else []
    liked = [liking_words(report).title] if report.likings else []
    findings = [approval_words(report).title, days_words(report).title, *causes, *liked, gate_words(report).title]
    now = gettext("{version} answers now", version=f"**{version_label(report.champion)}**")
    left_out = describe_left_out(report.votes_given, report.votes_left_out)
    return f"{'. '.join([now, *findings])}. {left_out}".rstrip()
