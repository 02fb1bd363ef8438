"""Answers to many prompts by the graphs that serve: a round then hears what members hear, and sooner."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel, end_ids, load_tokenizer
from storage.models.hardware import serving_format, training_format
from storage.models.openvino.pipeline import PipelineOptions
from storage.models.openvino.support import UnsupportedModel
from storage.models.openvino.verifier import Verifier, prefers_graphs
from storage.settings.sections import GenerationSettings, Settings
from trainer.evaluation.sampling import Sample, Sampler, Speaker, batches_of, sample_of

PROMPTS_AT_ONCE = 32

log = logging.getLogger(__name__)


def find_graphs(settings: Settings, base: BaseModel) -> Path | None:
    """Return the folder of the graphs that serve this base; None where transformers serves it, as on a GPU."""
    if not prefers_graphs(settings.model):
        return None
    try:
        return Verifier(base, settings.data.directory, settings.model).require()
    except UnsupportedModel as error:
        log.warning("Rounds answer with transformers: %s.", error)
        return None


def open_speaker(settings: Settings, base: BaseModel, adapter: AdapterRef | None) -> Speaker:
    """Return who answers as this version does when it is served here."""
    graphs = find_graphs(settings, base)
    if graphs is None:
        training = settings.training
        return Sampler.load(base, adapter.path if adapter else None, training_format(training), training.quantization)
    return GraphSampler(settings, base, adapter, graphs)


class GraphSampler:
    """A version that answers rendered prompts by its graph, which is in memory only meanwhile."""

    def __init__(self, settings: Settings, base: BaseModel, adapter: AdapterRef | None, graphs: Path) -> None:
        """`graphs` is their folder, as `find_graphs` returns it."""
        self._settings = settings
        self._base = base
        self._adapter = adapter
        self._graphs = graphs
        self._tokenizer = load_tokenizer(base)
        self._end_ids = end_ids(base.path, self._tokenizer)

    def answer(
        self,
        prompts: Sequence[str],
        generation: GenerationSettings,
        seed: int,
        on_progress: Callable[[int], None] = lambda _done: None,
    ) -> list[Sample]:
        """As every Speaker."""
        if not prompts:
            return []
        from storage.models.openvino.pipeline import generation_config, load_pipeline

        asked = [self._tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        pipeline = load_pipeline(self._options(max(map(len, asked)) + generation.max_new_tokens))
        samples: list[Sample] = []
        for places in batches_of(range(len(asked))):
            configs = [
                generation_config(
                    temperature=generation.temperature,
                    top_p=generation.top_p,
                    presence_penalty=generation.presence_penalty,
                    max_new_tokens=generation.max_new_tokens,
                    seed=seed + place,
                    end_ids=self._end_ids,
                )
                for place in places
            ]
            found = pipeline.generate([_tensor(asked[place]) for place in places], configs)
            samples += [
                sample_of(asked[place], result.m_generation_ids[0], self._end_ids, self._tokenizer)
                for place, result in zip(places, found, strict=True)
            ]
            on_progress(len(samples))
        return samples

    def _options(self, tokens: int) -> PipelineOptions:
        """Return how to load the graph for prompts and answers of so many tokens together."""
        model = self._settings.model
        return PipelineOptions(
            base=self._base,
            folder=self._graphs,
            adapter=self._adapter,
            batch_size=PROMPTS_AT_ONCE,
            cached_tokens=PROMPTS_AT_ONCE * tokens,
            threads=self._settings.training.threads,
            dtype=serving_format(model),
            kept_graphs=2 * model.resident_adapters,
        )


def _tensor(ids: list[int]) -> Any:
    """Return tokens as a row, (1, T)."""
    import numpy as np
    import openvino as ov

    return ov.Tensor(np.array([ids], dtype=np.int64))
