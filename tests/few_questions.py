"""A gate that asks few of its questions: all of them keep one core busy for a minute with the bundled model."""

from __future__ import annotations

import pytest

from storage.settings.sections import Settings
from trainer.evaluation import evaluate, measures, model_measurements, suites
from trainer.rounds.worker import _run_in_process

EVERY = 5


def ask_few_questions(monkeypatch: pytest.MonkeyPatch, every: int = EVERY) -> None:
    passage = measures.retention_text().partition("\n---\n")[0]
    cases = {name: "\n".join(suites._shipped_text(name).split("\n")[::every]) for name in suites.SHIPPED}
    monkeypatch.setattr(measures, "retention_text", lambda: passage)
    monkeypatch.setattr(suites, "_shipped_text", cases.__getitem__)
    monkeypatch.setattr(model_measurements, "NEUTRAL_MESSAGES", model_measurements.NEUTRAL_MESSAGES[::every])
    human = measures.human_exchanges()[::every]
    monkeypatch.setattr(evaluate, "human_exchanges", lambda: human)


def run_short_round(settings: Settings, round_id: int, log_level: int) -> None:
    # Three everyday messages stay: they show people the change.
    ask_few_questions(pytest.MonkeyPatch(), every=2 * EVERY)
    _run_in_process(settings, round_id, log_level)
