"""Which versions members like, with intervals: what the panel claims, and how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bot.charts.frame import BLUE, CARD, FONT, GREY, INK, TEXT_PT, YELLOW, Words, entitle, leave_empty, thin_ticks
from storage.insights.report import Report, VersionApproval
from storage.releases.versions import BASE_NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHAMPION = YELLOW
MOST_VERSIONS = 40
MOST_NUMBERED = 6


def version_label(version: str) -> str:
    return "The base" if version == BASE_NAME else version


def approval_words(report: Report) -> Words:
    """Compare the champion with the base, and claim a difference only where their intervals lie apart."""
    champion, base = report.approval_of(report.champion), report.approvals[0]
    if not report.has_votes:
        return Words("No votes yet", "Members vote with the thumbs under an answer.")
    caption = "thumbs up in chat, 95% Wilson interval"
    if champion.share is None:
        return Words(f"No votes on {version_label(champion.version)}, the champion, yet", caption)
    if champion is base or base.share is None:
        return Words(f"{version_label(champion.version)}: {champion.share:.0%} of votes are up", caption)
    return Words(_comparison(champion, base), caption)


def _comparison(champion: VersionApproval, base: VersionApproval) -> str:
    (low, high), (base_low, base_high) = champion.interval, base.interval
    shares = f"{champion.share:.0%} to {base.share:.0%}"
    if low > base_high:
        return f"{champion.version} is liked more than the base: {shares}"
    if high < base_low:
        return f"{champion.version} is liked less than the base: {shares}"
    return f"No clear difference between {champion.version} and the base: {shares}"


def draw_approvals(axes: Axes, report: Report) -> None:
    words = approval_words(report)
    if not report.has_votes:
        leave_empty(axes, words)
        return
    shown = _shown_versions(report.approvals)
    signs = "diamond: champion; square: base"
    left_out = len(report.approvals) - len(shown)
    more = f"; {left_out} older left out" if left_out else ""
    entitle(axes, Words(words.title, f"{words.caption} ({signs}{more})"))
    for x, approval in enumerate(shown):
        _draw_approval(axes, x, approval, with_numbers=len(shown) <= MOST_NUMBERED)
    base = report.approvals[0]
    if base.share is not None:
        axes.axhline(base.share, color=GREY, linewidth=1, linestyle=(0, (4, 4)), zorder=1)
    axes.set_xlim(-0.7, max(len(shown), 5) - 0.3)
    _show_shares(axes)
    thin_ticks(axes, [approval.version for approval in shown])


def _shown_versions(approvals: Sequence[VersionApproval]) -> list[VersionApproval]:
    """Return the base, the champion and the newest versions."""
    first_shown = len(approvals) - MOST_VERSIONS
    return [a for i, a in enumerate(approvals) if i == 0 or a.is_champion or i >= first_shown]


def _draw_approval(axes: Axes, x: int, approval: VersionApproval, *, with_numbers: bool) -> None:
    if approval.share is None:
        return
    is_base = approval.version == BASE_NAME
    color = CHAMPION if approval.is_champion else GREY if is_base else BLUE
    marker = "D" if approval.is_champion else "s" if is_base else "o"
    axes.vlines(x, *approval.interval, color=color, linewidth=2.2, alpha=0.75)
    axes.plot(x, approval.share, marker=marker, color=color, markersize=7, markeredgecolor=CARD)
    if with_numbers:
        axes.annotate(
            f"{approval.share:.0%}\nof {approval.total:,}",
            (x, approval.share),
            xytext=(9, 0),
            textcoords="offset points",
            va=_within(approval.share),
            color=INK,
            size=TEXT_PT,
            fontfamily=FONT,
            bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1},
        )


def _within(share: float) -> str:
    """Return the alignment that keeps two lines at that height inside the panel."""
    return "bottom" if share < 0.12 else "top" if share > 0.88 else "center"


def _show_shares(axes: Axes) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
