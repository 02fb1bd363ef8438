"""The picture of `/taste`: people's likings with intervals, answers that show them, and open questions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bot.charts.frame import (
    BLUE,
    CARD,
    GAP_IN,
    GREEN,
    GREY,
    GRID,
    HEADER_IN,
    INK,
    MUTED,
    ORANGE,
    TEXT_PT,
    WIDTH_IN,
    Words,
    add_panel,
    hide_axes,
    open_page,
    points_below,
    spell_emoji,
    to_png,
    wrapped,
)
from bot.localization.sentences import day, gettext, listing, percent, sentence
from bot.text.sanitize import quote_plainly
from bot.text.taste import STYLE_ONLY, count_kinds, describe_finding, describe_gain, name_likings, use_and_reason
from storage.insights.report import Report
from storage.insights.taste_report import ShownEffect, TasteReport
from storage.taste.likings import LEAST_SURE, Sureness
from storage.wording import gettext_noop

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT_IN, UNCLEAR_HEIGHT_IN, EMPTY_HEIGHT_IN = 5.0, 3.9, 1.9
NOTE_IN = 0.9
"""Height of a card at the foot."""
FILLS = {Sureness.SURE: (GREEN, "full"), Sureness.FAIRLY: (BLUE, "bottom"), Sureness.GUESS: (GREY, "none")}
LABELS, VALUES, LEGEND = 0.37, 0.17, 0.17
"""Shares of the panel for what members like, at the left, for the shares of thumbs up, at the right, and for the axis
and the legend, at the bottom."""
LABEL_PT = 8.5
LEAST_ROWS, MOST_BARS = 4, 4
LEAST_POINTS = 2
"""Least percentage points that the axis shows on both sides of zero."""
QUOTE_LINES, QUOTE_INDENT = 4, 0.05
QUOTE_GAP_PT, NAME_GAP_PT, LINE_PT = 7.0, 4.0, 1.21 * TEXT_PT
NONE_YET = gettext_noop("None yet")
UNREADABLE = gettext_noop("(in letters that a picture can't show)")
SUREST = {
    Sureness.SURE: gettext_noop("Clearly liked: {liked}"),
    Sureness.FAIRLY: gettext_noop("Probably liked: {liked}"),
    Sureness.GUESS: gettext_noop("Perhaps liked: {liked}"),
}


def draw_taste(report: TasteReport, personality: str, now: datetime) -> bytes:
    """Return the picture as a PNG, at most 1,600 by 1,000 pixels; it takes about a second, so call it on a thread."""
    return to_png(build_taste_figure(report, personality, now))


def build_taste_figure(report: TasteReport, personality: str, now: datetime) -> Figure:
    header, date = gettext("What members like: {personality}", personality=personality), day(now)
    if report.is_empty:
        page = open_page(EMPTY_HEIGHT_IN, header, date)
        add_panel(page, page.add_gridspec(1, 1)[0], empty_words(report))
        return page
    note = f"{count_kinds(report.counts)} · {date}"
    if not report.effects:
        page = open_page(UNCLEAR_HEIGHT_IN, header, note)
        _arrange_unclear(page, report)
        return page
    page = open_page(HEIGHT_IN, header, note)
    _arrange(page, report)
    return page


def _arrange(page: Figure, report: TasteReport) -> None:
    heights = (HEIGHT_IN - HEADER_IN - 3 * GAP_IN - NOTE_IN, NOTE_IN)
    grid = page.add_gridspec(2, 10, height_ratios=heights, wspace=10 * GAP_IN / WIDTH_IN, hspace=2 * GAP_IN / HEIGHT_IN)
    draw_effects(add_panel(page, grid[0, :6], effect_words(report)), report)
    draw_examples(add_panel(page, grid[0, 6:], example_words(report)), report)
    hide_axes(add_panel(page, grid[1, :6], question_words(report)))
    hide_axes(add_panel(page, grid[1, 6:], use_words(report)))


def _arrange_unclear(page: Figure, report: TasteReport) -> None:
    grid = page.add_gridspec(3, 2, wspace=2 * GAP_IN / WIDTH_IN, hspace=3 * GAP_IN / UNCLEAR_HEIGHT_IN)
    for row, words in enumerate((effect_words(report), question_words(report), use_words(report))):
        hide_axes(add_panel(page, grid[row, 0], words))
    draw_examples(add_panel(page, grid[:, 1], example_words(report)), report)


def empty_words(report: TasteReport) -> Words:
    if not report.is_learning:
        return Words(gettext("Nothing is learned here"), describe_finding(report), is_empty=True)
    hint = gettext("Members vote with the thumbs under an answer. First guesses appear after about ten votes.")
    return Words(gettext("Nobody has voted yet"), hint, is_empty=True)


def effect_words(report: TasteReport) -> Words:
    if not report.effects:
        hint = gettext("The votes say nothing clear so far. Thumbs down say the most.")
        return Words(gettext("Too early to tell"), hint)
    thumbs = gettext("Percentage points more thumbs up than an average answer; 95% interval")
    choices = gettext("Percentage points more often chosen than an average answer; 95% interval")
    return Words(describe_surest(report.effects), thumbs if report.counts.votes else choices)


def describe_surest(effects: Sequence[ShownEffect]) -> str:
    """Name the surest likings, at most two that are equally sure."""
    first = effects[0].sureness
    liked = listing([gettext(effect.words) for effect in effects[:2] if effect.sureness is first])
    return gettext(SUREST[first], liked=liked)


def draw_effects(axes: Axes, report: TasteReport) -> None:
    """Draw a row for each effect: words, interval and point, and the shares before and after."""
    hide_axes(axes)
    rows = max(len(report.effects), LEAST_ROWS)
    plot = axes.inset_axes((LABELS, LEGEND, 1 - LABELS - VALUES, 1 - LEGEND))
    _prepare(plot, report.effects, rows)
    for row, effect in enumerate(report.effects):
        low, high, gain = (_points(effect, at) for at in (effect.share_low, effect.share_high, effect.share_after))
        plot.hlines(row, low, high, color=FILLS[effect.sureness][0], linewidth=2.5, alpha=0.6)
        plot.plot(gain, row, **_marker(effect.sureness))
        y = 1 - (1 - LEGEND) * (row + 0.5) / rows
        label = wrapped(axes, gettext(effect.words), LABEL_PT, 1 - LABELS)
        axes.text(0, y, label, color=INK, size=LABEL_PT, va="center", parse_math=False)
        axes.text(1, y, describe_gain(effect), color=MUTED, size=LABEL_PT, va="center", ha="right")
    _explain_sureness(axes)


def _prepare(plot: Axes, effects: Sequence[ShownEffect], rows: int) -> None:
    plot.set_facecolor(CARD)
    plot.spines[:].set_visible(False)
    plot.tick_params(length=0, labelsize=TEXT_PT, labelcolor=MUTED)
    plot.set_yticks([])
    plot.set_ylim(rows - 0.5, -0.5)
    ends = [_points(effect, share) for effect in effects for share in (effect.share_low, effect.share_high)]
    low, high = min(-LEAST_POINTS, *ends), max(LEAST_POINTS, *ends)
    margin = 0.06 * (high - low)
    plot.set_xlim(low - margin, high + margin)
    plot.locator_params(axis="x", nbins=5, integer=True)
    plot.xaxis.set_major_formatter(lambda points, _: f"{points:+.0f}" if points else "0")
    plot.grid(axis="x", color=GRID, linewidth=0.7)
    plot.axvline(0, color=MUTED, linewidth=1, zorder=1)


def _points(effect: ShownEffect, share: float) -> float:
    """Return a share as percentage points more than before."""
    return 100 * (share - effect.share_before)


def _marker(sureness: Sureness) -> dict[str, Any]:
    """Return a point that differs in colour and in fill."""
    color, fill = FILLS[sureness]
    return {
        "marker": "o",
        "markersize": 7,
        "linestyle": "",
        "fillstyle": "full" if fill == "none" else fill,
        "markerfacecolor": CARD if fill == "none" else color,
        "markerfacecoloralt": CARD,
        "markeredgecolor": color,
        "markeredgewidth": 1.5,
    }


def _explain_sureness(axes: Axes) -> None:
    from matplotlib.lines import Line2D

    legend = axes.legend(
        handles=[
            Line2D([], [], label=f"{gettext(sureness)} (≥ {percent(least)})", **_marker(sureness))
            for sureness, least in LEAST_SURE.items()
        ],
        loc="lower left",
        bbox_to_anchor=(0, 0),
        borderaxespad=0,
        borderpad=0,
        ncols=len(LEAST_SURE),
        frameon=False,
        fontsize=TEXT_PT,
        handlelength=1,
        handletextpad=0.4,
        columnspacing=1.4,
        labelcolor=MUTED,
    )
    legend.set_in_layout(False)  # its handles stand out a little, which would move the plot


def example_words(report: TasteReport) -> Words:
    title = gettext("Answers that show it") if report.effects else gettext("What they voted on so far")
    return Words(title, gettext("The bot's own answers"))


def draw_examples(axes: Axes, report: TasteReport) -> None:
    hide_axes(axes)
    y = 0.0
    at: dict[str, Any] = {"transform": points_below(axes), "in_layout": False}
    liked, disliked = gettext("Liked"), gettext("Disliked")
    for name, color, answers in ((liked, BLUE, report.liked), (disliked, ORANGE, report.disliked)):
        axes.text(0, y, name, color=color, size=TEXT_PT, weight="bold", va="top", **at)
        y -= LINE_PT + NAME_GAP_PT
        for answer in answers or [gettext(NONE_YET)]:
            quote = quoted(axes, answer)
            bottom = y - LINE_PT * len(quote.splitlines())
            axes.plot([1, 1], [y, bottom], color=color, linewidth=2, clip_on=False, **at)
            axes.text(8, y, quote, color=INK, size=TEXT_PT, va="top", parse_math=False, **at)
            y = bottom - QUOTE_GAP_PT


def quoted(axes: Axes, answer: str) -> str:
    """Return an answer of the bot in lines, without mentions; characters that the font lacks are named or left out."""
    plain = spell_emoji(quote_plainly(answer))
    shown = wrapped(axes, plain, TEXT_PT, QUOTE_INDENT, QUOTE_LINES)
    return shown if any(map(str.isalnum, shown)) else gettext(UNREADABLE)


def use_words(report: TasteReport) -> Words:
    """Return whether the taste is used, as the title, and the reason below it."""
    title, why = use_and_reason(report)
    return Words(title, sentence(why))


def question_words(report: TasteReport) -> Words:
    if not report.open_questions:
        return Words(gettext("What it can't know"), gettext(STYLE_ONLY))
    asked = listing([gettext(question) for question in report.open_questions], "or")
    return Words(
        gettext("Not known yet"), f"{gettext('Whether they like {asked}.', asked=asked)} {gettext(STYLE_ONLY)}"
    )


def liking_words(report: Report) -> Words:
    if not report.likings:
        hint = gettext("What members like will appear here.")
        return Words(gettext("Not known yet what members like"), hint, is_empty=True)
    return Words(describe_surest(report.likings[:1]), gettext("Percentage points more often liked"))


def draw_likings(axes: Axes, report: Report) -> None:
    """Draw the surest likings as bars with their words above."""
    hide_axes(axes)
    shown = report.likings[:MOST_BARS]
    gains = [_points(effect, effect.share_after) for effect in shown]
    axes.set_xlim(0, 1.25 * max(gains))
    axes.set_ylim(MOST_BARS, 0)
    for row, (effect, gain) in enumerate(zip(shown, gains, strict=True)):
        color = FILLS[effect.sureness][0]
        words = wrapped(axes, name_likings([effect]), TEXT_PT, most_lines=1)
        axes.text(0, row + 0.45, words, color=INK, size=TEXT_PT, va="bottom", parse_math=False)
        axes.barh(row + 0.65, gain, height=0.22, color=color)
        axes.text(gain, row + 0.65, f" {gain:+.0f}", color=MUTED, size=TEXT_PT, va="center_baseline")
