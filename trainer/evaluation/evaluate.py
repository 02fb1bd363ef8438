"""Compares a new version with the base on our messages and on members' messages. Findings about the base are cached."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from storage.models.bundled import resolve_coherence_model
from storage.models.hardware import cpu_threads, serving_format, silence_transformers
from storage.models.openvino.verifier import Graphs
from storage.settings.sections import GateSettings
from storage.taste.likings import find_changes
from trainer.evaluation.context import ServedContext
from trainer.evaluation.measures import (
    ScoredPassage,
    highest,
    human_exchanges,
    losses_by_position,
    mean_divergence,
    surprise_ratio,
)
from trainer.evaluation.model_measurements import AnswerLosses, Answers, CoherenceScorer, Evaluator, Findings
from trainer.evaluation.results import Evaluation, Fitness
from trainer.evaluation.sampling import AnswerSampler, GraphSampler, Serving
from trainer.evaluation.suites import Suite, compare_suites, is_worse, load_suites
from trainer.progress import Phase, ReportProgress, RoundProgress, begin_phase

FINDINGS = TypeAdapter(Findings)
SHOWN = 3
"""Number of messages whose answers people see side by side, before and after."""

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Measured:
    """One model, the version or the base."""

    findings: Findings
    answers: Answers
    """Its answers to our own messages, then to those of members."""
    divergence: float = 0.0
    """Mean KL(model || base) over its own answers, in nats per token."""


def evaluate(
    serving: Serving, adapter: AdapterRef, models: EvaluationModels, context: ServedContext, report: ReportProgress
) -> Evaluation:
    """Let the adapter and the base answer the same messages as they are served, and compare.

    The messages are the neutral ones and the context's. The style of the answers is also compared with liked answers.
    Equal seeds give equal results. Findings about the base alone are cached in the data folder, without its answers to
    members.
    """
    report(RoundProgress(Phase.JUDGING))
    graphs = serving.find_graphs()
    with cpu_threads(serving.training.threads), silence_transformers():
        # 1) Load the version, and the model that judges coherence.
        sampler = serving.load(adapter)
        coherence_model = CoherenceScorer(sampler, models.coherence_model, serving.numbers.computed)
        evaluator = Evaluator(sampler, coherence_model, models.suites, serving, report)

        def sampler_of(version: AdapterRef | None) -> AnswerSampler:
            return sampler if graphs is None else GraphSampler(serving, version, graphs)

        # 2) The version answers our messages and suites, then members' messages.
        answering, as_version = sampler_of(adapter), contextlib.nullcontext
        found, begun = evaluator.measure(answering, as_version, answering=Phase.ANSWERING, judging=Phase.COHERENCE)
        asked = context.messages if begun else ()
        to_members = evaluator.ask(
            answering, as_version, asked, answering=Phase.ANSWERING_MEMBERS, judging=Phase.COHERENCE
        )
        del answering  # its graph would stay in memory beside the base's

        # 3) Measure how far it moved from the base.
        passages = [ScoredPassage([*answer.prompt_ids], [*answer.answer_ids]) for answer in begun]
        divergence = mean_divergence(sampler.model, passages, begin_phase(report, Phase.DIVERGENCE, len(passages)))
        version = Measured(found, found.answers + to_members, divergence)

        # 4) Read good answers: liked ones or the card's, and plain human ones.
        good = [evaluator.read(exchanges) for exchanges in (context.model_answers, human_exchanges())]

        # 5) The base answers the same; its findings are cached.
        as_base = sampler.model.disable_adapter
        original = load_or_compute(
            serving.directory / "base" / "findings",
            _about_base(serving, models, graphs, sampler.model.device.type) | evaluator.questions,
            [len(suite.cases) for suite in models.suites],
            lambda: evaluator.measure(
                sampler_of(None), as_base, answering=Phase.BASE_ANSWERING, judging=Phase.BASE_COHERENCE
            )[0],
        )
        # A new sampler, so that the answers do not depend on whether the findings were cached.
        to_members = evaluator.ask(
            sampler_of(None), as_base, asked, answering=Phase.BASE_ANSWERING_MEMBERS, judging=Phase.BASE_COHERENCE
        )
        base = Measured(original, original.answers + to_members)

        # 6) In suites that the version does worse in, the base answers again as it answers members: with its examples.
        rows = zip(evaluator.suites, original.passed, found.passed, strict=True)
        worse = [suite for suite, of_base, of_version in rows if is_worse(suite, of_base, of_version)]
        with as_base():
            served = evaluator.grade_as_served(sampler_of(None), worse, context.examples)

    # 7) Compare.
    return _compare(evaluator, context, version, base, good, served=served)


def _compare(
    evaluator: Evaluator,
    context: ServedContext,
    version: Measured,
    base: Measured,
    good: Sequence[AnswerLosses],
    *,
    served: Mapping[str, tuple[bool, ...]],
) -> Evaluation:
    """Return the comparison.

    `good` are readings of good answers other than the base's; `served` has the cases that the base passes as it answers
    members, by suite.
    """
    ours, theirs, good = version.answers, base.answers, [*good, base.answers]
    neutral = [one.message for one in evaluator.messages]
    messages = [*neutral, *(one.message for one in context.messages)]
    own_answers = version.findings.answers.whole
    return Evaluation(
        divergence=version.divergence,
        retention_loss_ratio=version.findings.retention_loss / base.findings.retention_loss,
        coherence_ratio=surprise_ratio(ours.losses, highest([losses_by_position(each.losses) for each in good])),
        coherence_model=evaluator.coherence_model.name,
        fitness=Fitness.measure(ours.fits, theirs.fits),
        disorder=ours.disorder,
        disorder_good=max(each.disorder for each in good),
        degenerate_share=ours.degenerate_share,
        degenerate_share_base=theirs.degenerate_share,
        alike_share=ours.alike_share,
        alike_share_base=theirs.alike_share,
        answer_tokens=ours.mean_tokens,
        answer_tokens_base=theirs.mean_tokens,
        cut_share=ours.cut_share,
        cut_share_base=theirs.cut_share,
        messages=len(ours.whole),
        real_messages=len(ours.whole) - len(own_answers),
        repeated_share=context.repeated_share(messages, ours.whole),
        repeated_share_base=context.repeated_share(messages, theirs.whole),
        overshoot=context.overshoot(ours.whole, theirs.whole),
        changes=find_changes(ours.whole, theirs.whole),
        suites=tuple(
            result
            for suite, of_base, of_version, *english in zip(
                evaluator.suites,
                base.findings.passed,
                version.findings.passed,
                base.findings.english_shares,
                version.findings.english_shares,
                strict=True,
            )
            for result in compare_suites(suite, of_base, of_version, served.get(suite.name), min(english))
        ),
        everyday=tuple(zip(neutral[:SHOWN], own_answers, strict=False)),
    )


def _about_base(serving: Serving, models: EvaluationModels, graphs: Graphs | None, device: str) -> dict[str, Any]:
    """Return everything, except the questions, that the base's findings depend on."""
    return {
        "base": serving.base.model.revision,
        "sampler": f"{graphs.folder.name}-{graphs.verdict.recipe}-{serving_format(serving.base.served)}"
        if graphs
        else "transformers",
        "dtype": serving.numbers.quantization + serving.numbers.computed,
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
