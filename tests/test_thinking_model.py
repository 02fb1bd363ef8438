"""A model that thinks although it is told not to: members, the taste and rounds get its answer alone."""

from __future__ import annotations

import pytest

from bot.engine import Completion, Engine, Finish, GenerationRequest, Sampling
from bot.engine.selection import start_engine
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.chat_format import load_chat_format
from storage.models.hardware import silence_transformers
from storage.models.memory import NumberFormat
from storage.settings.sections import ModelSettings, Settings
from tests.families import build_family
from tests.seeding import tiny_settings
from tests.trainer.contexts import serving_of
from tests.trainer.evaluation.test_evaluate import teach
from tests.verdicts import trust_graphs
from trainer.base import RoundBase
from trainer.evaluation.sampling import GraphSampler, Sampler

QUESTION = "How are you today?"
THOUGHT = "<think>\nTell me a joke, please!\n</think>\n\n"
ANSWER = "I am fine, thank you."
GREEDY = {"temperature": 0.0, "presence_penalty": 0.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp("thinker")
    path = build_family("qwen3", folder / "qwen3")
    sampler = Sampler.load(
        RoundBase(resolve_base_model(str(path), folder / "first"), ModelSettings()), None, NumberFormat("float32")
    )
    with silence_transformers():
        teach(sampler.model, sampler.tokenizer, f"{THOUGHT}{ANSWER}<|im_end|>", steps=100, learning_rate=1e-2)
        sampler.model.save_pretrained(path)
    return resolve_base_model(str(path), folder / "data")


@pytest.fixture(params=["transformers", "openvino"])
def settings(base: BaseModel, request: pytest.FixtureRequest) -> Settings:
    plain = tiny_settings(base.path.parent / "data", base.path)
    model = plain.model.model_copy(update={"engine": request.param, "dtype": "float32", "context_tokens": 512})
    trust_graphs(base, plain.data.directory, model)
    generation = plain.generation.model_copy(update={**GREEDY, "max_new_tokens": 40, "max_thought_tokens": 60})
    return plain.model_copy(update={"model": model, "generation": generation})


async def ask(engine: Engine, max_new_tokens: int = 40) -> tuple[list[str], Completion]:
    """Return the pieces that are shown, and the answer."""
    prompt = await engine.render([{"role": "user", "content": QUESTION}])
    assert prompt.text.endswith("</think>\n\n"), "thinking is off"
    sampling = Sampling(**GREEDY, top_p=1.0, max_new_tokens=max_new_tokens)
    generation = engine.submit(GenerationRequest(prompt.text, 1, sampling, None))
    return [piece async for piece in generation], generation.completion


async def test_the_thought_is_neither_shown_nor_counted(base: BaseModel, settings: Settings) -> None:
    engine = await start_engine(settings, base)
    try:
        pieces, whole = await ask(engine)
        _, cut = await ask(engine, max_new_tokens=3)
    finally:
        await engine.close(0.0)
    assert "".join(pieces) == whole.text == ANSWER
    sampled = serving_of(settings, base).open(None)
    assert isinstance(sampled, GraphSampler if settings.model.engine == "openvino" else Sampler)
    chat = Sampler.load(RoundBase(base, ModelSettings()), None, NumberFormat("float32")).chat
    prompt = chat.render([{"role": "user", "content": QUESTION}])
    (sample,) = sampled.answer([prompt], settings.generation, seed=1)
    spoken = chat.token_ids(ANSWER)
    assert (whole.finish, whole.answer_tokens) == (Finish.STOP, len(spoken))
    assert (cut.text, cut.finish, cut.answer_tokens) == (chat.decode(spoken[:3]), Finish.LENGTH, 3)
    assert (sample.text, sample.is_cut, list(sample.answer_ids)) == (ANSWER, False, [*spoken, chat.end_of_turn])


async def test_a_thought_that_reaches_its_limit_is_no_answer(base: BaseModel, settings: Settings) -> None:
    few = settings.generation.model_copy(update={"max_thought_tokens": 4})
    engine = await start_engine(settings.model_copy(update={"generation": few}), base)
    try:
        pieces, completion = await ask(engine)
    finally:
        await engine.close(0.0)
    assert (pieces, completion.finish, completion.answer_tokens) == ([], Finish.THOUGHT, 0)


def test_rounds_plan_for_no_thought_and_have_the_bots_room_for_one(base: BaseModel, settings: Settings) -> None:
    chat = load_chat_format(base.path, settings.model.template_options)
    prompt, done = chat.render([{"role": "user", "content": QUESTION}]), list[float]()
    (whole,) = serving_of(settings, base).open(None).answer([prompt], settings.generation, 1, done.append)
    assert (whole.text, min(filter(None, done))) == (ANSWER, 1 / 40), "the first of 40 tokens"
    few = settings.model.model_copy(update={"context_tokens": len(chat.token_ids(prompt)) + 40 + 4})
    narrow = serving_of(settings.model_copy(update={"model": few}), base).open(None)
    (cut,) = narrow.answer([prompt], settings.generation, 1)
    assert (cut.text, cut.is_cut) == ("", True), "a thought of 4 tokens"
