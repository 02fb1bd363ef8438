"""The report as a picture: one column that reads on a phone, on its own dark card, in colours for colour-blind eyes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING, Any

from storage.schema import Cause, GateVerdict, PairSource
from storage.statistics import Curve, GateCheck, GateResult, Report, RoundPairs, VersionApproval
from storage.versions import BASE_NAME
from storage.votes import Tally
from storage.wording import SOURCE_WORDS, count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN, DPI = 7.2, 150  # 1,080 pixels: as wide as a phone's screen
MARGIN_IN, LEFT_IN, RIGHT_IN, GAP_IN = 0.3, 0.75, 0.3, 0.3
HEADER_IN, TITLE_IN, LABELS_IN, LEGEND_IN = 0.75, 0.68, 0.3, 0.8
LINE_IN, ROW_GAP_IN = 0.186, 0.12
EMPTY_IN = 0.1
CAUSE_IN = 0.3
CHARS_PER_IN = 12.5
FONT = "DejaVu Sans"  # comes with matplotlib
TITLE_PT, TEXT_PT = 12.5, 10.0

# Okabe and Ito's palette on a dark card, which suits Discord's dark theme and stands out in its light one.
CARD, INK, MUTED, GRID = "#1f2228", "#f2f3f5", "#a9b0ba", "#3a3f48"
BLUE, ORANGE, GREEN, YELLOW, PURPLE, GREY = "#56b4e9", "#e69f00", "#2fbf94", "#f0e442", "#d68fb8", "#a9b0ba"
UP, DOWN, CHAMPION = BLUE, ORANGE, YELLOW
SOURCES = {
    PairSource.CORRECTION: GREEN,
    PairSource.CORRECTED_SAMPLE: YELLOW,
    PairSource.SIBLINGS: BLUE,
    PairSource.LONE_VOTE: ORANGE,
    PairSource.SINGLE: PURPLE,
}
SIGNS = {
    GateVerdict.FAIL: ("✗", ORANGE),
    GateVerdict.NOT_ENOUGH_EVIDENCE: ("?", YELLOW),
    GateVerdict.PASS: ("✓", BLUE),
}
MOST_VERSIONS = 40
MOST_NUMBERED = 6
MOST_CHECKS = 14
MOST_TICKS = 14
NAME_CHARS, SENTENCE_CHARS = 17, 62


@dataclass(frozen=True)
class Words:
    """A panel's title, which says what was found, and the line under it, which says what is shown."""

    title: str
    caption: str


def draw_report(report: Report) -> bytes:
    """Return the picture as a PNG of 1,080 pixels' width; it takes about a second, so call it on a thread."""
    figure = build_figure(report)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor=CARD)
    figure.clear()
    return file.getvalue()


def build_figure(report: Report) -> Figure:
    # Not pyplot: it keeps every figure in a register that threads share.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = _gate_rows(report.gate)
    has_rounds = bool(report.rounds or report.curve)
    sizes = [
        _Size(2.3, LABELS_IN) if report.has_votes else EMPTY,
        _Size(1.5, LABELS_IN) if report.has_recent_votes else EMPTY,
        _Size(CAUSE_IN * len(report.causes), LABELS_IN) if report.causes else NOTHING,
        _Size(1.7, LEGEND_IN) if has_rounds else EMPTY,
        _Size(sum(row.height_in for row in rows), 0.0) if rows else EMPTY,
    ]
    figure = Figure(figsize=(WIDTH_IN, HEADER_IN + sum(size.total_in for size in sizes)))
    FigureCanvasAgg(figure)
    page = _Page(figure)
    page.header(f"{_named(report.champion)} answers now", f"{report.days[-1].day:%-d %B %Y}")
    _draw_approvals(page.row(sizes[0]), report)
    _draw_days(page.row(sizes[1]), report)
    if report.causes:
        _draw_causes(page.row(sizes[2]), report.causes)
    left, right = page.halves(sizes[3])
    _draw_sources(left, report.rounds)
    _draw_curve(right, report.curve)
    _draw_gate(page.row(sizes[4], left_in=MARGIN_IN), report.gate, rows)
    return figure


def _named(version: str) -> str:
    return "The base" if version == BASE_NAME else version


@dataclass(frozen=True)
class _Size:
    """Heights of a panel: the plot, and the room for labels below it."""

    plot_in: float
    below_in: float

    @property
    def total_in(self) -> float:
        return TITLE_IN + self.plot_in + self.below_in + GAP_IN if self.plot_in else 0.0


EMPTY = _Size(EMPTY_IN, 0.0)
NOTHING = _Size(0.0, 0.0)


class _Page:
    """Hands out axes from top to bottom, each with room for its words above and its labels below."""

    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        self._height_in = figure.get_figheight()
        self._top_in = self._height_in - HEADER_IN

    def header(self, text: str, date: str) -> None:
        y = 1 - 0.42 / self._height_in
        self._write(MARGIN_IN, y, text, size=17, weight="bold", color=INK)
        self._write(WIDTH_IN - RIGHT_IN, y, date, size=TEXT_PT, color=MUTED, ha="right")

    def _write(self, x_in: float, y: float, text: str, **style: Any) -> None:
        self._figure.text(x_in / WIDTH_IN, y, text, va="center", fontfamily=FONT, parse_math=False, **style)

    def row(self, size: _Size, left_in: float = LEFT_IN) -> Axes:
        bottom_in = self._go_down(size)
        return self._axes(left_in, bottom_in, WIDTH_IN - left_in - RIGHT_IN, size.plot_in)

    def halves(self, size: _Size) -> tuple[Axes, Axes]:
        bottom_in = self._go_down(size)
        width_in = (WIDTH_IN - 2 * LEFT_IN - RIGHT_IN) / 2
        places_in = LEFT_IN, 2 * LEFT_IN + width_in
        left, right = (self._axes(place_in, bottom_in, width_in, size.plot_in) for place_in in places_in)
        return left, right

    def _go_down(self, size: _Size) -> float:
        """Return where the plot of a panel of this size ends, and let the next one begin below its labels."""
        bottom_in = self._top_in - TITLE_IN - size.plot_in
        self._top_in -= size.total_in
        return bottom_in

    def _axes(self, left_in: float, bottom_in: float, width_in: float, height_in: float) -> Axes:
        box = (left_in / WIDTH_IN, bottom_in / self._height_in, width_in / WIDTH_IN, height_in / self._height_in)
        axes = self._figure.add_axes(box, facecolor=CARD)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=TEXT_PT, labelcolor=MUTED, labelfontfamily=FONT)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        return axes


def _entitle(axes: Axes, words: Words) -> None:
    """Write the words above the panel, from the card's margin or the panel's own edge, whichever is nearer."""
    for text, above_pt, style in (
        (words.title, 28, {"size": TITLE_PT, "weight": "bold", "color": INK}),
        (words.caption, 12, {"size": TEXT_PT, "color": MUTED}),
    ):
        _annotate(axes, _drawable(text), (0, 1), (-_hanging_pt(axes), above_pt), ha="left", va="bottom", **style)


def _hanging_pt(axes: Axes) -> float:
    """Return how far titles begin left of the panel, so that they stand over its axis labels, in points."""
    left_in = float(axes.get_position().x0) * WIDTH_IN
    return 72 * min(LEFT_IN - MARGIN_IN, left_in - MARGIN_IN)


def _annotate(axes: Axes, text: str, at: tuple[float, float], offset_pt: tuple[float, float], **style: Any) -> None:
    axes.annotate(
        text,
        at,
        xycoords="axes fraction",
        xytext=offset_pt,
        textcoords="offset points",
        fontfamily=FONT,
        parse_math=False,
        annotation_clip=False,
        **style,
    )


def _leave_empty(axes: Axes, words: Words) -> None:
    """Show a title and a hint in place of a plot."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    _entitle(axes, Words(words.title, ""))
    chars = int(axes.get_position().width * WIDTH_IN * CHARS_PER_IN)
    hint = textwrap.fill(words.caption, chars)
    _annotate(axes, hint, (0, 1), (-_hanging_pt(axes), 23), color=MUTED, size=TEXT_PT, va="top")


def describe_report(report: Report) -> str:
    """Return what the picture says, in a line that also serves those who cannot see it."""
    panels = (approval_words, days_words)
    causes = [causes_words(report.causes).title] if report.causes else []
    titles = [panel(report).title for panel in panels] + causes + [gate_words(report.gate).title]
    return f"**{_named(report.champion)}** answers now. " + ". ".join(titles) + "."


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())


def _drawable(text: str) -> str:
    """Return the text without the characters that the font lacks, such as emoji."""
    return "".join(letter for letter in text if ord(letter) in _glyphs())


def approval_words(report: Report) -> Words:
    """Compare the champion with the base, and claim a difference only where their intervals lie apart."""
    champion, base = report.approval_of(report.champion), report.approvals[0]
    if not report.has_votes:
        return Words("No votes yet", "Members vote with the thumbs under an answer.")
    caption = "thumbs up in chat, 95% Wilson interval"
    if champion.share is None:
        return Words(f"No votes on {_named(champion.version)}, the champion, yet", caption)
    if champion is base or base.share is None:
        return Words(f"{_named(champion.version)}: {champion.share:.0%} of votes are up", caption)
    return Words(_comparison(champion, base), caption)


def _comparison(champion: VersionApproval, base: VersionApproval) -> str:
    (low, high), (base_low, base_high) = champion.interval, base.interval
    shares = f"{champion.share:.0%} to {base.share:.0%}"
    if low > base_high:
        return f"{champion.version} is liked more than the base: {shares}"
    if high < base_low:
        return f"{champion.version} is liked less than the base: {shares}"
    return f"No clear difference between {champion.version} and the base: {shares}"


def _draw_approvals(axes: Axes, report: Report) -> None:
    words = approval_words(report)
    if not report.has_votes:
        _leave_empty(axes, words)
        return
    shown = _shown_versions(report.approvals)
    signs = "diamond: champion; square: base"
    left_out = len(report.approvals) - len(shown)
    more = f"; {left_out} older left out" if left_out else ""
    _entitle(axes, Words(words.title, f"{words.caption} ({signs}{more})"))
    for x, approval in enumerate(shown):
        _draw_approval(axes, x, approval, with_numbers=len(shown) <= MOST_NUMBERED)
    base = report.approvals[0]
    if base.share is not None:
        axes.axhline(base.share, color=GREY, linewidth=1, linestyle=(0, (4, 4)), zorder=1)
    axes.set_xlim(-0.7, max(len(shown), 5) - 0.3)
    _show_shares(axes)
    _thin_ticks(axes, [approval.version for approval in shown])


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


def _thin_ticks(axes: Axes, labels: Sequence[str], most: int = MOST_TICKS) -> None:
    """Label every place, or so few of them, evenly, that labels cannot touch; the last one always."""
    step = ceil(len(labels) / most)
    places = list(range(len(labels) - 1, -1, -step))[::-1]
    axes.set_xticks(places, [labels[place] for place in places])


def days_words(report: Report) -> Words:
    votes = _sum(day.votes for day in report.days)
    total = votes.up + votes.down
    if not total:
        return Words(f"No votes in the last {len(report.days)} days", "Members vote with the thumbs under an answer.")
    return Words(
        f"{count(total, 'vote')} in {len(report.days)} days, {votes.up / total:.0%} of them up",
        "votes in chat per day (UTC), up above, down below",
    )


def causes_words(causes: Mapping[Cause, int]) -> Words:
    told = ", ".join(f"{number} {cause.value}" for cause, number in causes.items())
    return Words(f"What is wrong: {told}", "thumbs down whose cause was given; wrong facts are kept out of training")


def _draw_causes(axes: Axes, causes: Mapping[Cause, int]) -> None:
    from matplotlib.ticker import MaxNLocator

    _entitle(axes, causes_words(causes))
    places = range(len(causes))
    colors = [GREY if cause is Cause.WRONG_FACT else DOWN for cause in causes]
    axes.barh(places, list(causes.values()), color=colors, height=0.6)
    axes.set_yticks(places, [cause.value for cause in causes])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _draw_days(axes: Axes, report: Report) -> None:
    words = days_words(report)
    if not report.has_recent_votes:
        _leave_empty(axes, words)
        return
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    _entitle(axes, words)
    places = range(len(report.days))
    axes.bar(places, [day.votes.up for day in report.days], color=UP, width=0.8)
    axes.bar(places, [-day.votes.down for day in report.days], color=DOWN, width=0.8)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda votes, _: f"{abs(votes):,.0f}"))
    axes.margins(x=0.01, y=0.1)
    _thin_ticks(axes, [f"{day.day:%-d %b}" for day in report.days], most=6)


def _sum(tallies: Any) -> Tally:
    up, down = 0, 0
    for votes in tallies:
        up, down = up + votes.up, down + votes.down
    return Tally(up, down)


def sources_words(rounds: Sequence[RoundPairs]) -> Words:
    if not rounds:
        return Words("No rounds yet", "A round turns votes into pairs and trains on them.")
    last = rounds[-1]
    total = sum(last.by_source.values())
    most = max(last.by_source, key=lambda source: last.by_source[source])
    return Words(f"Round {last.round_id}: {count(total, 'pair')}", f"pairs by source, most from {SOURCE_WORDS[most]}")


def _draw_sources(axes: Axes, rounds: Sequence[RoundPairs]) -> None:
    words = sources_words(rounds)
    if not rounds:
        _leave_empty(axes, words)
        return
    from matplotlib.ticker import MaxNLocator

    _entitle(axes, words)
    places = range(len(rounds))
    for source, color in SOURCES.items():
        counts = [round_.by_source.get(source, 0) for round_ in rounds]
        below = [sum(round_.by_source.get(s, 0) for s in _before(source)) for round_ in rounds]
        if any(counts):
            axes.bar(places, counts, bottom=below, color=color, width=0.7, label=SOURCE_WORDS[source], edgecolor=CARD)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=2))
    axes.set_xlim(-0.7, max(len(rounds), 4) - 0.3)
    _thin_ticks(axes, [str(round_.round_id) for round_ in rounds], most=6)
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


def _draw_curve(axes: Axes, curve: Curve | None) -> None:
    words = curve_words(curve)
    if curve is None:
        _leave_empty(axes, words)
        return
    from matplotlib.ticker import MaxNLocator

    _entitle(axes, words)
    smooth = smoothed(curve.losses)
    shift = (len(curve.losses) - len(smooth)) / 2
    stretch = curve.steps / len(curve.losses)
    places = [stretch * (i + 1) for i in range(len(curve.losses))]
    axes.plot(places, curve.losses, color=MUTED, linewidth=1, alpha=0.6, marker="o" if len(places) == 1 else "")
    axes.plot([stretch * (1 + shift + i) for i in range(len(smooth))], smooth, color=BLUE, linewidth=2.4)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.margins(x=0.02, y=0.15)


@dataclass(frozen=True)
class _Row:
    sign: str
    color: str
    name: str
    sentence: str

    @property
    def lines(self) -> int:
        return 1 + max(self.name.count("\n"), self.sentence.count("\n"))

    @property
    def height_in(self) -> float:
        return LINE_IN * self.lines + ROW_GAP_IN


def gate_words(gate: GateResult | None) -> Words:
    if gate is None:
        return Words("The gate has not judged a version yet", "Every new version is judged before it may answer.")
    outcomes = [check.outcome for check in gate.checks]
    found = {
        GateVerdict.PASS: f"Round {gate.round_id} passed the gate",
        GateVerdict.FAIL: f"Round {gate.round_id} did not pass the gate",
        GateVerdict.NOT_ENOUGH_EVIDENCE: f"Round {gate.round_id}: not enough evidence to pass the gate",
    }
    counts = f"{outcomes.count(GateVerdict.PASS)} of {len(outcomes)} checks passed"
    failed = outcomes.count(GateVerdict.FAIL)
    return Words(found[gate.verdict], counts + (f", {failed} failed" if failed else ""))


def _gate_rows(gate: GateResult | None) -> list[_Row]:
    """Return the table's rows, those that hold a version back first."""
    if gate is None:
        return []
    order = list(SIGNS)
    checks = sorted(gate.checks, key=lambda check: order.index(check.outcome))
    rows = [_row(check) for check in checks[:MOST_CHECKS]]
    more = len(checks) - len(rows)
    return [*rows, _Row("", MUTED, "", f"… and {more} more")] if more else rows


def _row(check: GateCheck) -> _Row:
    sign, color = SIGNS[check.outcome]
    name = textwrap.fill(_drawable(check.name), NAME_CHARS)
    return _Row(sign, color, name, textwrap.fill(_drawable(check.sentence), SENTENCE_CHARS))


def _draw_gate(axes: Axes, gate: GateResult | None, rows: Sequence[_Row]) -> None:
    words = gate_words(gate)
    if gate is None:
        _leave_empty(axes, words)
        return
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    _entitle(axes, words)
    y_pt = -4.0
    for row in rows:
        for x_in, text, style in (
            (0.0, row.sign, {"color": row.color, "weight": "bold", "size": TEXT_PT + 2}),
            (0.3, row.name, {"color": INK, "size": TEXT_PT}),
            (1.85, row.sentence, {"color": MUTED, "size": TEXT_PT}),
        ):
            _annotate(axes, text, (0, 1), (72 * x_in, y_pt), va="top", linespacing=1.15, **style)
        y_pt -= 72 * row.height_in
