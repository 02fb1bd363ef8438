"""What rounds learned from, pairs by source, and how the loss of the last one went."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from bot.charts.frame import (
    BLUE,
    CARD,
    FONT,
    GREEN,
    MUTED,
    ORANGE,
    TEXT_PT,
    YELLOW,
    Words,
    entitle,
    leave_empty,
    thin_ticks,
)
from storage.database.enums import SOURCE_WORDS, PairSource
from storage.insights.report import Curve, RoundPairs
from storage.wording import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SOURCES = {
    PairSource.CORRECTION: GREEN,
    PairSource.CORRECTED_SAMPLE: YELLOW,
    PairSource.SIBLINGS: BLUE,
    PairSource.LONE_VOTE: ORANGE,
}


def sources_words(rounds: Sequence[RoundPairs]) -> Words:
    if not rounds:
        return Words("No rounds yet", "A round turns votes into pairs and trains on them.")
    last = rounds[-1]
    total = sum(last.by_source.values())
    most = max(last.by_source, key=lambda source: last.by_source[source])
    return Words(f"Round {last.round_id}: {count(total, 'pair')}", f"pairs by source, most from {SOURCE_WORDS[most]}")


def draw_sources(axes: Axes, rounds: Sequence[RoundPairs]) -> None:
    words = sources_words(rounds)
    if not rounds:
        leave_empty(axes, words)
        return
    from matplotlib.ticker import MaxNLocator

    entitle(axes, words)
    places = range(len(rounds))
    for source, color in SOURCES.items():
        counts = [round_.by_source.get(source, 0) for round_ in rounds]
        below = [sum(round_.by_source.get(s, 0) for s in _before(source)) for round_ in rounds]
        if any(counts):
            axes.bar(places, counts, bottom=below, color=color, width=0.7, label=SOURCE_WORDS[source], edgecolor=CARD)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=2))
    axes.set_xlim(-0.7, max(len(rounds), 4) - 0.3)
    thin_ticks(axes, [str(round_.round_id) for round_ in rounds], most=6)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.45, -0.12),
        ncols=2,
        frameon=False,
        labelcolor=MUTED,
        prop={"family": FONT, "size": TEXT_PT - 1},
        handlelength=0.9,
        handleheight=0.9,
        columnspacing=1.0,
    )


def _before(source: PairSource) -> list[PairSource]:
    order = list(SOURCES)
    return order[: order.index(source)]


def curve_words(curve: Curve | None) -> Words:
    if curve is None:
        return Words("No training yet", "The loss of the last round is drawn here, step by step.")
    smooth = smoothed(curve.losses)
    first, last = smooth[0], smooth[-1]
    moved = "fell" if last < first else "rose" if last > first else "stayed"
    return Words(
        f"Round {curve.round_id}: the loss {moved}", f"from {first:.2f} to {last:.2f} in {count(curve.steps, 'step')}"
    )


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return running means over a tenth of the steps, so that one odd batch does not tell the story."""
    window = max(1, len(losses) // 10)
    sums = [0.0, *accumulate(losses)]
    return [(sums[i + window] - sums[i]) / window for i in range(len(losses) - window + 1)]


def draw_curve(axes: Axes, curve: Curve | None) -> None:
    words = curve_words(curve)
    if curve is None:
        leave_empty(axes, words)
        return
    from matplotlib.ticker import MaxNLocator

    entitle(axes, words)
    smooth = smoothed(curve.losses)
    shift = (len(curve.losses) - len(smooth)) / 2
    stretch = curve.steps / len(curve.losses)
    places = [stretch * (i + 1) for i in range(len(curve.losses))]
    axes.plot(places, curve.losses, color=MUTED, linewidth=1, alpha=0.6, marker="o" if len(places) == 1 else "")
    axes.plot([stretch * (1 + shift + i) for i in range(len(smooth))], smooth, color=BLUE, linewidth=2.4)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.margins(x=0.02, y=0.15)
