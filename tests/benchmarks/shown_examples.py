"""Does the base talk more like its card when it sees the card's examples as earlier turns? Nothing is trained.

Strangers are answered without examples, with as many as the bot shows, and with more; held-out ones judge all sides.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from bot.arenas.prompts import bank_messages
from bot.chat.ask import request_answer
from bot.chat.rendering import render_with_examples
from bot.engine import Engine, RenderedPrompt
from bot.releases.resolver import BASE_RELEASE
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.hardware import serving_format
from storage.models.memory import NumberFormat
from storage.personalities.cards import Card, Example
from storage.settings.sections import Settings
from storage.taste.examples import Examples, examples_budget, examples_to_show
from tests.benchmarks.community import workshop
from tests.benchmarks.critic import Critic, gain_of
from tests.benchmarks.demonstration import (
    HABITS,
    MAX_NEW_TOKENS,
    describe_sides,
    draw_messages,
    read_card,
    settings_of_card,
)
from tests.benchmarks.report import notes, report
from tests.benchmarks.serving import running_engine
from tests.benchmarks.serving_load import completed
from trainer.base import RoundBase
from trainer.data.dataset import render_dialogue
from trainer.evaluation.measures import ScoredPassage, mean_loss
from trainer.evaluation.sampling import Sample, Sampler
from trainer.training.rows import Demonstration, demonstration_row

MORE = 2
"""How many times as many dialogues are shown as the bot shows, on the side with more."""
HELD_OUT_SHARE = 0.2
TIMED = 12
"""Messages whose first token is timed on each side."""
RECITED_WORDS = 5
"""So many of the prompt's words in a row are recited, not said."""
COPIED_WORDS, COPIED_SHARE = 4, 0.5
"""An answer is a copy if more than this share of its runs of so many words are in one answer that was shown."""
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Side:
    """What is shown, the prompts of the messages after it, and the answers."""

    shown: tuple[Example, ...]
    prompts: list[RenderedPrompt]
    answers: list[Sample]
    loss: float
    """Of the held-out answers, in nats per token."""

    @property
    def texts(self) -> list[str]:
        return [answer.text for answer in self.answers]


def run(
    *, card: str = "keeper", base: str = "bundled", messages: int = 96, judge: str = "", seed: int = 0
) -> dict[str, Any]:
    """Return machine, versions, a row for each number of examples, and the summary."""
    began = time.monotonic()
    with workshop() as directory:
        whole, settings = read_card(card, settings_of_card(directory, base, seed))
        model = resolve_base_model(settings.model.base, directory, notes.print)
        shown, held_out = split_card(whole, seed)
        asked = draw_messages(messages, settings.training.seed)
        prompts, first_token_s = asyncio.run(_prepare(shown, asked, settings, model))
        sides = _answer(prompts, held_out, settings, model)
        critic = Critic(model, settings, judge)
        described = describe_sides(critic, asked, [side.answers for side in sides], HABITS[card])
    rows = [
        {"shown": len(side.shown), "prompt_tokens": median(prompt.tokens for prompt in side.prompts)}
        | {"loss": side.loss}
        | row
        | _manner(side, whole)
        for side, row in zip(sides, described, strict=True)
    ]
    summary = _summary(rows[0], rows[1], first_token_s) | {"seconds": time.monotonic() - began}
    return report(rows, summary, "torch", "transformers", "openvino", card=card, base=model.name, judge=critic.name)


def split_card(card: Card, seed: int) -> tuple[Card, list[Example]]:
    """Return the card without a share of its examples, and those."""
    places = range(len(card.examples))
    held_out = set(random.Random(seed).sample(places, round(HELD_OUT_SHARE * len(places))))
    kept = tuple(example for place, example in enumerate(card.examples) if place not in held_out)
    return card.model_copy(update={"examples": kept}), [card.examples[place] for place in sorted(held_out)]


Prompts = dict[tuple[Example, ...], list[RenderedPrompt]]


async def _prepare(
    card: Card, asked: Sequence[str], settings: Settings, base: BaseModel
) -> tuple[Prompts, tuple[float, float]]:
    """Return the prompts of each side, and the seconds to the first token without examples and with them."""
    async with running_engine(settings, base) as engine:
        shown, more = examples_to_show(settings, card), examples_to_show(_showing_more(settings), card)
        sides = dict.fromkeys(((), shown, more))
        prompts = {side: [await _render(engine, side, one, settings) for one in asked] for side in sides}
        return prompts, await _time(engine, prompts[()], prompts[shown], settings)


def _showing_more(settings: Settings) -> Settings:
    generation = settings.generation
    more = generation.model_copy(update={"card_examples": MORE * generation.card_examples})
    return settings.model_copy(update={"generation": more})


async def _render(engine: Engine, shown: tuple[Example, ...], message: str, settings: Settings) -> RenderedPrompt:
    plain = await engine.render(bank_messages(settings.chat.system_prompt, message))
    return (
        await render_with_examples(engine, plain, Examples(shown, budget_tokens=examples_budget(settings.model)))
        or plain
    )


async def _time(
    engine: Engine, without: Sequence[RenderedPrompt], with_examples: Sequence[RenderedPrompt], settings: Settings
) -> tuple[float, float]:
    """Return the median seconds to the first token of both, asked in turn, each after one that fills the cache."""
    generation = settings.generation.model_copy(update={"max_new_tokens": 1})
    found: tuple[list[float], list[float]] = ([], [])
    for both in list(zip(without, with_examples, strict=True))[: TIMED + 1]:
        for times, prompt in zip(found, both, strict=True):
            answer = await completed(engine.submit(request_answer(prompt, BASE_RELEASE, generation)))
            times.append(answer.first_token_s or answer.total_s)
    return median(found[0][1:]), median(found[1][1:])


def _answer(prompts: Prompts, held_out: Sequence[Example], settings: Settings, base: BaseModel) -> list[Side]:
    sampler = Sampler.load(
        RoundBase(base, settings.model), None, NumberFormat(serving_format(settings.model), settings.model.quantization)
    )
    generation = settings.generation.model_copy(update={"max_new_tokens": MAX_NEW_TOKENS})
    sides = []
    for shown, rendered in prompts.items():
        texts = [prompt.text for prompt in rendered]
        answers = sampler.answer(texts, generation, settings.training.seed)
        loss = mean_loss(sampler.model, list(_passages(shown, held_out, settings, sampler)))
        notes.print(f"{len(shown)} examples: answered")
        sides.append(Side(shown, rendered, answers, loss))
    return sides


def _passages(shown: tuple[Example, ...], held_out: Sequence[Example], settings: Settings, sampler: Sampler) -> Any:
    earlier = [said for example in shown for said in example.dialogue]
    for example in held_out:
        for place in range(1, len(example.dialogue), 2):
            said = [*earlier, *example.dialogue[:place]]
            prompt = render_dialogue(said, settings.chat.system_prompt, sampler.chat)
            row = demonstration_row(Demonstration(prompt, example.dialogue[place]), sampler.chat)
            yield ScoredPassage(row["prompt_ids"], row["completion_ids"])


def _manner(side: Side, card: Card) -> dict[str, Any]:
    said = [answer for example in side.shown for answer in example.dialogue[1::2]]
    prompt = [card.system_prompt, card.description]
    recited = [float(any(shares_a_run(text, one) for one in prompt)) for text in side.texts]
    return {
        "recited": recited,
        "recited_share": fmean(recited),
        "copied_share": fmean(is_copy(text, said) for text in side.texts),
        "distinct_share": len(set(side.texts)) / len(side.texts),
    }


def shares_a_run(answer: str, prompt: str) -> bool:
    return bool(_runs(answer, RECITED_WORDS) & _runs(prompt, RECITED_WORDS))


def is_copy(answer: str, shown: Sequence[str]) -> bool:
    runs = _runs(answer, COPIED_WORDS)
    return any(len(runs & _runs(one, COPIED_WORDS)) > COPIED_SHARE * len(runs) for one in shown)


def _runs(text: str, length: int) -> set[tuple[str, ...]]:
    words = [word.lower() for word in WORD.findall(text)]
    return {tuple(words[place : place + length]) for place in range(len(words) - length + 1)}


def _summary(
    without: dict[str, Any], with_examples: dict[str, Any], first_token_s: tuple[float, float]
) -> dict[str, Any]:
    recited = gain_of(without["recited"], with_examples["recited"])
    both = {
        f"{name}_{side}": row[name]
        for name in ("habit_share", "loss", "recited_share", "words", "cut_share", "degenerate_share", "prompt_tokens")
        for side, row in (("without", without), ("with", with_examples))
    }
    return both | {
        "shown": with_examples["shown"],
        **gain_of(without["habit"], with_examples["habit"]),
        "loss_ratio": with_examples["loss"] / without["loss"],
        "recited_change_low": recited["gain_low"],
        "recited_change_high": recited["gain_high"],
        "coherence_ratio": with_examples["coherence_ratio"],
        "fit_ratio": with_examples["fit_share"] / without["fit_share"],
        "copied_share": with_examples["copied_share"],
        "distinct_share": with_examples["distinct_share"],
        "first_token_s_without": first_token_s[0],
        "first_token_s_with": first_token_s[1],
        "first_token_ratio": first_token_s[1] / first_token_s[0],
    }
