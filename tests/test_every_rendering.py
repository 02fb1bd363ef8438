"""Whatever family the base is of: what is served, sampled, trained on and judged is written alike, and ends alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot.chat.rendering import render_with_examples
from bot.engine import Finish, GenerationRequest, Sampling
from bot.engine.rendering import Renderer, load_renderer
from bot.errors import EngineStopped
from storage.conversations.example_turns import without_examples
from storage.models.base_model import BaseModel
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.personalities.cards import Card, Example
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from storage.taste.examples import Examples, ExampleTurn
from tests.families import FAMILIES, Family, save_tokenizer
from tests.trainer.contexts import serving_of
from trainer.base import ShownExamples
from trainer.data.dataset import render_dialogue
from trainer.data.drawing import prompts_to_rank
from trainer.evaluation.model_measurements import neutral_messages
from trainer.evaluation.sampling import SampledAnswer
from trainer.exchange import render_prompt
from trainer.training.rows import PreferencePair, pair_row

TOLD = "Be kind."
THOUGHTS = {"</think>": "<think>\nSoup, of course.\n</think>\n\n", "<channel|>": "<|channel>thought\nSoup.<channel|>"}
ANSWER = "Try the soup."
THINKERS = [family for family in FAMILIES if {*THOUGHTS} & {*family.words, *family.specials}]


@dataclass(frozen=True)
class Configured:
    """A base, without weights, under some settings."""

    settings: Settings
    base: BaseModel
    chat: ChatFormat
    renderer: Renderer

    def prompt(self, said: str = "Hi") -> str:
        return self.renderer.render([{"role": "system", "content": TOLD}, {"role": "user", "content": said}]).text

    def thought(self, prompt: str) -> str:
        """Return a thought as the model says it after the prompt; empty if it knows none."""
        if self.chat.thought is None:
            return ""
        thought = THOUGHTS[self.chat.thought.end]
        return thought.removeprefix("<think>\n") if self.chat.thought.is_open_in(prompt) else thought


Configure = Callable[..., Configured]


@pytest.fixture(scope="module")
def configure(tmp_path_factory: pytest.TempPathFactory) -> Configure:
    folders: dict[str, Path] = {}

    def prepare(family: Family, **settings: object) -> Configured:
        if family.name not in folders:
            folders[family.name] = folder = tmp_path_factory.mktemp(family.name)
            tokenizer = save_tokenizer(family, folder)
            ends = tokenizer.convert_tokens_to_ids([*(family.ends or (family.eos,))])
            (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
            (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
        base = BaseModel(family.name, folders[family.name], "0" * 16, family.architecture)
        changes = {f"REACTUNE_{name.upper()}": str(value) for name, value in settings.items()}
        found = load_settings(environment={"REACTUNE_CHAT__SYSTEM_PROMPT": TOLD, **changes})
        renderer = load_renderer(base.path, found.model, found.generation)
        return Configured(found, base, load_chat_format(base.path, found.model.template_options), renderer)

    return prepare


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(params=["{}", '{"enable_thinking": true}'], ids=["as it is", "thinking"])
def configured(configure: Configure, family: Family, request: pytest.FixtureRequest) -> Configured:
    return configure(family, model__template_options=request.param)


def test_all_renderings_are_the_served_one(configured: Configured) -> None:
    chat, prompt = configured.chat, configured.prompt()
    (ranked,) = prompts_to_rank([], ["Hi"], serving_of(configured.settings, configured.base), 1)
    (judged, *_) = neutral_messages(TOLD, chat)
    assert ranked.prompt == prompt
    assert judged.prompt == configured.prompt(judged.message)
    assert render_dialogue(["Hi"], TOLD, chat) == render_prompt("Hi", chat, TOLD)[0] == prompt


class Renders:
    """As much of an engine as renders prompts."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    async def render(self, messages: Any) -> Any:
        return self._renderer.render(messages)


@pytest.mark.parametrize("context_tokens", [480, 4096], ids=["little room", "room"])
async def test_a_round_shows_the_base_the_examples_that_the_bot_shows_it(
    configure: Configure, family: Family, context_tokens: int
) -> None:
    configured = configure(
        family, model__context_tokens=context_tokens, generation__max_new_tokens=64, generation__max_thought_tokens=32
    )
    said = [
        ("Hi", "Evening. <s>"),
        ("How is the sea?", "Flat. For now. " * 9, "And later?", "Wet."),
        ("Bye", "Mind it."),
    ]
    card = Card(examples=tuple(Example(dialogue=dialogue) for dialogue in said))
    serving = serving_of(configured.settings, configured.base)
    (asked,) = prompts_to_rank([], ["Hi"], serving, 1)
    engine: Any = Renders(configured.renderer)
    plain = await engine.render([{"role": "system", "content": TOLD}, {"role": "user", "content": "Hi"}])
    liked = (ExampleTurn("Tired?", "Never. Lamps do not sleep."),)
    examples = Examples.of(configured.settings, card, liked, "End with a question.")
    served = await render_with_examples(engine, plain, examples)
    drawn = ShownExamples(examples, serving.base, serving.generation).before(asked)
    assert served is not None
    assert drawn is not None
    assert drawn.prompt == served.text
    assert list(drawn.messages) == list(served.messages)
    assert ("Mind it." in drawn.prompt) == (context_tokens == 4096)
    assert f"{TOLD}\nEnd with a question." in drawn.prompt
    assert list(asked.messages) == without_examples(drawn.messages)
    assert configured.chat.render(without_examples(drawn.messages)) == asked.prompt


def test_a_row_continues_what_is_served_and_ends_as_the_template_does(configured: Configured, family: Family) -> None:
    chat, prompt = configured.chat, configured.prompt()
    row = pair_row(PreferencePair(prompt, ANSWER, "No.", rejected_is_cut=True), chat)
    read = chat.tokenizer.decode([*row["prompt_ids"], *row["chosen_ids"]])
    assert read == chat.context_of(prompt) + chat.space + ANSWER + family.end_of_turn
    assert row["rejected_ids"][-1] not in chat.end_ids
    assert row["prompt_ids"][: len(chat.token_ids(prompt)) - 1] == chat.token_ids(prompt)[:-1]
    if chat.thinks:
        assert read.endswith((f"</think>\n\n{ANSWER}{family.end_of_turn}", f"<channel|>{ANSWER}{family.end_of_turn}"))


def spoken(configured: Configured, text: str) -> list[int]:
    """Return the tokens that a model says after the prompt, the end of its turn included."""
    return [*configured.chat.token_ids(text), configured.chat.end_of_turn]


def transformers_reads(configured: Configured, prompt: str, tokens: list[int], most: int) -> tuple[str, Any, int]:
    from bot.engine.transformers.decoding import DecodingRow

    request = GenerationRequest(prompt, 1, Sampling(1.0, 1.0, 0.0, most), None)
    row = DecodingRow(request, configured.chat, configured.renderer.room, lambda: None)
    words = ""
    while row.finish is None:
        words += row.push(tokens.pop(0), configured.chat.end_ids)
    return words, row.finish, len(row.answer_ids)


def openvino_reads(configured: Configured, prompt: str, tokens: list[int], most: int) -> tuple[str, Any, int]:
    from openvino_genai import GenerationFinishReason as Reason

    from bot.engine.openvino.worker import _Answer

    queue = [(token, Reason.STOP if token in configured.chat.end_ids else Reason.NONE) for token in tokens]
    ready: list[Any] = []

    def read() -> dict[int, Any]:
        token, reason = ready.pop()
        return {0: SimpleNamespace(generated_ids=[token], finish_reason=reason)}

    handle = SimpleNamespace(can_read=lambda: bool(ready), read=read, cancel=queue.clear)
    stream = configured.chat.stream(prompt, most, configured.renderer.room.beside(100, most))
    answer, words, news = _Answer(handle, 100, configured.chat.end_ids, stream), "", None
    while news is None or news["finish"] is None:
        ready.append(queue.pop(0))
        news = answer.read()
        assert news is not None
        words += news["text"]
    assert not queue, "an answer that ended at its limit is stopped"
    return words, news["finish"], news["answer_tokens"]


def sampler_reads(configured: Configured, prompt: str, tokens: list[int], most: int) -> tuple[str, Any, int]:
    generation = configured.settings.generation.model_copy(update={"max_new_tokens": most})
    answer = SampledAnswer(configured.chat, prompt, generation, configured.renderer.room, seed=1)
    while not answer.is_done:
        answer.push(tokens.pop(0))
    sample = answer.sample()
    assert list(sample.prompt_ids) == pair_row(PreferencePair(prompt, "a", "b"), configured.chat)["prompt_ids"]
    finish = Finish.STOP if not sample.is_cut else Finish.LENGTH if sample.text else Finish.THOUGHT
    return sample.text, finish, len([id_ for id_ in sample.answer_ids if id_ not in configured.chat.end_ids])


READERS = (transformers_reads, openvino_reads, sampler_reads)


@pytest.mark.parametrize("read", READERS)
def test_a_thought_is_neither_shown_nor_counted(configured: Configured, read: Callable[..., Any]) -> None:
    prompt = configured.prompt()
    thought, answer = configured.thought(prompt), configured.chat.token_ids(ANSWER)
    words, finish, tokens = read(configured, prompt, spoken(configured, thought + ANSWER), 100)
    assert (words.strip(), finish, tokens) == (ANSWER, Finish.STOP, len(answer))
    first = configured.chat.decode(answer[:3]).strip()
    words, finish, tokens = read(configured, prompt, spoken(configured, thought + ANSWER), 3)
    assert (words.strip(), finish, tokens) == (first, Finish.LENGTH, 3)


@pytest.mark.parametrize("family", THINKERS, ids=lambda family: family.name)
@pytest.mark.parametrize("read", READERS)
def test_a_thought_without_an_end_is_no_answer(configure: Configure, family: Family, read: Callable[..., Any]) -> None:
    configured = configure(family, generation__max_thought_tokens=12)
    prompt = configured.prompt()
    thought = configured.thought(prompt).partition("Soup")[0]
    for tokens in (spoken(configured, thought + "and on " * 20), spoken(configured, thought)):
        assert read(configured, prompt, tokens, 100) == ("", Finish.THOUGHT, 0)


def test_prompts_leave_room_for_a_thought_if_the_model_thinks(configured: Configured) -> None:
    long = configured.renderer.render([{"role": "user", "content": "soup " * 4000}])
    generation = configured.settings.generation
    room = configured.settings.model.context_tokens - generation.max_new_tokens - long.tokens
    assert long.shortened
    assert room >= (generation.max_thought_tokens if configured.chat.thinks else 0)
    assert room < 1024 + 64 if configured.chat.thinks else room < 64


def test_a_context_without_room_for_a_prompt_names_the_settings(configure: Configure) -> None:
    thinking = next(family for family in FAMILIES if family.name == "r1_distil")
    with pytest.raises(
        EngineStopped,
        match=r"max_new_tokens = 256 and generation\.max_thought_tokens = 1024: raise model\.context_tokens",
    ):
        configure(thinking, model__context_tokens=1200)
    configure(thinking, model__context_tokens=1200, generation__max_thought_tokens=512)
