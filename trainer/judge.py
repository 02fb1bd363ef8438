"""What a new adapter did to everyday answers: how far it moved from the base, and how many answers it broke."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.base_model import BaseModel, load_model, load_tokenizer, quiet_transformers
from storage.settings import GenerationSettings, TrainingSettings
from trainer.dpo import Progress, Report, cpu_threads

if TYPE_CHECKING:
    from torch import Tensor

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
)
ANSWERS_PER_MESSAGE = 2
MAX_ANSWER_TOKENS = 48

LOOP_TOKENS = 8
"""Shortest stretch of words that may count as a loop: "ha ha ha" is none."""
LOOP_REPEATS = 3
LOOP_SHARE = 0.25
STUTTER_CHARS = 30
MIN_EMOJI_CHAIN = 8
# Chinese, Japanese and Korean are written without spaces between words, so each character counts as one.
WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
STUTTER = re.compile(r"(.{1,12}?)\1{4,}", re.DOTALL)
EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "FULLWIDTH", "HALFWIDTH", "BOPOMOFO"})


@dataclass(frozen=True)
class Judgement:
    divergence: float
    """Mean KL(adapter || base) over the adapter's own answers, in nats per token."""
    degenerate_share: float
    degenerate_share_base: float
    answer_tokens: float
    """Mean length of an answer, cut at MAX_ANSWER_TOKENS."""
    answer_tokens_base: float


def judge(
    base: BaseModel,
    adapter: Path,
    *,
    training: TrainingSettings,
    generation: GenerationSettings,
    report: Report,
) -> Judgement:
    """Answer the neutral messages with and without the adapter and compare; equal seeds give equal judgements."""
    report(Progress("judging"))
    with cpu_threads(training.threads), quiet_transformers():
        tokenizer = load_tokenizer(base)
        model = _load_adapted(base, adapter, training.dtype)
        prompts = [_render(message, tokenizer) for message in NEUTRAL_MESSAGES]
        answers = _sample(model, tokenizer, prompts, generation, training.seed)
        with model.disable_adapter():
            answers_base = _sample(model, tokenizer, prompts, generation, training.seed)
        divergence = _mean_divergence(model, answers)
    return Judgement(
        divergence=divergence,
        degenerate_share=_degenerate_share(answers, tokenizer),
        degenerate_share_base=_degenerate_share(answers_base, tokenizer),
        answer_tokens=_mean_length(answers),
        answer_tokens_base=_mean_length(answers_base),
    )


def is_degenerate(answer: str) -> bool:
    """Return whether an answer is broken whatever was asked: no words, loops, emoji chains or mixed-up characters.

    Short answers and every script pass; taste is for the members to judge.
    """
    words = [word.lower() for word in WORDS.findall(answer)]
    return (
        not words
        or _repeats_lines(answer)
        or _loops(words)
        or _stutters(answer)
        or _chains_emoji(answer, len(words))
        or _mixes_scripts(words)
        or _is_undecodable(answer)
    )


def _repeats_lines(answer: str) -> bool:
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    most_common = max(Counter(lines).values(), default=0)
    return most_common >= LOOP_REPEATS and most_common > len(lines) / 2


def _loops(words: Sequence[str]) -> bool:
    """A phrase of any length, said again at once at least LOOP_REPEATS times in all."""
    longest_period = len(words) // LOOP_REPEATS
    enough = max(LOOP_TOKENS, LOOP_SHARE * len(words))
    for period in range(1, longest_period + 1):
        same = (word == later for word, later in zip(words, words[period:], strict=False))
        stretch = _longest_run(same) + period
        if stretch >= enough and stretch >= LOOP_REPEATS * period:
            return True
    return False


def _longest_run(flags: Any) -> int:
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def _stutters(answer: str) -> bool:
    """Letters or signs repeated without a space through more than half of the answer."""
    stuttered = sum(len(found[0]) for found in STUTTER.finditer(answer) if len(found[0]) >= STUTTER_CHARS)
    return stuttered > len(answer) / 2


def _chains_emoji(answer: str, words: int) -> bool:
    emoji = sum(unicodedata.category(character) == "So" for character in answer)
    return emoji >= MIN_EMOJI_CHAIN and emoji > words


def _mixes_scripts(words: Sequence[str]) -> bool:
    """More than a quarter of the words, and at least two, are spelt in two alphabets at once."""
    mixed = sum(
        len({_script(character) for character in word if character.isalpha()} - EAST_ASIAN) > 1 for word in words
    )
    return mixed >= 2 and mixed > len(words) / 4


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]


def _is_undecodable(answer: str) -> bool:
    """An answer cut inside a character may end with one replacement sign; a broken one is full of them."""
    broken = sum(character == "\ufffd" or unicodedata.category(character) in ("Co", "Cn") for character in answer)
    return broken > 1 and broken > len(answer) / 20


@dataclass(frozen=True)
class _Answer:
    prompt_ids: Tensor
    answer_ids: Tensor
    """With the end token where the answer ended by itself; both are (T,)."""


def _load_adapted(base: BaseModel, adapter: Path, dtype: str) -> Any:
    import torch
    from peft import PeftModel

    model = PeftModel.from_pretrained(load_model(base, dtype), adapter).eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _render(message: str, tokenizer: Any) -> str:
    chat = [{"role": "user", "content": message}]
    return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def _sample(
    model: Any, tokenizer: Any, prompts: Sequence[str], generation: GenerationSettings, seed: int
) -> list[_Answer]:
    """Return ANSWERS_PER_MESSAGE answers to each prompt, generated as one batch.

    Temperature, top_p and repetition penalty are those of serving; its seeds, prompts and lengths are not.
    """
    import torch

    repeated = [prompt for prompt in prompts for _ in range(ANSWERS_PER_MESSAGE)]
    batch = tokenizer(repeated, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
    batch = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
    torch.manual_seed(seed)
    with torch.inference_mode():
        rows = model.generate(**batch, generation_config=_generation_config(tokenizer, generation))
    width = batch["input_ids"].shape[1]
    return [
        _Answer(row[:width][mask.bool()], _until_end(row[width:], tokenizer.eos_token_id))
        for row, mask in zip(rows, batch["attention_mask"], strict=True)
    ]


def _generation_config(tokenizer: Any, generation: GenerationSettings) -> Any:
    from transformers import GenerationConfig

    sampling = {"temperature": generation.temperature, "top_p": generation.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=min(MAX_ANSWER_TOKENS, generation.max_new_tokens),
        repetition_penalty=generation.repetition_penalty,
        do_sample=generation.temperature > 0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **(sampling if generation.temperature > 0 else {}),
    )


def _until_end(ids: Tensor, eos_token_id: int) -> Tensor:
    ends = (ids == eos_token_id).nonzero()
    return ids[: int(ends[0]) + 1] if len(ends) else ids


def _mean_divergence(model: Any, answers: Sequence[_Answer]) -> float:
    """Mean KL(adapter || base) over all answer tokens, in nats, of the full distributions at temperature 1."""
    import torch

    with torch.inference_mode():
        return float(torch.cat([_divergences(model, answer) for answer in answers]).mean())


def _divergences(model: Any, answer: _Answer) -> Tensor:
    """KL at each answer token, (T,)."""
    with_adapter = _logps(model, answer, contextlib.nullcontext)
    without = _logps(model, answer, model.disable_adapter)
    return (with_adapter.exp() * (with_adapter - without)).sum(dim=-1)


def _logps(model: Any, answer: _Answer, adapter: Callable[[], contextlib.AbstractContextManager[Any]]) -> Tensor:
    """Log-probabilities of the whole vocabulary at each answer token, (T, V)."""
    import torch

    ids = torch.cat([answer.prompt_ids, answer.answer_ids])[None]
    with adapter():
        logits = model(input_ids=ids, logits_to_keep=len(answer.answer_ids) + 1).logits
    return torch.log_softmax(logits[0, :-1].float(), dim=-1)


def _degenerate_share(answers: Sequence[_Answer], tokenizer: Any) -> float:
    texts = tokenizer.batch_decode([answer.answer_ids for answer in answers], skip_special_tokens=True)
    return sum(map(is_degenerate, texts)) / len(texts)


def _mean_length(answers: Sequence[_Answer]) -> float:
    return sum(len(answer.answer_ids) for answer in answers) / len(answers)
