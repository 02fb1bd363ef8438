"""What the simulated server reports of its rounds: who answers, who was made, and whose numbers stand there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from storage.database.enums import GateVerdict
from storage.releases.versions import Version
from tests.benchmarks.community import Standing, _row, _summary
from trainer.evaluation.measures import Fit


def version(number: int, **metrics: float) -> Version:
    made = datetime.now(UTC)
    return Version(number, 1, number, "d" * 64, "tiny", "0" * 16, None, number, metrics, GateVerdict.PASS, False, made)


FITS, STRANGE = Fit(-10.0, (-14.0,) * 5), Fit(-14.0, (-14.0,) * 5)


def standing(*approvals: float, fits: tuple[Fit, ...] = (FITS, FITS, FITS, STRANGE)) -> Standing:
    answers = (("Hi", "Hello!"), ("Tea?", "Yes, please."), ("Hm", "So it is."), ("Bye", "🎉🎉🎉🎉🎉🎉🎉🎉🎉"))
    return Standing(approvals, losses=[[3.0, 1.0]], fits=[*fits], answers=answers)


BASE = standing(0.1, 0.3)
FIRST = version(1, retention_loss_ratio=1.01, divergence=0.5)


def row(champion: Version | None, found: Standing = BASE, **of_round: Any) -> dict[str, Any]:
    return _row(champion, found, BASE) | of_round


def test_a_row_describes_the_version_that_answers() -> None:
    told = _row(FIRST, standing(0.5, 0.7), BASE)
    assert (told["version"], told["retention_loss_ratio"], told["divergence"]) == ("v1", 1.01, 0.5)
    assert (told["approval"], told["gain"]) == (pytest.approx(0.6), pytest.approx(0.4))
    told = _row(None, BASE, BASE)
    assert (told["version"], told["retention_loss_ratio"], told["divergence"]) == ("base", 1.0, 0.0)
    assert told["gain"] == 0


def test_a_row_shows_answers_and_which_of_them_are_broken() -> None:
    told = row(FIRST)
    assert told["examples"][1] == {"message": "Tea?", "answer": "Yes, please."}
    assert (told["degenerate_share"], told["broken_answers"]) == (0.25, ["🎉🎉🎉🎉🎉🎉🎉🎉🎉"])


def test_the_summary_is_that_of_the_version_that_answers_at_the_end() -> None:
    """The second round made a version that forgot much, and that nobody promoted."""
    rows = [row(None), row(FIRST, standing(0.5, 0.7), pairs=30), row(FIRST, standing(0.5, 0.6), pairs=20)]
    summary = _summary(rows, 60.0)
    assert summary["retention_loss_ratio"] == 1.01
    assert (summary["approval_base"], summary["approval_final"]) == (pytest.approx(0.2), pytest.approx(0.55))
    assert (summary["pairs"], summary["seconds"]) == (50, 60.0)
    assert _summary([row(None), row(None, pairs=0)], 60.0)["retention_loss_ratio"] == 1.0


def test_fit_is_the_share_of_answers_whose_own_message_is_the_likeliest():
    before, after = row(None), row(FIRST, standing(0.5, 0.7, fits=(FITS, STRANGE, STRANGE, FITS)))
    assert (before["fit_share"], before["fit_nats"]) == (0.75, 3.0)
    assert (after["fit_share"], after["fit_nats"]) == (0.5, 2.0)
    assert _summary([before, after], 60.0)["fit_ratio"] == pytest.approx(2 / 3)
