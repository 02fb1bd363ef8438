"""The gate's checks as a table, those that hold a version back first."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.charts.frame import BLUE, INK, MUTED, ORANGE, TEXT_PT, YELLOW, Words, annotate, drawable, entitle, leave_empty
from storage.database.enums import GateVerdict
from storage.insights.report import GateCheck, GateResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_IN, ROW_GAP_IN = 0.186, 0.12
SIGNS = {
    GateVerdict.FAIL: ("✗", ORANGE),
    GateVerdict.NOT_ENOUGH_EVIDENCE: ("?", YELLOW),
    GateVerdict.PASS: ("✓", BLUE),
}
MOST_CHECKS = 14
NAME_CHARS, SENTENCE_CHARS = 17, 62


@dataclass(frozen=True)
class GateRow:
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


def gate_rows(gate: GateResult | None) -> list[GateRow]:
    """Return the table's rows, those that hold a version back first."""
    if gate is None:
        return []
    order = list(SIGNS)
    checks = sorted(gate.checks, key=lambda check: order.index(check.outcome))
    rows = [_row(check) for check in checks[:MOST_CHECKS]]
    more = len(checks) - len(rows)
    return [*rows, GateRow("", MUTED, "", f"… and {more} more")] if more else rows


def _row(check: GateCheck) -> GateRow:
    sign, color = SIGNS[check.outcome]
    name = textwrap.fill(drawable(check.name), NAME_CHARS)
    return GateRow(sign, color, name, textwrap.fill(drawable(check.sentence), SENTENCE_CHARS))


def draw_gate(axes: Axes, gate: GateResult | None, rows: Sequence[GateRow]) -> None:
    words = gate_words(gate)
    if gate is None:
        leave_empty(axes, words)
        return
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    entitle(axes, words)
    y_pt = -4.0
    for row in rows:
        for x_in, text, style in (
            (0.0, row.sign, {"color": row.color, "weight": "bold", "size": TEXT_PT + 2}),
            (0.3, row.name, {"color": INK, "size": TEXT_PT}),
            (1.85, row.sentence, {"color": MUTED, "size": TEXT_PT}),
        ):
            annotate(axes, text, (0, 1), (72 * x_in, y_pt), va="top", linespacing=1.15, **style)
        y_pt -= 72 * row.height_in
