"""Samples answers to many prompts at once, as the bot does: by transformers, or by the OpenVINO graphs that serve."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

from storage.adapters.folder_store import AdapterRef, AdapterStore
from storage.models.adapter_checks import require_base
from storage.models.answer_stream import ThoughtRoom
from storage.models.base_model import BaseModel, load_adapter, load_on_device
from storage.models.chat_format import ChatFormat
from storage.models.hardware import serving_format, silence_transformers, training_format
from storage.models.memory import NumberFormat
from storage.models.openvino.pipeline import PipelineOptions, generation_config, load_pipeline
from storage.models.openvino.support import UnsupportedModel
from storage.models.openvino.verifier import Graphs, Verifier, prefers_graphs
from storage.releases.versions import Version
from storage.settings.sections import GenerationSettings, Settings, TrainingSettings
from trainer.base import RoundBase, expected_tokens
from trainer.progress import Advance, keep_quiet

BATCH_PROMPTS = 64
BATCH_TOKENS = 32_768
"""Maximum number of tokens in a batch, including answers and padding: 4 GiB of keys and values for an 8B model. Halved
for each earlier round in which memory ran out."""
NO_WINDOW = 2**31
"""The window when only the model's own positions limit an answer."""
GRAPH_PROMPTS = 32
"""Prompts that a graph answers at once; halved for each earlier round in which memory ran out."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One answer without its thought; its tokens include the end token if the model ended the answer."""

    text: str
    is_cut: bool
    prompt_ids: tuple[int, ...]
    """The tokens directly before the answer: the prompt, with an empty thought if the model thinks."""
    answer_ids: tuple[int, ...]


class AnswerSampler(Protocol):
    """Answers many rendered prompts as one version."""

    def answer(
        self, prompts: Sequence[str], generation: GenerationSettings, seed: int, advance: Advance = ...
    ) -> list[Sample]:
        """Return an answer to each prompt, in order; equal prompts get different answers.

        Sampling is the bot's, except for its seeds. `advance` gets the number of answers so far, unfinished ones as a
        fraction. Equal arguments give equal answers on one machine.
        """
        ...


def open_adapter(store: AdapterStore, version: Version | None, base: BaseModel) -> AdapterRef | None:
    """Return the version's verified files, or None for the base model; raises AdapterError."""
    if version is None:
        return None
    folder = store.path(version.digest)
    require_base(folder, base)
    return AdapterRef(version.digest, folder)


@dataclass(frozen=True)
class Serving:
    """Answers of the base and its versions in a round: as the bot serves them, with the numbers of the training."""

    base: RoundBase
    training: TrainingSettings
    generation: GenerationSettings
    system_prompt: str
    directory: Path
    """The data folder, which keeps graphs, and findings about the base."""
    memory_failures: int = 0
    """Earlier rounds in which memory ran out: each halves the number of answers drawn at once."""

    @classmethod
    def of(cls, settings: Settings, base: RoundBase, memory_failures: int = 0) -> Serving:
        return cls(
            base,
            settings.training,
            settings.generation,
            settings.chat.system_prompt,
            settings.data.directory,
            memory_failures,
        )

    @property
    def numbers(self) -> NumberFormat:
        return NumberFormat(training_format(self.training), self.training.quantization)

    def open(self, adapter: AdapterRef | None) -> AnswerSampler:
        """Return a sampler that answers as this version, or the base, does when it is served here."""
        graphs = self.find_graphs()
        return self.load(adapter) if graphs is None else GraphSampler(self, adapter, graphs)

    def load(self, adapter: AdapterRef | None) -> Sampler:
        """Load the model for transformers."""
        return Sampler.load(self.base, adapter.path if adapter else None, self.numbers, self.memory_failures)

    def find_graphs(self) -> Graphs | None:
        """Return the graphs that serve this base; None if transformers serves it, as on a GPU."""
        if not prefers_graphs(self.base.served):
            return None
        try:
            return Verifier(self.base.model, self.directory, self.base.served).require()
        except UnsupportedModel as error:
            log.warning("Rounds answer with transformers: %s.", error)
            return None


class Sampler:
    """A model in memory that answers rendered prompts: the base, or the base under an adapter."""

    def __init__(self, model: Any, chat: ChatFormat, window: int = NO_WINDOW, memory_failures: int = 0) -> None:
        """`window` is the most tokens of prompt, thought and answer together."""
        self.model = model
        self._memory_failures = memory_failures
        self.chat = chat
        self._window = window
        self.tokenizer = chat.tokenizer

    @classmethod
    def load(cls, base: RoundBase, adapter: Path | None, numbers: NumberFormat, memory_failures: int = 0) -> Sampler:
        """Load the base, and the adapter if there is one, onto the GPU if there is one."""
        with silence_transformers():
            model = load_on_device(base.model.path, numbers.computed, numbers.quantization, setting="training.dtype")
            if adapter is not None:
                model = load_adapter(model, adapter, base.model)
                # PEFT freezes the head, and on a CPU PyTorch copies a frozen head for every row of a batch.
                model.get_output_embeddings().weight.requires_grad_(True)
        return cls(model, base.chat, base.window, memory_failures)

    def answer(
        self, prompts: Sequence[str], generation: GenerationSettings, seed: int, advance: Advance = keep_quiet
    ) -> list[Sample]:
        import torch

        room = self.chat.thought_room(generation.max_thought_tokens, self._window)
        expected = expected_tokens(self.chat, generation)
        answers = [
            SampledAnswer(self.chat, prompt, generation, room, seed + place) for place, prompt in enumerate(prompts)
        ]
        done = 0
        with torch.inference_mode(), silence_transformers():
            lengths = [len(answer.prompt_ids) for answer in answers]
            for batch in split_by_memory(lengths, expected, max(1, BATCH_TOKENS >> self._memory_failures)):
                advance(done)
                self._decode([answers[place] for place in batch], expected, done, advance)
                done += len(batch)
        advance(done)
        return [answer.sample() for answer in answers]

    def _decode(self, batch: Sequence[SampledAnswer], expected: int, done: int, advance: Advance) -> None:
        from storage.models.decoding import decode

        steps = itertools.count(1)

        def push(newest: Sequence[tuple[int, int]]) -> None:
            for place, token in newest:
                batch[place].push(token)
            advance(done + len(batch) * min(1.0, next(steps) / expected))

        decode(self.model, batch, push)


def split_by_memory(lengths: Sequence[int], answer_tokens: int, most_tokens: int = BATCH_TOKENS) -> list[list[int]]:
    """Return the prompts' indices, given their token counts, in batches of at most `most_tokens` (or of one prompt).

    Prompts of similar length share a batch, so that there is little padding.
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: (lengths[place], place)):
        at_once = min(BATCH_PROMPTS, most_tokens // (lengths[place] + answer_tokens))
        if not batches or len(batches[-1]) >= at_once:
            batches.append([])
        batches[-1].append(place)
    return batches


class GraphSampler:
    """A version that answers rendered prompts by its graph, which is loaded at the first answer."""

    def __init__(self, serving: Serving, adapter: AdapterRef | None, graphs: Graphs) -> None:
        self._base = serving.base
        self._threads = serving.training.threads
        self._adapter = adapter
        self._graphs = graphs
        self._prompts = max(1, GRAPH_PROMPTS >> serving.memory_failures)
        self._chat = serving.base.chat
        self._pipeline: Any = None
        self._longest = 0
        """Maximum number of tokens of a prompt and its answer that fit into the pipeline's cache."""

    def answer(
        self, prompts: Sequence[str], generation: GenerationSettings, seed: int, advance: Advance = keep_quiet
    ) -> list[Sample]:
        if not prompts:
            return []
        room = self._chat.thought_room(generation.max_thought_tokens, self._base.window)
        answers = [
            SampledAnswer(self._chat, prompt, generation, room, seed + place) for place, prompt in enumerate(prompts)
        ]
        expected = expected_tokens(self._chat, generation)
        pipeline = self._load(max(len(answer.prompt_ids) for answer in answers) + expected)
        running = {
            place: pipeline.add_request(place, _tensor(answer.prompt_ids), self._config(answer))
            for place, answer in enumerate(answers)
        }
        while running:
            pipeline.step()
            for place, handle in list(running.items()):
                if _read_tokens(handle, answers[place]):
                    del running[place]
            unfinished = sum(min(1.0, len(answers[place].generated_ids) / expected) for place in running)
            advance(len(answers) - len(running) + unfinished)
        return [answer.sample() for answer in answers]

    def _load(self, tokens: int) -> Any:
        """Return the pipeline, reloaded if its cache is too small for this many tokens of prompt and answer."""
        if tokens > self._longest:
            self._pipeline = None  # there may be no room for two
            self._pipeline, self._longest = load_pipeline(self._options(tokens)), tokens
        return self._pipeline

    def _config(self, answer: SampledAnswer) -> Any:
        return generation_config(
            temperature=answer.sampling.temperature,
            top_p=answer.sampling.top_p,
            presence_penalty=answer.sampling.presence_penalty,
            max_new_tokens=answer.max_tokens,
            seed=answer.seed,
            end_ids=self._chat.end_ids,
        )

    def _options(self, tokens: int) -> PipelineOptions:
        """Return the options for loading the graph; `tokens` is the most that a prompt and its answer have together."""
        return PipelineOptions(
            base=self._base.model,
            folder=self._graphs.folder,
            adapter=self._adapter,
            batch_size=self._prompts,
            cached_tokens=self._prompts * tokens,
            threads=self._threads,
            dtype=serving_format(self._base.served),
            recipe=self._graphs.recipe,
            kept_graphs=2 * self._base.served.resident_adapters,
        )


def _tensor(ids: Sequence[int]) -> Any:
    """Return the tokens as a row, (1, T)."""
    import numpy as np
    import openvino as ov

    return ov.Tensor(np.array([ids], dtype=np.int64))


def _read_tokens(handle: Any, answer: SampledAnswer) -> bool:
    """Add the tokens since the last step to the answer, and return whether it is finished."""
    from openvino_genai import GenerationStatus

    is_running = handle.get_status() == GenerationStatus.RUNNING
    while handle.can_read():
        for output in handle.read().values():
            for token in output.generated_ids:
                answer.push(token)
    if is_running and answer.is_done:
        handle.cancel()
    return answer.is_done or not is_running


class SampledAnswer:
    """An answer that is sampled token by token; tokens after its end are ignored."""

    def __init__(
        self, chat: ChatFormat, prompt: str, generation: GenerationSettings, room: ThoughtRoom, seed: int
    ) -> None:
        self.prompt_ids = chat.token_ids(prompt)
        self.sampling = generation
        self.seed = seed
        self.random = Random(seed)
        max_thought_tokens = room.beside(len(self.prompt_ids), generation.max_new_tokens)
        self.max_tokens = generation.max_new_tokens + max_thought_tokens
        self.generated_ids: list[int] = []
        """Tokens so far, including a thought and the token that ends the answer."""
        self._has_ended = False
        self._chat = chat
        self._context_ids = chat.token_ids(chat.context_of(prompt))
        self._stream = chat.stream(prompt, generation.max_new_tokens, max_thought_tokens)

    @property
    def is_done(self) -> bool:
        return self._has_ended or self._stream.is_at_limit

    def push(self, token: int) -> None:
        if self.is_done:
            return
        self.generated_ids.append(token)
        self._has_ended = token in self._chat.end_ids
        if not self._has_ended:
            self._stream.push(token)

    def sample(self) -> Sample:
        """Return the answer so far; if there is only a thought, it is empty and cut.

        Its text keeps bytes that form no character, which members are not shown: they reveal a broken version.
        """
        self._stream.flush()
        text = self._chat.decode(self._stream.answer_ids).strip()
        end = tuple(self.generated_ids[-1:]) if self._has_ended and not self._stream.is_silent else ()
        answer_ids = (*self._stream.answer_ids, *end)
        return Sample(text, is_cut=not end, prompt_ids=tuple(self._context_ids), answer_ids=answer_ids)


def first_tokens(sample: Sample, most: int, chat: ChatFormat) -> Sample:
    """Return the answer as if the model had stopped after `most` tokens."""
    if len(sample.answer_ids) <= most:
        return sample
    kept = sample.answer_ids[:most]
    return Sample(chat.decode([*kept]).strip(), is_cut=True, prompt_ids=sample.prompt_ids, answer_ids=kept)
