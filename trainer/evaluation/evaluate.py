"""What a new adapter did to answers that no vote is about: to their sense, their length, and what is known."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from math import isfinite, nan
from typing import Any

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel, load_model, load_tokenizer
from storage.models.coherence_model import resolve_coherence_model
from storage.models.hardware import serving_format, training_format
from storage.models.libraries import silence_transformers
from storage.settings.sections import GenerationSettings, Settings
from trainer.evaluation.baseline_cache import Findings, remembered
from trainer.evaluation.coherence import answer_losses, losses_by_position, surprise_ratio
from trainer.evaluation.degenerate import degenerate_share
from trainer.evaluation.divergence import mean_divergence
from trainer.evaluation.likelihood import ScoredPassage
from trainer.evaluation.openvino_sampling import GraphSampler, find_graphs
from trainer.evaluation.retention import retention_loss, retention_text
from trainer.evaluation.sampling import Sample, Sampler, Speaker, render
from trainer.evaluation.suites import Suite, SuiteResult, compare_suites, load_suites
from trainer.progress import Report, ReportProgress
from trainer.training.common import cpu_threads

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
FINDINGS_FORMAT = 4
"""Rises with every change of this package that changes what is found about a model."""

Context = Callable[[], AbstractContextManager[Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """A version beside the base; NaN where a number could not be had."""

    divergence: float
    """Mean KL(version || base) over the version's own answers, in nats per token."""
    retention_loss_ratio: float
    """Loss on the retention text over the base's."""
    coherence_ratio: float
    """Loss of the version's answers under the coherence model over that of the base's tokens at the same positions."""
    coherence_model: str
    """Who found that, to be read in a sentence."""
    degenerate_share: float
    degenerate_share_base: float
    answer_tokens: float
    """Mean length of an answer, cut at MAX_ANSWER_TOKENS."""
    answer_tokens_base: float
    suites: tuple[SuiteResult, ...]


def evaluate(base: BaseModel, adapter: AdapterRef, *, settings: Settings, report: Report) -> Evaluation:
    """Let the adapter and the base answer the same messages as they are served, and compare.

    Equal seeds give equal judgements. What is found about the base alone is kept in the data directory. Raises as
    `load_suites` and `resolve_coherence_model` do.
    """
    training, directory = settings.training, settings.data.directory
    suites = load_suites(settings.gate)
    coherence_model = resolve_coherence_model(settings.gate.coherence_model, directory, log.info)
    report(ReportProgress("judging"))
    graphs = find_graphs(settings, base)
    with cpu_threads(training.threads), silence_transformers():
        sampler = Sampler.load(base, adapter.path, training_format(training), training.quantization)
        critic = _CoherenceScorer(sampler, coherence_model, training_format(training))
        examiner = _Evaluator(sampler, critic, suites, settings.generation, training.seed)

        def speaker(version: AdapterRef | None) -> Speaker:
            return GraphSampler(settings, base, version, graphs) if graphs else sampler

        version, answers, losses = examiner.examine(speaker(adapter), contextlib.nullcontext)
        divergence = mean_divergence(sampler.model, [ScoredPassage([*a.prompt_ids], [*a.answer_ids]) for a in answers])
        found_with = {
            "base": base.revision,
            "speaker": f"{graphs.name}-{serving_format(settings.model)}" if graphs else "transformers",
            "dtype": training.quantization or training_format(training),
            "device": sampler.model.device.type,
            "coherence_model": coherence_model.revision if coherence_model else "",
            **examiner.questions,
        }
        original = remembered(
            directory / "base" / "findings",
            found_with,
            [len(suite.cases) for suite in suites],
            lambda: examiner.examine(speaker(None), sampler.model.disable_adapter)[0],
        )
    ratio = surprise_ratio(losses, original.coherence_losses)
    return _compare(version, original, suites, divergence, coherence_ratio=ratio, coherence_model=critic.name)


def _compare(
    version: Findings,
    base: Findings,
    suites: Sequence[Suite],
    divergence: float,
    *,
    coherence_ratio: float,
    coherence_model: str,
) -> Evaluation:
    return Evaluation(
        divergence=divergence,
        retention_loss_ratio=version.retention_loss / base.retention_loss,
        coherence_ratio=coherence_ratio,
        coherence_model=coherence_model,
        degenerate_share=version.degenerate_share,
        degenerate_share_base=base.degenerate_share,
        answer_tokens=version.answer_tokens,
        answer_tokens_base=base.answer_tokens,
        suites=tuple(
            result
            for suite, of_base, of_version in zip(suites, base.passed, version.passed, strict=True)
            for result in compare_suites(suite, of_base, of_version)
        ),
    )


class _CoherenceScorer:
    """The coherence model: one of its own, or the base of the model that answers."""

    def __init__(self, sampler: Sampler, model: BaseModel | None, dtype: str) -> None:
        self.name = model.name if model else "the base model"
        self._context: Context = contextlib.nullcontext if model else sampler.model.disable_adapter
        self._tokenizer = load_tokenizer(model) if model else sampler.tokenizer
        self._model = load_model(model, dtype).to(sampler.model.device) if model else sampler.model

    def losses(self, exchanges: Sequence[tuple[str, str]]) -> list[list[float]]:
        with self._context():
            return answer_losses(self._model, self._tokenizer, exchanges)


class _Evaluator:
    """Asks one model everything that a version and the base are compared by."""

    def __init__(
        self,
        sampler: Sampler,
        critic: _CoherenceScorer,
        suites: Sequence[Suite],
        generation: GenerationSettings,
        seed: int,
    ) -> None:
        self._sampler = sampler
        self._critic = critic
        self._suites = suites
        self._generation = generation
        self._seed = seed

    @property
    def questions(self) -> dict[str, Any]:
        """Everything that the answers depend on beside the models."""
        return {
            "format": FINDINGS_FORMAT,
            "generation": self._generation.model_dump(
                include={"temperature", "top_p", "presence_penalty", "max_new_tokens"}
            ),
            "seed": self._seed,
            "messages": NEUTRAL_MESSAGES,
            "lengths": (MAX_ANSWER_TOKENS, MAX_CASE_TOKENS),
            "retention_text": retention_text(),
            "suites": [asdict(suite) for suite in self._suites],
        }

    def examine(self, speaker: Speaker, speaking: Context) -> tuple[Findings, list[Sample], list[list[float]]]:
        """Return what was found, the answers to the neutral messages, and what each token cost the coherence model.

        In the context of `speaking` the model in memory is the one that speaks. A model without numbers is asked
        nothing.
        """
        with speaking():
            kept = retention_loss(self._sampler.model, self._sampler.tokenizer)
            if not isfinite(kept):
                return self._nothing(), [], []
            answers = self._answer_neutral_messages(speaker)
            passed = tuple(self._grade_suites(speaker))
        texts = [answer.text for answer in answers]
        losses = self._critic.losses(list(zip(NEUTRAL_MESSAGES, texts, strict=True)))
        findings = Findings(
            retention_loss=kept,
            coherence_losses=losses_by_position(losses),
            degenerate_share=degenerate_share(texts),
            answer_tokens=sum(len(answer.answer_ids) for answer in answers) / len(answers),
            passed=passed,
        )
        return findings, answers, losses

    def _nothing(self) -> Findings:
        passed = tuple((False,) * len(suite.cases) for suite in self._suites)
        return Findings(nan, (), nan, nan, passed)

    def _answer_neutral_messages(self, speaker: Speaker) -> list[Sample]:
        prompts = [self._render([{"role": "user", "content": message}]) for message in NEUTRAL_MESSAGES]
        return speaker.answer(prompts, _at_most(MAX_ANSWER_TOKENS, self._generation), self._seed)

    def _grade_suites(self, speaker: Speaker) -> Iterator[tuple[bool, ...]]:
        """Answer all suites greedily, so that chance decides no case."""
        prompts = [self._render(case.messages) for suite in self._suites for case in suite.cases]
        greedy = self._generation.model_copy(update={"temperature": 0.0})
        found = iter(speaker.answer(prompts, _at_most(MAX_CASE_TOKENS, greedy), self._seed))
        for suite in self._suites:
            yield suite.grade([next(found).text for _ in suite.cases])

    def _render(self, messages: Sequence[dict[str, str]]) -> str:
        return render(messages, self._sampler.tokenizer)


def _at_most(tokens: int, generation: GenerationSettings) -> GenerationSettings:
    return generation.model_copy(update={"max_new_tokens": min(tokens, generation.max_new_tokens)})
