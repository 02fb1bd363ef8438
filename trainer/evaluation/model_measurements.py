"""Measures one model, a version or the base: its answers to messages and suites, their coherence, and retention."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from math import isfinite, nan
from statistics import fmean
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from storage.models.base_model import BaseModel, load_model, load_tokenizer
from storage.models.chat_format import ChatFormat
from storage.taste.examples import NO_EXAMPLES, Examples
from storage.training.samples import AskedPrompt
from trainer.base import ShownExamples, ask_whole, with_system_prompt
from trainer.evaluation.measures import (
    OTHERS,
    Exchange,
    Fit,
    alike_share,
    answer_log_probabilities,
    answer_losses,
    degenerate_share,
    measure_fits,
    retention_loss,
    retention_text,
    shuffle_words,
)
from trainer.evaluation.sampling import AnswerSampler, Sample, Sampler, Serving, first_tokens
from trainer.evaluation.suites import IN_ENGLISH, Case, Suite, english_share
from trainer.progress import Advance, Phase, ReportProgress, after_others, begin_phase, keep_quiet

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
"""Maximum number of tokens of an answer that are judged."""
MAX_CASE_TOKENS = 32
FIT_ANSWERS = 3
"""Number of answers to each neutral message of which the fit is measured: a single one is too noisy.

With one, the mean fit of the bundled base's 24 answers was 0.87, 0.76, 0.84 and 0.76 with four seeds.
"""
FINDINGS_FORMAT = 14
"""Version of the findings. Increase it with every change of this package that changes a model's findings."""

Context = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class ServedMessage:
    """A message: rendered as the model is asked it, and alone as the coherence model reads it."""

    prompt: str
    message: str


def neutral_messages(system_prompt: str, chat: ChatFormat) -> list[ServedMessage]:
    """Return the neutral messages as they are served: after the system prompt."""
    asked = [with_system_prompt(system_prompt, [{"role": "user", "content": message}]) for message in NEUTRAL_MESSAGES]
    return [ServedMessage(chat.render(messages), messages[-1]["content"]) for messages in asked]


@pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AnswerLosses:
    """Losses of the beginnings of answers under the coherence model, in nats."""

    losses: tuple[tuple[float, ...], ...]
    """The loss of each token of each answer; empty answers are skipped."""
    in_order: tuple[float, ...]
    """The mean loss per token of each beginning with enough words to shuffle."""
    shuffled: tuple[float, ...]
    """The mean loss per token of the same beginnings with shuffled words."""

    @property
    def disorder(self) -> float:
        """Return the loss of the answers over that of their shuffled words; 0 if all answers are too short."""
        return sum(self.in_order) / sum(self.shuffled) if self.shuffled else 0.0


@pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Answers(AnswerLosses):
    """One model's answers to some messages."""

    whole: tuple[str, ...]
    begun: tuple[str, ...]
    """The first MAX_ANSWER_TOKENS tokens of each answer."""
    tokens: tuple[int, ...]
    """The number of tokens of each whole answer."""
    cut: tuple[bool, ...]
    """For each answer, whether it reached generation.max_new_tokens without an end."""
    fits: tuple[Fit, ...]
    """How well each answer fits its message under the coherence model, then further answers to the same messages."""

    def __add__(self, other: Answers) -> Answers:
        return Answers(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def degenerate_share(self) -> float:
        return degenerate_share(self.begun) if self.begun else nan

    @property
    def alike_share(self) -> float:
        return alike_share(self.begun) if self.begun else nan

    @property
    def mean_tokens(self) -> float:
        return fmean(self.tokens) if self.tokens else nan

    @property
    def cut_share(self) -> float:
        return fmean(self.cut) if self.cut else nan


NO_ANSWERS = Answers((), (), (), (), (), (), (), ())


@pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Findings:
    """Measurements of one model, without anybody's words, for comparing a version with the base."""

    retention_loss: float
    """Mean loss on the retention text, in nats per token."""
    answers: Answers
    """The answers to the neutral messages."""
    passed: tuple[tuple[bool, ...], ...]
    """For each suite, whether it passed each case."""
    english_shares: tuple[float, ...]
    """For each suite, the share of English answers if they must be English, else 1."""

    @property
    def is_finite(self) -> bool:
        losses = [loss for of_answer in self.answers.losses for loss in of_answer]
        return bool(losses) and all(map(isfinite, (self.retention_loss, *losses)))


class CoherenceScorer:
    """The coherence model: a separate one, or the base of the answering model."""

    def __init__(self, sampler: Sampler, model: BaseModel | None, dtype: str) -> None:
        self.name = model.name if model else "the base model"
        self._context: Context = contextlib.nullcontext if model else sampler.model.disable_adapter
        self._tokenizer = load_tokenizer(model.path) if model else sampler.tokenizer
        self._model = load_model(model, dtype).to(sampler.model.device) if model else sampler.model

    def losses(self, exchanges: Sequence[Exchange], advance: Advance) -> list[list[float]]:
        with self._context():
            return answer_losses(self._model, self._tokenizer, exchanges, advance)

    def fits(self, exchanges: Sequence[Exchange], advance: Advance) -> list[Fit]:
        with self._context():
            return measure_fits(
                exchanges, lambda asked: answer_log_probabilities(self._model, self._tokenizer, asked, advance)
            )


class Evaluator:
    """Measures one model, so that a version can be compared with the base."""

    def __init__(
        self,
        sampler: Sampler,
        coherence_model: CoherenceScorer,
        suites: Sequence[Suite],
        serving: Serving,
        report: ReportProgress,
    ) -> None:
        self._sampler = sampler
        self.coherence_model = coherence_model
        self.suites = suites
        self._base = serving.base
        self._generation = serving.generation
        self._system_prompt = serving.system_prompt
        self._seed = serving.training.seed
        self._report = report
        self.messages = neutral_messages(serving.system_prompt, sampler.chat)

    @property
    def questions(self) -> dict[str, Any]:
        """Everything besides the models that decides the answers."""
        return {
            "format": FINDINGS_FORMAT,
            "generation": self._generation.model_dump(
                include={"temperature", "top_p", "presence_penalty", "max_new_tokens", "max_thought_tokens"}
            ),
            "system_prompt": self._system_prompt,
            "template_options": self._sampler.chat.options,
            "seed": self._seed,
            "messages": NEUTRAL_MESSAGES,
            "lengths": (MAX_ANSWER_TOKENS, MAX_CASE_TOKENS),
            "fit_answers": FIT_ANSWERS,
            "retention_text": retention_text(),
            "suites": [asdict(suite) for suite in self.suites],
        }

    def measure(
        self, sampler: AnswerSampler, active: Context, *, answering: Phase, judging: Phase
    ) -> tuple[Findings, list[Sample]]:
        """Return the findings, and the judged beginnings of the answers to the neutral messages.

        Within the context `active`, the model in memory is the one to measure. If its loss is not a number, it is asked
        nothing.
        """
        cases = sum(len(suite.cases) for suite in self.suites)
        # Without chance, all answers to a message are the same.
        asked = self.messages * (FIT_ANSWERS if self._generation.temperature > 0 else 1)
        with active():
            kept = retention_loss(self._sampler.model, self._sampler.tokenizer)
            if not isfinite(kept):
                return self._nothing(), []
            advance = begin_phase(self._report, answering, len(asked) + cases)
            samples = self._sample(sampler, asked, advance)
            answered = self._answer_suites(sampler, self.suites, lambda done: advance(len(samples) + done))
        answers, begun = self._judge(asked, samples, judging, only_fit=len(asked) - len(self.messages))
        passed = tuple(suite.grade(of_suite) for suite, of_suite in zip(self.suites, answered, strict=True))
        shares = (
            english_share(of_suite) if suite.is_shipped else 1.0
            for suite, of_suite in zip(self.suites, answered, strict=True)
        )
        return Findings(kept, answers, passed, tuple(shares)), begun

    def grade_as_served(
        self, sampler: AnswerSampler, suites: Sequence[Suite], examples: Examples
    ) -> dict[str, tuple[bool, ...]]:
        """Return, by suite, which cases the base passes as it answers members: with its examples."""
        if not suites:
            return {}
        advance = begin_phase(self._report, Phase.BASE_ANSWERING, sum(len(suite.cases) for suite in suites))
        answered = self._answer_suites(sampler, suites, advance, examples)
        return {suite.name: suite.grade(of_suite) for suite, of_suite in zip(suites, answered, strict=True)}

    def read(self, exchanges: Sequence[Exchange], advance: Advance = keep_quiet) -> AnswerLosses:
        """Let the coherence model read the beginnings of the answers, in order and shuffled; empty ones are skipped."""
        said = [(message, begun) for message, text in exchanges if (begun := self._beginning(text))]
        order = random.Random(self._seed)
        mixed = [(message, shuffle_words(text, order)) for message, text in said]
        read = len(said) + sum(bool(text) for _, text in mixed)
        found = self.coherence_model.losses([*said, *mixed], lambda done: advance(done * len(exchanges) / read))
        losses = [tuple(tokens[:MAX_ANSWER_TOKENS]) for tokens in found]
        return AnswerLosses(
            tuple(losses[: len(said)]),
            tuple(fmean(tokens) for tokens, (_, text) in zip(losses, mixed, strict=False) if text),
            tuple(map(fmean, losses[len(said) :])),
        )

    def _beginning(self, answer: str) -> str:
        """Return the first MAX_ANSWER_TOKENS tokens of the answer: long liked answers would take too much memory."""
        chat = self._sampler.chat
        ids = chat.token_ids(answer)
        return (chat.decode(ids[:MAX_ANSWER_TOKENS]) if len(ids) > MAX_ANSWER_TOKENS else answer).strip()

    def ask(
        self,
        sampler: AnswerSampler,
        active: Context,
        messages: Sequence[ServedMessage],
        *,
        answering: Phase,
        judging: Phase,
    ) -> Answers:
        """Return the answers to other messages than the neutral ones."""
        if not messages:
            return NO_ANSWERS
        with active():
            samples = self._sample(sampler, messages, begin_phase(self._report, answering, len(messages)))
        return self._judge(messages, samples, judging)[0]

    def _nothing(self) -> Findings:
        passed = tuple((False,) * len(suite.cases) for suite in self.suites)
        return Findings(nan, NO_ANSWERS, passed, (1.0,) * len(passed))

    def _sample(self, sampler: AnswerSampler, messages: Sequence[ServedMessage], advance: Advance) -> list[Sample]:
        prompts = [served.prompt for served in messages]
        return sampler.answer(prompts, self._generation, self._seed, advance)

    def _judge(
        self, messages: Sequence[ServedMessage], samples: Sequence[Sample], judging: Phase, *, only_fit: int = 0
    ) -> tuple[Answers, list[Sample]]:
        """Judge the answers; the last `only_fit` of them only for their fit."""
        begun = [first_tokens(sample, MAX_ANSWER_TOKENS, self._sampler.chat) for sample in samples]
        exchanges = [(served.message, sample.text) for served, sample in zip(messages, begun, strict=True)]
        judged = len(samples) - only_fit
        samples, begun = samples[:judged], begun[:judged]
        advance = begin_phase(self._report, judging, judged + (1 + OTHERS) * len(exchanges))
        reading = self.read(exchanges[:judged], advance)
        fits = self.coherence_model.fits(exchanges, after_others(advance, judged))
        answers = Answers(
            whole=tuple(sample.text for sample in samples),
            begun=tuple(sample.text for sample in begun),
            tokens=tuple(len(sample.answer_ids) for sample in samples),
            cut=tuple(sample.is_cut for sample in samples),
            losses=reading.losses,
            in_order=reading.in_order,
            shuffled=reading.shuffled,
            fits=tuple(fits),
        )
        return answers, begun

    def _answer_suites(
        self, sampler: AnswerSampler, suites: Sequence[Suite], advance: Advance, examples: Examples = NO_EXAMPLES
    ) -> list[list[str]]:
        """Answer the suites greedily, so that no case depends on chance."""
        shown = ShownExamples(examples, self._base, self._generation)
        asked = [self._ask(suite, case) for suite in suites for case in suite.cases]
        prompts = [(shown.before(one) or one).prompt for one in asked]
        longest = min(MAX_CASE_TOKENS, self._generation.max_new_tokens)
        greedy = self._generation.model_copy(update={"temperature": 0.0, "max_new_tokens": longest})
        found = iter(sampler.answer(prompts, greedy, self._seed, advance))
        return [[next(found).text for _ in suite.cases] for suite in suites]

    def _ask(self, suite: Suite, case: Case) -> AskedPrompt:
        """Return the prompt as it is served, with the personality's system prompt; a shipped case asks for English."""
        system_prompt = f"{self._system_prompt}\n{IN_ENGLISH}".strip() if suite.is_shipped else self._system_prompt
        return ask_whole(with_system_prompt(system_prompt, case.messages), self._sampler.chat.render)
