"""Measures one model, a version or the base: its answers to fixed messages and suites, their coherence, retention."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from math import isfinite, nan
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from storage.models.base_model import BaseModel, load_model, load_tokenizer
from storage.settings.sections import GenerationSettings
from trainer.evaluation.measures import (
    alike_share,
    answer_losses,
    degenerate_share,
    losses_by_position,
    retention_loss,
    retention_text,
)
from trainer.evaluation.sampling import AnswerSampler, Sample, Sampler, render, with_system_prompt
from trainer.evaluation.suites import Suite
from trainer.progress import Advance, Phase, ReportProgress, begin_phase

NEUTRAL_MESSAGES = (
    "Hi, how is it going?",
    "What should I have for dinner tonight?",
    "Can you explain why the sky is blue?",
    "I just got back from a long walk.",
    "Recommend me a book to read on the train.",
    "How do I get better at drawing?",
    "My internet keeps dropping, any idea why?",
    "Tell me something interesting about the sea.",
    "Good morning, everyone!",
    "What is a good way to remember names?",
    "I have an exam tomorrow and I am nervous.",
    "Which is better for a small flat, a cat or a dog?",
    "How long should I cook pasta?",
    "I cannot sleep when it is hot.",
    "What does a lighthouse do?",
    "My neighbour plays loud music at night.",
    "Can you suggest a name for my new plant?",
    "What happened to the dinosaurs?",
    "I am bored, what can I do this afternoon?",
    "How do birds find their way in winter?",
    "We won our match today!",
    "Is it better to run in the morning or in the evening?",
    "What should I pack for a weekend in the mountains?",
    "Tell me a short story about a fox.",
)
MAX_ANSWER_TOKENS = 48
MAX_CASE_TOKENS = 32
FINDINGS_FORMAT = 5
"""Increase it with every change of this package that changes a model's findings."""

Context = Callable[[], AbstractContextManager[Any]]


@pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Findings:
    """Measurements of one model's answers; a version's are compared with the base's."""

    retention_loss: float
    """Nats per token."""
    coherence_losses: tuple[float, ...]
    """Mean loss of its answers' tokens under the coherence model, by position (`losses_by_position`), in nats."""
    degenerate_share: float
    alike_share: float
    answer_tokens: float
    passed: tuple[tuple[bool, ...], ...]
    """For each suite, whether it passed each case."""

    @property
    def is_finite(self) -> bool:
        return bool(self.coherence_losses) and all(map(isfinite, (self.retention_loss, *self.coherence_losses)))


class CoherenceScorer:
    """The coherence model: a separate one, or the base of the model that answers."""

    def __init__(self, sampler: Sampler, model: BaseModel | None, dtype: str) -> None:
        self.name = model.name if model else "the base model"
        self._context: Context = contextlib.nullcontext if model else sampler.model.disable_adapter
        self._tokenizer = load_tokenizer(model) if model else sampler.tokenizer
        self._model = load_model(model, dtype).to(sampler.model.device) if model else sampler.model

    def losses(self, exchanges: Sequence[tuple[str, str]], advance: Advance) -> list[list[float]]:
        with self._context():
            return answer_losses(self._model, self._tokenizer, exchanges, advance)


class Evaluator:
    """Measures one model, so that a version can be compared with the base."""

    def __init__(
        self,
        sampler: Sampler,
        coherence_model: CoherenceScorer,
        suites: Sequence[Suite],
        generation: GenerationSettings,
        *,
        system_prompt: str,
        seed: int,
        report: ReportProgress,
    ) -> None:
        self._sampler = sampler
        self._coherence_model = coherence_model
        self._suites = suites
        self._generation = generation
        self._system_prompt = system_prompt
        self._seed = seed
        self._report = report

    @property
    def questions(self) -> dict[str, Any]:
        """Everything besides the models that decides the answers."""
        return {
            "format": FINDINGS_FORMAT,
            "generation": self._generation.model_dump(
                include={"temperature", "top_p", "presence_penalty", "max_new_tokens"}
            ),
            "system_prompt": self._system_prompt,
            "seed": self._seed,
            "messages": NEUTRAL_MESSAGES,
            "lengths": (MAX_ANSWER_TOKENS, MAX_CASE_TOKENS),
            "retention_text": retention_text(),
            "suites": [asdict(suite) for suite in self._suites],
        }

    def measure(
        self, sampler: AnswerSampler, active: Context, *, answering: Phase, judging: Phase
    ) -> tuple[Findings, list[Sample], list[list[float]]]:
        """Return the findings, the answers to the neutral messages, and the coherence loss of each of their tokens.

        In the context `active`, the model in memory is the one that is measured. If its loss is not a number, it is
        asked nothing.
        """
        cases = sum(len(suite.cases) for suite in self._suites)
        with active():
            kept = retention_loss(self._sampler.model, self._sampler.tokenizer)
            if not isfinite(kept):
                return self._nothing(), [], []
            advance = begin_phase(self._report, answering, len(NEUTRAL_MESSAGES) + cases)
            answers = self._answer_neutral_messages(sampler, advance)
            passed = tuple(self._grade_suites(sampler, lambda done: advance(len(answers) + done)))
        texts = [answer.text for answer in answers]
        exchanges = list(zip(NEUTRAL_MESSAGES, texts, strict=True))
        losses = self._coherence_model.losses(exchanges, begin_phase(self._report, judging, len(exchanges)))
        findings = Findings(
            retention_loss=kept,
            coherence_losses=losses_by_position(losses),
            degenerate_share=degenerate_share(texts),
            alike_share=alike_share(texts),
            answer_tokens=sum(len(answer.answer_ids) for answer in answers) / len(answers),
            passed=passed,
        )
        return findings, answers, losses

    def _nothing(self) -> Findings:
        passed = tuple((False,) * len(suite.cases) for suite in self._suites)
        return Findings(nan, (), nan, nan, nan, passed)

    def _answer_neutral_messages(self, sampler: AnswerSampler, advance: Advance) -> list[Sample]:
        prompts = [self._render([{"role": "user", "content": message}]) for message in NEUTRAL_MESSAGES]
        return sampler.answer(prompts, _at_most(MAX_ANSWER_TOKENS, self._generation), self._seed, advance)

    def _grade_suites(self, sampler: AnswerSampler, advance: Advance) -> Iterator[tuple[bool, ...]]:
        """Answer all suites greedily, so that chance decides no case."""
        prompts = [self._render(case.messages) for suite in self._suites for case in suite.cases]
        greedy = self._generation.model_copy(update={"temperature": 0.0})
        found = iter(sampler.answer(prompts, _at_most(MAX_CASE_TOKENS, greedy), self._seed, advance))
        for suite in self._suites:
            yield suite.grade([next(found).text for _ in suite.cases])

    def _render(self, messages: Sequence[dict[str, str]]) -> str:
        """Return the prompt as it is served: with the personality's system prompt."""
        return render(with_system_prompt(self._system_prompt, messages), self._sampler.tokenizer)


def _at_most(tokens: int, generation: GenerationSettings) -> GenerationSettings:
    return generation.model_copy(update={"max_new_tokens": min(tokens, generation.max_new_tokens)})
