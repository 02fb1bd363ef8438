"""What the coherence model reads of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storage.models.base_model import BaseModel
from storage.models.memory import NumberFormat
from storage.settings.sections import ModelSettings, Settings
from tests.trainer.contexts import quiet, serving_of
from trainer.evaluation.measures import Exchange
from trainer.evaluation.model_measurements import MAX_ANSWER_TOKENS, CoherenceScorer, Evaluator
from trainer.evaluation.sampling import Sampler
from trainer.progress import Advance


class Recorder(CoherenceScorer):
    """Finds every token equally surprising, and keeps what it read."""

    def __init__(self, tokenizer: Any) -> None:
        self.read: list[str] = []
        self._tokenizer = tokenizer

    def losses(self, exchanges: Sequence[Exchange], advance: Advance) -> list[list[float]]:
        self.read = [answer for _, answer in exchanges]
        return [[1.0] * len(self._tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in self.read]


def test_only_the_beginning_of_a_long_answer_is_read_in_order_and_shuffled(tiny_base: BaseModel) -> None:
    serving = serving_of(Settings(model=ModelSettings(engine="transformers")), tiny_base)
    sampler = Sampler.load(serving.base, None, NumberFormat("float32"))
    recorder = Recorder(sampler.tokenizer)
    evaluator = Evaluator(sampler, recorder, [], serving, quiet)
    long = " ".join(f"word{number}" for number in range(200))
    evaluator.read([("Hi", " "), ("Hi", "Oats and milk, as ever."), ("Hi", long)])
    short, begun, _, mixed = recorder.read
    assert short == "Oats and milk, as ever."
    assert long.startswith(begun)
    assert len(sampler.chat.token_ids(begun)) <= MAX_ANSWER_TOKENS < len(sampler.chat.token_ids(long))
    assert sorted(mixed.split()) == sorted(begun.split())
