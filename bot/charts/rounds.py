"""The panels about training: pairs by round, the last training curve, and the last gate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from bot.charts.frame import (
    BLUE,
    CARD,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SMALL_PT,
    TEXT_PT,
    YELLOW,
    Words,
    hide_axes,
    thin_ticks,
    wrapped,
)
from bot.localization.sentences import decimal, gettext, ngettext, number
from storage.database.enums import SOURCE_WORDS, GateVerdict, PairSource
from storage.insights.report import Curve, GateResult, Report
from storage.training.rounds import GateCheck
from storage.wording import gettext_noop

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SOURCES = {
    PairSource.CORRECTION: GREEN,
    PairSource.CORRECTED_SAMPLE: YELLOW,
    PairSource.SIBLINGS: BLUE,
    PairSource.CHOICE: PURPLE,
    PairSource.TASTE: ORANGE,
}
SIGNS = {
    GateVerdict.FAIL: ("✗", ORANGE),
    GateVerdict.NOT_ENOUGH_EVIDENCE: ("?", YELLOW),
    GateVerdict.PASS: ("✓", BLUE),
}
GATE_LINES, GATE_GAP_LINES, NAMES_LINES = 14, 0.5, 3
"""Lines in the gate's panel, between two checks, and at its end for names of checks without reasons."""
GATE_INDENT = 0.07
"""Share of the panel's width that is left of the text, for the signs."""


def pairs_words(report: Report) -> Words:
    if not report.rounds:
        return Words(
            gettext("No rounds yet"), gettext("A round turns votes into pairs and trains on them."), is_empty=True
        )
    last = report.rounds[-1]
    most = max(last.by_source, key=lambda source: last.by_source[source])
    total = sum(last.by_source.values())
    title = ngettext("Round {round}: {count} pair", "Round {round}: {count} pairs", total, round=str(last.round_id))
    is_most = 2 * last.by_source[most] > total
    claim = gettext_noop("Most from {source}") if is_most else gettext_noop("Largest share from {source}")
    return Words(title, gettext(claim, source=gettext(SOURCE_WORDS[most])))


def draw_pairs(axes: Axes, report: Report) -> None:
    places = range(len(report.rounds))
    below = [0] * len(places)
    for source, color in SOURCES.items():
        counts = [round_.by_source.get(source, 0) for round_ in report.rounds]
        if any(counts):
            label = gettext(SOURCE_WORDS[source])
            axes.bar(places, counts, bottom=below, color=color, width=0.7, label=label, edgecolor=CARD)
        below = [sum(pair) for pair in zip(below, counts, strict=True)]
    axes.locator_params(axis="y", nbins=4, integer=True, min_n_ticks=2)
    axes.yaxis.set_major_formatter(lambda pairs, _: number(pairs))
    axes.set_xlim(-0.7, max(len(places), 4) - 0.3)
    thin_ticks(axes, [str(round_.round_id) for round_ in report.rounds], most=5)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        borderaxespad=2.4,
        borderpad=0,
        frameon=False,
        fontsize=SMALL_PT,
        handlelength=1,
        labelcolor=MUTED,
        labelspacing=0.3,
        reverse=True,
    )


def curve_words(report: Report) -> Words:
    if report.curve is None:
        return Words(gettext("No training yet"), gettext("The loss of the last round will appear here."), is_empty=True)
    return describe_curve(report.curve)


def describe_curve(curve: Curve) -> Words:
    smooth = smoothed(curve.losses)
    first, last = smooth[0], smooth[-1]
    round_id = str(curve.round_id)
    fell = gettext("Round {round}: the loss fell", round=round_id)
    rose = gettext("Round {round}: the loss rose", round=round_id)
    stayed = gettext("Round {round}: the loss stayed", round=round_id)
    change = ngettext(
        "From {first} to {last} in {count} step",
        "From {first} to {last} in {count} steps",
        curve.steps,
        first=decimal(first, 2),
        last=decimal(last, 2),
    )
    return Words(fell if last < first else rose if last > first else stayed, change)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return running means over a tenth of the steps, so that a single odd batch does not decide the title."""
    window = max(1, len(losses) // 10)
    sums = [0.0, *accumulate(losses)]
    return [(sums[i + window] - sums[i]) / window for i in range(len(losses) - window + 1)]


def draw_curve(axes: Axes, report: Report) -> None:
    assert report.curve is not None
    losses, smooth = report.curve.losses, smoothed(report.curve.losses)
    shift = (len(losses) - len(smooth)) / 2
    stretch = report.curve.steps / len(losses)
    places = [stretch * (i + 1) for i in range(len(losses))]
    axes.plot(places, losses, color=MUTED, linewidth=0.8, alpha=0.6, marker="o" if len(places) == 1 else "")
    axes.plot([stretch * (1 + shift + i) for i in range(len(smooth))], smooth, color=BLUE, linewidth=2)
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=4, integer=True)
    axes.margins(x=0, y=0.15)


def gate_words(report: Report) -> Words:
    if report.gate is None:
        hint = gettext("Every new version is checked before it can answer.")
        return Words(gettext("No version judged yet"), hint, is_empty=True)
    return describe_gate(report.gate)


def describe_gate(gate: GateResult) -> Words:
    outcomes = [check.outcome for check in gate.checks]
    found = {
        GateVerdict.PASS: gettext_noop("Round {round} passed the checks"),
        GateVerdict.FAIL: gettext_noop("Round {round} failed the checks"),
        GateVerdict.NOT_ENOUGH_EVIDENCE: gettext_noop("Round {round}: passed, now being compared"),
    }
    counts = [
        ngettext(
            "{passed} of {count} check passed",
            "{passed} of {count} checks passed",
            len(outcomes),
            passed=outcomes.count(GateVerdict.PASS),
        )
    ]
    failed = outcomes.count(GateVerdict.FAIL)
    counts += [gettext("{number} failed", number=failed)] if failed else []
    undecided = outcomes.count(GateVerdict.NOT_ENOUGH_EVIDENCE)
    counts += [gettext("{number} open", number=undecided)] if undecided else []
    return Words(gettext(found[gate.verdict], round=str(gate.round_id)), ", ".join(counts))


def draw_gate(axes: Axes, report: Report) -> None:
    """Give the reasons of as many checks as fit, the worst outcomes first, then only the names of the others."""
    assert report.gate is not None
    hide_axes(axes)
    axes.set_ylim(GATE_LINES, 0)
    order = list(SIGNS)
    checks = sorted(report.gate.checks, key=lambda check: order.index(check.outcome))
    line = 0.0
    for position, check in enumerate(checks):
        reason = wrapped(axes, gettext(check.sentence), SMALL_PT, GATE_INDENT)
        lines = 1 + len(reason.splitlines()) + GATE_GAP_LINES
        if line + lines > GATE_LINES - NAMES_LINES:
            _name_others(axes, line, checks[position:])
            return
        _write(axes, 0, line, *SIGNS[check.outcome])
        _write(axes, GATE_INDENT, line, wrapped(axes, gettext(check.name), TEXT_PT, GATE_INDENT, most_lines=1), INK)
        _write(axes, GATE_INDENT, line + 1, reason, MUTED, size=SMALL_PT)
        line += lines


def _name_others(axes: Axes, line: float, checks: Sequence[GateCheck]) -> None:
    if checks[0].outcome is GateVerdict.PASS:
        names = ", ".join(gettext(check.name) for check in checks)
        _write(axes, 0, line, *SIGNS[GateVerdict.PASS])
        _write(axes, GATE_INDENT, line, wrapped(axes, names, TEXT_PT, GATE_INDENT, NAMES_LINES), INK)
    else:
        _write(axes, GATE_INDENT, line, f"… {gettext('and {number} more', number=len(checks))}", MUTED)


def _write(axes: Axes, x: float, line: float, text: str, color: str, *, size: float = TEXT_PT) -> None:
    axes.text(x, line, text, color=color, size=size, va="top", parse_math=False)
