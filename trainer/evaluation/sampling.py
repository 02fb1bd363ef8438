"""Answers to many prompts at once, sampled as the bot samples them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from storage.models.base_model import BaseModel, end_ids, load_model, load_tokenizer
from storage.models.hardware import torch_device
from storage.models.libraries import silence_transformers
from storage.settings.sections import GenerationSettings

if TYPE_CHECKING:
    from torch import Tensor

BATCH_PROMPTS = 64
CANDIDATES = 256
"""Tokens that the nucleus is looked for among first; where it is larger, the whole vocabulary is sorted."""


@dataclass(frozen=True)
class Sample:
    """One answer; its own tokens have the end token where it ended by itself."""

    text: str
    is_cut: bool
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


class Speaker(Protocol):
    """A version that answers many rendered prompts."""

    def answer(
        self,
        prompts: Sequence[str],
        generation: GenerationSettings,
        seed: int,
        on_progress: Callable[[int], None] = ...,
    ) -> list[Sample]:
        """Return an answer to each prompt, in order; equal prompts get answers of their own.

        Sampling is that of serving but for its seeds. `on_progress` gets the number of finished answers. Equal
        arguments give equal answers on one machine.
        """
        ...


class Sampler:
    """A model in memory that answers rendered prompts: the base, or the base under an adapter."""

    def __init__(self, model: Any, tokenizer: Any, ends: Collection[int]) -> None:
        """`ends` are the token ids that end an answer."""
        self.model = model
        self.tokenizer = tokenizer
        self._end_ids = sorted(ends)

    @classmethod
    def load(cls, base: BaseModel, adapter: Path | None, dtype: str, quantization: str = "") -> Sampler:
        """Load the base, and the adapter upon it where there is one, onto the GPU where there is one."""
        with silence_transformers():
            model = load_model(base, dtype, quantization)
            if adapter is not None:
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, adapter).eval()
                # PEFT freezes the head; PyTorch copies a frozen one for every row of a batch on a CPU.
                model.get_output_embeddings().weight.requires_grad_(True)
        tokenizer = load_tokenizer(base)
        # Weights in four bits are where they belong, and do not let themselves be moved.
        return cls(model if quantization else model.to(torch_device()), tokenizer, end_ids(base.path, tokenizer))

    def answer(
        self,
        prompts: Sequence[str],
        generation: GenerationSettings,
        seed: int,
        on_progress: Callable[[int], None] = lambda _done: None,
    ) -> list[Sample]:
        """As every Speaker."""
        import torch

        # Prompts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
        answers: dict[int, Sample] = {}
        with torch.random.fork_rng(), torch.inference_mode(), silence_transformers():
            torch.manual_seed(seed)
            for batch in batches_of(order):
                found = self._answer_batch([prompts[i] for i in batch], generation)
                answers.update(zip(batch, found, strict=True))
                on_progress(len(answers))
        return [answers[i] for i in range(len(prompts))]

    def _answer_batch(self, prompts: Sequence[str], generation: GenerationSettings) -> list[Sample]:
        inputs = self.tokenizer(
            list(prompts), add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
        ).to(self.model.device)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        width = ids.shape[1]
        rows = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=self._generation_config(generation.max_new_tokens),
            logits_processor=_processors(generation, width),
        )
        return [
            sample_of(row[:width][kept.bool()].tolist(), row[width:].tolist(), self._end_ids, self.tokenizer)
            for row, kept in zip(rows, mask, strict=True)
        ]

    def _generation_config(self, longest: int) -> Any:
        from transformers import GenerationConfig

        return GenerationConfig(
            max_new_tokens=longest,
            do_sample=False,  # the last processor leaves one token to choose
            eos_token_id=self._end_ids,
            pad_token_id=self.tokenizer.pad_token_id,
        )


def sample_of(prompt_ids: Sequence[int], generated: Sequence[int], end_ids: Collection[int], tokenizer: Any) -> Sample:
    """Return the sample that ends with the first end token in `generated`, if there is one."""
    ends = [place for place, token in enumerate(generated) if token in end_ids]
    answer_ids = generated[: ends[0] + 1] if ends else generated
    text = tokenizer.decode(answer_ids, skip_special_tokens=True).strip()
    return Sample(text, is_cut=not ends, prompt_ids=tuple(prompt_ids), answer_ids=tuple(answer_ids))


def told(system_prompt: str, messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the messages after the system prompt, as they are served: a blank one is none, and one is enough."""
    if not system_prompt.strip() or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system_prompt}, *messages]


def render(messages: Sequence[dict[str, str]], tokenizer: Any) -> str:
    """Return the prompt that the model is served for these chat messages."""
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))


def _processors(generation: GenerationSettings, prompt_width: int) -> Any:
    from transformers import LogitsProcessorList

    processors = LogitsProcessorList()
    if generation.presence_penalty:
        processors.append(lambda ids, logits: _penalise(logits, ids[:, prompt_width:], generation.presence_penalty))
    if generation.temperature > 0:
        processors.append(lambda _ids, logits: _choose(logits, generation.temperature, generation.top_p))
    return processors


def _penalise(logits: Tensor, answer_ids: Tensor, penalty: float) -> Tensor:
    """Return logits, (B, V), less the penalty for every token that its answer, (B, T), holds."""
    import torch

    return logits - penalty * torch.zeros_like(logits).scatter_(1, answer_ids, 1.0)


def _choose(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """Sample a token from each row's nucleus and return logits, (B, V), that leave that token alone.

    Sorting the whole vocabulary and drawing from it, as `generate` does, takes two fifths of a step on a CPU.
    """
    import torch

    probabilities = (logits.float() / temperature).softmax(-1)
    best, tokens = probabilities.topk(min(CANDIDATES, logits.shape[-1]))
    if (best.sum(-1) < top_p).any():
        best, tokens = probabilities.sort(descending=True)
    before = best.cumsum(-1) - best
    drawn = torch.multinomial(best.where(before < top_p, 0), 1)
    return torch.full_like(logits, -torch.inf).scatter_(-1, tokens.gather(-1, drawn), 0)


def batches_of(order: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield BATCH_PROMPTS places at a time."""
    for start in range(0, len(order), BATCH_PROMPTS):
        yield order[start : start + BATCH_PROMPTS]
