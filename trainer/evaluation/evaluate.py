"""Compares a new version with the base on our messages and on members' messages. Findings about the base are cached."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from storage.models.bundled import resolve_coherence_model
from storage.models.hardware import (
    cpu_threads,
    serving_format,
    silence_transformers,
    training_format,
)
from storage.models.openvino.verifier import Graphs
from storage.settings.sections import GateSettings, Settings
from trainer.evaluation.context import ServedContext
from trainer.evaluation.fitness import Fitness
from trainer.evaluation.measures import (
    ScoredPassage,
    highest,
    human_exchanges,
    losses_by_position,
    mean_divergence,
    surprise_ratio,
)
from trainer.evaluation.model_measurements import CoherenceScorer, Evaluator, Findings, neutral_messages
from trainer.evaluation.overshoot import Overshoot
from trainer.evaluation.sampling import AnswerSampler, GraphSampler, Sampler, find_graphs
from trainer.evaluation.suites import Suite, SuiteResult, compare_suites, load_suites
from trainer.progress import Phase, ReportProgress, RoundProgress, begin_phase

FINDINGS = TypeAdapter(Findings)
SHOWN = 3
"""Number of messages whose answers people see side by side, before and after."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """A version compared with the base; NaN for a number that could not be computed."""

    divergence: float
    """Mean KL(version || base) over the version's own answers, in nats per token."""
    retention_loss_ratio: float
    """Loss on the retention text over the base's."""
    coherence_ratio: float
    """Loss of the version's answers under the coherence model, over the highest of three at the same positions: that of
    the base's answers, of answers that people liked or wrote as examples, and of plain human ones."""
    coherence_model: str
    """The coherence model's name, as part of a sentence."""
    fitness: Fitness
    """Fit of the answers to their messages, under the coherence model."""
    disorder: float
    """Loss of the version's answers under the coherence model, over that of the same answers with shuffled words."""
    disorder_good: float
    """The highest disorder of good answers: the base's, those that people liked or wrote, and plain human ones."""
    degenerate_share: float
    degenerate_share_base: float
    alike_share: float
    """Share of answers that resemble another one."""
    alike_share_base: float
    answer_tokens: float
    """Mean number of tokens of a whole answer."""
    answer_tokens_base: float
    cut_share: float
    """Share of answers that reach generation.max_new_tokens without an end."""
    cut_share_base: float
    messages: int
    """Number of messages that both models answered."""
    real_messages: int
    """Number of those messages that members wrote."""
    repeated_share: float
    """Share of answers that repeat an example or a liked answer word for word after another message."""
    repeated_share_base: float
    overshoot: Overshoot | None
    """Comparison with the style of liked answers; None if there are none."""
    suites: tuple[SuiteResult, ...]
    everyday: tuple[tuple[str, str], ...]
    """The first of our own messages with the version's answers, for people to read."""


@dataclass(frozen=True)
class EvaluationModels:
    """The suites and the coherence model."""

    suites: Sequence[Suite]
    coherence_model: BaseModel | None
    """The model that judges coherence; None if the base model judges itself."""


def load_evaluation_models(settings: GateSettings, directory: Path) -> EvaluationModels:
    """Load the suites and the coherence model; raises SettingsError and BaseModelError."""
    return EvaluationModels(
        load_suites(settings), resolve_coherence_model(settings.coherence_model, directory, log.info)
    )


def evaluate(
    base: BaseModel,
    adapter: AdapterRef,
    models: EvaluationModels,
    context: ServedContext,
    *,
    settings: Settings,
    report: ReportProgress,
) -> Evaluation:
    """Let the adapter and the base answer the same messages as they are served, and compare.

    The messages are the neutral ones and the context's. The style of the answers is also compared with liked answers.
    Equal seeds give equal results. Findings about the base alone are cached in the data folder, without its answers to
    members.
    """
    training, directory = settings.training, settings.data.directory
    report(RoundProgress(Phase.LOADING))
    graphs = find_graphs(settings.model, directory, base)
    with cpu_threads(training.threads), silence_transformers():
        sampler = Sampler.load(
            base,
            adapter.path,
            training_format(training),
            training.quantization,
            settings.model,
            memory_failures=context.memory_failures,
        )
        coherence_model = CoherenceScorer(sampler, models.coherence_model, training_format(training))
        evaluator = Evaluator(
            sampler,
            coherence_model,
            models.suites,
            settings.generation,
            system_prompt=settings.chat.system_prompt,
            seed=training.seed,
            report=report,
        )

        def sampler_of(version: AdapterRef | None) -> AnswerSampler:
            if graphs is None:
                return sampler
            failures = context.memory_failures
            return GraphSampler(settings.model, training.threads, base, version, graphs, memory_failures=failures)

        version, as_version = sampler_of(adapter), contextlib.nullcontext
        found, begun = evaluator.measure(version, as_version, answering=Phase.ANSWERING, judging=Phase.COHERENCE)
        asked = context.messages if begun else ()
        answers = found.answers + evaluator.ask(
            version, as_version, asked, answering=Phase.ANSWERING_MEMBERS, judging=Phase.COHERENCE
        )
        del version  # its graph would stay in memory beside the base's
        passages = [ScoredPassage([*answer.prompt_ids], [*answer.answer_ids]) for answer in begun]
        divergence = mean_divergence(sampler.model, passages, begin_phase(report, Phase.DIVERGENCE, len(passages)))
        as_base = sampler.model.disable_adapter
        good = [evaluator.read(exchanges) for exchanges in (context.model_answers, human_exchanges())]
        original = load_or_compute(
            directory / "base" / "findings",
            _about_base(base, models, settings, graphs, sampler.model.device.type) | evaluator.questions,
            [len(suite.cases) for suite in models.suites],
            lambda: evaluator.measure(
                sampler_of(None), as_base, answering=Phase.BASE_ANSWERING, judging=Phase.BASE_COHERENCE
            )[0],
        )
        # A new sampler, so that the answers do not depend on whether the findings were cached.
        answers_base = original.answers + evaluator.ask(
            sampler_of(None), as_base, asked, answering=Phase.BASE_ANSWERING_MEMBERS, judging=Phase.BASE_COHERENCE
        )
    good.append(answers_base)
    neutral = [one.message for one in neutral_messages(settings.chat.system_prompt, sampler.chat)]
    messages = [*neutral, *(one.message for one in asked)]
    return Evaluation(
        divergence=divergence,
        retention_loss_ratio=found.retention_loss / original.retention_loss,
        coherence_ratio=surprise_ratio(answers.losses, highest([losses_by_position(each.losses) for each in good])),
        coherence_model=coherence_model.name,
        fitness=Fitness.measure(answers.fits, answers_base.fits),
        disorder=answers.disorder,
        disorder_good=max(each.disorder for each in good),
        degenerate_share=answers.degenerate_share,
        degenerate_share_base=answers_base.degenerate_share,
        alike_share=answers.alike_share,
        alike_share_base=answers_base.alike_share,
        answer_tokens=answers.mean_tokens,
        answer_tokens_base=answers_base.mean_tokens,
        cut_share=answers.cut_share,
        cut_share_base=answers_base.cut_share,
        messages=len(answers.whole),
        real_messages=len(asked),
        repeated_share=context.repeated_share(messages, answers.whole),
        repeated_share_base=context.repeated_share(messages, answers_base.whole),
        overshoot=context.overshoot(answers.whole, answers_base.whole),
        suites=tuple(
            result
            for suite, of_base, of_version, *english in zip(
                models.suites, original.passed, found.passed, original.english_shares, found.english_shares, strict=True
            )
            for result in compare_suites(suite, of_base, of_version, min(english))
        ),
        everyday=tuple(zip(neutral[:SHOWN], found.answers.whole, strict=False)),
    )


def _about_base(
    base: BaseModel, models: EvaluationModels, settings: Settings, graphs: Graphs | None, device: str
) -> dict[str, Any]:
    """Return everything, except the questions, that the base's findings depend on."""
    training = settings.training
    return {
        "base": base.revision,
        "sampler": f"{graphs.folder.name}-{graphs.verdict.recipe}-{serving_format(settings.model)}"
        if graphs
        else "transformers",
        "dtype": training.quantization + training_format(training),
        "device": device,
        "coherence_model": models.coherence_model.revision if models.coherence_model else "",
    }


def load_or_compute(
    folder: Path, cache_key: dict[str, Any], sizes: Sequence[int], find: Callable[[], Findings]
) -> Findings:
    """Return the findings of an earlier call with equal `cache_key`, or call `find` and store its result in `folder`.

    `cache_key` holds everything that the findings depend on, as JSON values; `sizes` has the number of cases of each
    suite. A damaged file is replaced.
    """
    file = folder / f"{hashlib.sha256(json.dumps(cache_key, sort_keys=True).encode()).hexdigest()[:32]}.json"
    known = _read(file, sizes)
    if known is not None:
        return known
    findings = find()
    if findings.is_finite:
        _write(file, findings)
    return findings


def _read(file: Path, sizes: Sequence[int]) -> Findings | None:
    with contextlib.suppress(OSError, ValidationError):
        findings = FINDINGS.validate_json(file.read_bytes())
        if findings.is_finite and [len(cases) for cases in findings.passed] == list(sizes):
            return findings
    return None


def _write(file: Path, findings: Findings) -> None:
    """Write the file completely or not at all. Failures are ignored: later rounds only take longer."""
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(asdict(findings)), encoding="utf-8")
        part.replace(file)
    except OSError as error:
        log.warning("The base model's results could not be cached in %s (%s).", file.parent, error.strerror)
