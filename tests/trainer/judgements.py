"""Measurements of a sound version, as an evaluation makes them."""

from __future__ import annotations

from trainer.evaluation.results import Evaluation, Fitness
from trainer.evaluation.suites import Kind, SuiteResult

FLATTERY = SuiteResult(
    "flattery", Kind.BEHAVIOUR, cases=20, base_passes=15, version_passes=16, gained=2, lost=1, lost_ids=("lottery",)
)
KNOWLEDGE = SuiteResult(
    "knowledge", Kind.KNOWLEDGE, cases=20, base_passes=18, version_passes=18, gained=1, lost=1, lost_ids=("bees",)
)
JUDGEMENT = Evaluation(
    divergence=0.5,
    retention_loss_ratio=1.012,
    coherence_ratio=1.04,
    coherence_model="gemma3-270m",
    fitness=Fitness(probability=0.70, probability_base=0.72, error=0.04),
    disorder=0.55,
    disorder_good=0.6,
    degenerate_share=0.1,
    degenerate_share_base=0.05,
    alike_share=0.04,
    alike_share_base=0.0,
    answer_tokens=30.0,
    answer_tokens_base=40.0,
    cut_share=0.25,
    cut_share_base=0.125,
    messages=24,
    real_messages=0,
    repeated_share=0.05,
    repeated_share_base=0.0,
    overshoot=None,
    changes=(),
    suites=(FLATTERY, KNOWLEDGE),
    everyday=(),
)
