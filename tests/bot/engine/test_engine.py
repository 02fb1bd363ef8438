from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from bot.chat.prompting import ChatMessage
from bot.engine import (
    SUMMARIES_LANE,
    Completion,
    Engine,
    Finish,
    Generation,
    GenerationFailed,
    GenerationRequest,
    Sampling,
    pairs_lane,
)
from bot.engine.openvino import worker_process
from bot.engine.openvino.engine import OpenVinoEngine
from bot.engine.selection import start_engine as start_chosen_engine
from bot.engine.transformers import engine as transformers_engine
from bot.engine.transformers.engine import LocalEngine
from bot.errors import EngineBusy, EngineClosed, EngineStopped
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel, resolve_base_model
from storage.settings.sections import GenerationSettings, ModelSettings
from tests.bot.engine.conftest import Clock, partial
from tests.seeding import tiny_settings
from tests.tiny_model import build_tiny_base
from tests.verdicts import trust_graphs

POSITIONS = 32_768
"""Of the tiny base: room for an answer that takes longer than any test waits."""
ENDLESS = POSITIONS - 512
StartEngine = Callable[..., Awaitable[Engine]]
MakeEngine = Callable[..., Engine]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp("base")
    return resolve_base_model(str(build_tiny_base(folder / "tiny", POSITIONS)), folder / "data")


@pytest.fixture(scope="module", params=["transformers", "openvino"])
def make_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MakeEngine:
    data = tmp_path_factory.mktemp("data")

    def make(base: BaseModel, *, resident_adapters: int = 4, context_tokens: int = 512, **generation: object) -> Engine:
        model = ModelSettings(
            dtype="float32", context_tokens=context_tokens, resident_adapters=resident_adapters, threads=1
        )
        settings = GenerationSettings.model_validate(generation)
        if request.param == "openvino":
            trust_graphs(base, data, model)
            return OpenVinoEngine(base, data, model, settings)
        return LocalEngine(base.path, model, settings)

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(make_engine: MakeEngine, tiny_base: BaseModel) -> AsyncIterator[Engine]:
    """An engine that tests share, because each start takes seconds: none of them closes it."""
    shared = make_engine(tiny_base)
    await shared.start()
    yield shared
    await shared.close(0.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_by_one(make_engine: MakeEngine, tiny_base: BaseModel) -> AsyncIterator[Engine]:
    """A shared engine that gives one answer at a time; each test ends the answers that it asks for."""
    shared = make_engine(tiny_base, batch_size=1, queue_size=4, context_tokens=POSITIONS)
    await shared.start()
    yield shared
    await shared.close(0.0)


@pytest_asyncio.fixture(loop_scope="module")
async def start_engine(make_engine: MakeEngine, tiny_base: BaseModel) -> AsyncIterator[StartEngine]:
    """For tests that close their engine, or need other settings."""
    async with AsyncExitStack() as stack:

        async def start(base: BaseModel = tiny_base, **settings: object) -> Engine:
            engine = make_engine(base, **settings)
            stack.push_async_callback(engine.close, 0.0)
            await engine.start()
            return engine

        yield start


def request(
    prompt: str = "How are you?",
    *,
    seed: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    penalty: float = 0.0,
    tokens: int = 12,
    adapter: AdapterRef | None = None,
) -> GenerationRequest:
    return GenerationRequest(prompt, seed, Sampling(temperature, top_p, penalty, tokens), adapter)


def endless(lane: int = 0, adapter: AdapterRef | None = None) -> GenerationRequest:
    """Return a request whose answer ends only when it is cancelled; the engine needs a context of POSITIONS."""
    return replace(request(temperature=0.0, tokens=ENDLESS, adapter=adapter), lane=lane)


async def finished(generation: Generation) -> Completion:
    async for _ in generation:
        pass
    return generation.completion


async def answer(engine: Engine, wanted: GenerationRequest) -> str:
    return (await finished(engine.submit(wanted))).text


async def started(generation: Generation) -> None:
    """Wait until the first text has come."""
    await anext(aiter(generation))


async def test_streamed_text_joins_to_the_answer(engine: Engine) -> None:
    generation = engine.submit(request(tokens=60))
    deltas = [delta async for delta in generation]
    completion = generation.completion
    assert "".join(deltas) == completion.text
    assert "\N{REPLACEMENT CHARACTER}" not in completion.text
    assert completion.finish in {Finish.STOP, Finish.LENGTH}
    assert 0 < completion.answer_tokens <= 60
    assert completion.prompt_tokens > 0
    assert completion.queued_s <= (completion.first_token_s or 0.0) <= completion.total_s


async def test_text_comes_before_the_answer_has_ended(one_by_one: Engine) -> None:
    generation = one_by_one.submit(endless())
    texts = [await anext(aiter(generation)) for _ in range(3)]
    generation.cancel()
    assert (await finished(generation)).text.startswith("".join(texts))


async def test_a_seed_repeats_its_answer_and_another_does_not(engine: Engine) -> None:
    first = await answer(engine, request(seed=1))
    assert await answer(engine, request(seed=1)) == first
    assert await answer(engine, request(seed=2)) != first


@pytest.fixture
def full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch waits until it is full."""
    monkeypatch.setattr(transformers_engine, "GATHER_S", 600.0)


async def test_requests_of_one_moment_are_answered_together_whatever_their_lane(
    start_engine: StartEngine, full_batches: None
) -> None:
    engine = await start_engine(batch_size=4, context_tokens=POSITIONS)
    generations = [engine.submit(endless(lane)) for lane in (1, 2, 1, 3)]
    for one in generations:
        await started(one)  # although the others still run
    for one in generations:
        one.cancel()
    assert [(await finished(one)).finish for one in generations] == [Finish.CANCELLED] * 4


async def test_a_batch_leaves_each_answer_as_it_is_alone(engine: Engine) -> None:
    mixed = [
        request("Hi", seed=3, temperature=0.0),
        request("Tell me a joke, please!", seed=4, temperature=0.7, top_p=0.5, penalty=1.3, tokens=20),
        request("What should I eat for lunch today?", seed=5, temperature=2.0, top_p=0.95, tokens=5),
        request("Yes", seed=6, temperature=0.0, penalty=2.0, tokens=30),
    ]
    alone = [await answer(engine, wanted) for wanted in mixed]
    assert await asyncio.gather(*(answer(engine, wanted) for wanted in mixed)) == alone


async def test_a_presence_penalty_keeps_a_greedy_answer_from_looping(engine: Engine) -> None:
    plain = await answer(engine, request(temperature=0.0, tokens=30))
    penalised = await answer(engine, request(temperature=0.0, tokens=30, penalty=2.0))
    assert len(set(penalised)) > len(set(plain))


async def test_a_full_queue_refuses_the_next_request(one_by_one: Engine) -> None:
    running = one_by_one.submit(endless())
    await started(running)
    waiting = [one_by_one.submit(request()) for _ in range(4)]
    assert one_by_one.waiting == 4
    with pytest.raises(EngineBusy) as refused:
        one_by_one.submit(request())
    assert refused.value.waiting == 4
    for one in (*waiting, running):
        one.cancel()
        await finished(one)


async def test_a_cancelled_answer_frees_its_slot(one_by_one: Engine) -> None:
    running = one_by_one.submit(endless())
    await started(running)
    waiting = one_by_one.submit(request())
    running.cancel()
    cut_short = await finished(running)
    assert cut_short.finish is Finish.CANCELLED
    assert 0 < cut_short.answer_tokens < ENDLESS
    assert (await finished(waiting)).finish in {Finish.STOP, Finish.LENGTH}


async def test_a_cancelled_request_leaves_the_queue_at_once(one_by_one: Engine) -> None:
    running = one_by_one.submit(endless())
    await started(running)
    waiting = one_by_one.submit(request())
    waiting.cancel()
    assert one_by_one.waiting == 0
    completion = await finished(waiting)
    assert (completion.text, completion.finish, completion.first_token_s) == ("", Finish.CANCELLED, None)
    running.cancel()
    await finished(running)


async def test_an_answer_ends_at_its_timeout_running_or_waiting(
    start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)  # of this module's event loop
    monkeypatch.setattr(worker_process, "HUNG_S", 3600.0)
    engine = await start_engine(batch_size=1, timeout_s=600.0, context_tokens=POSITIONS)
    running, waiting = (engine.submit(endless()) for _ in range(2))
    await started(running)
    clock.advance(601.0)
    cut_short, never_begun = await finished(running), await finished(waiting)
    assert (cut_short.finish, never_begun.finish) == (Finish.TIMEOUT, Finish.TIMEOUT)
    assert cut_short.answer_tokens > 0
    assert never_begun.answer_tokens == 0


async def test_each_version_answers_in_its_own_words(engine: Engine, adapters: list[AdapterRef]) -> None:
    def asked(adapter: AdapterRef | None) -> GenerationRequest:
        long = "Tell me a joke, please! " * 20  # several blocks of a cache, which versions do not share
        return request(long, temperature=0.0, adapter=adapter)

    choices = [None, adapters[0], adapters[1]]
    alone = [await answer(engine, asked(adapter)) for adapter in choices]
    assert len(set(alone)) == 3
    mixed = [None, *adapters, *reversed(adapters), None]
    together = await asyncio.gather(*(answer(engine, asked(adapter)) for adapter in mixed))
    assert together == [alone[choices.index(adapter)] for adapter in mixed]


async def test_an_adapter_counts_as_much_as_its_strength(engine: Engine, adapters: list[AdapterRef]) -> None:
    strong = replace(adapters[0], strength=0.5)
    nothing, half, whole = [
        await answer(engine, request(temperature=0.0, adapter=replace(adapters[0], strength=strength)))
        for strength in (0.0, 0.5, 1.0)
    ]
    assert nothing == await answer(engine, request(temperature=0.0))
    assert whole == await answer(engine, request(temperature=0.0, adapter=adapters[0]))
    assert len({nothing, half, whole}) == 3
    # Both strengths at once, each in its own batch.
    together = [request(temperature=0.0, adapter=adapter) for adapter in (strong, adapters[0], strong)]
    assert await asyncio.gather(*(answer(engine, wanted) for wanted in together)) == [half, whole, half]


async def test_a_busy_lane_neither_starves_nor_fills_the_queue_of_another(
    one_by_one: Engine, adapters: list[AdapterRef]
) -> None:
    engine = one_by_one
    await answer(engine, request())  # both versions are in memory
    running = engine.submit(endless(adapter=adapters[0]))
    await started(running)
    order: list[str] = []

    async def read(name: str, generation: Generation) -> None:
        await finished(generation)
        order.append(name)

    crowd = [engine.submit(request(temperature=0.0, tokens=3, adapter=adapters[0])) for _ in range(4)]
    with pytest.raises(EngineBusy):
        engine.submit(request(adapter=adapters[0]))
    other = engine.submit(replace(request(temperature=0.0, tokens=3), lane=7))
    readers = [asyncio.create_task(read("crowd", one)) for one in crowd] + [asyncio.create_task(read("other", other))]
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(*readers)
    assert order == ["other", "crowd", "crowd", "crowd", "crowd"]


async def test_answers_pairs_and_summaries_wait_in_lanes_of_their_own() -> None:
    personalities = range(1, 20)
    lanes = [SUMMARIES_LANE, *personalities, *map(pairs_lane, personalities)]
    assert len(set(lanes)) == len(lanes)


async def test_a_broken_adapter_fails_its_own_request_only(
    engine: Engine, adapters: list[AdapterRef], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = await answer(engine, request(temperature=0.0))
    half = tmp_path / "half"
    half.mkdir()
    (half / "adapter_config.json").write_bytes((adapters[0].path / "adapter_config.json").read_bytes())
    (half / "adapter_model.safetensors").write_bytes(b"torn")
    broken = [AdapterRef("missing", tmp_path / "missing"), AdapterRef("half", half)]
    for tried in (broken[0], adapters[0], broken[1]):
        generations = [engine.submit(request(temperature=0.0, adapter=adapter)) for adapter in (tried, None)]
        if tried in broken:
            with pytest.raises(GenerationFailed):
                await finished(generations[0])
        else:
            assert (await finished(generations[0])).text != base
        assert (await finished(generations[1])).text == base
    assert "cannot answer" in caplog.text or "answers failed" in caplog.text


async def test_an_adapter_of_another_shape_is_refused(
    engine: Engine, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    with pytest.raises(GenerationFailed, match="does not fit the base model"):
        await answer(engine, request(adapter=partial(adapters[0], tmp_path / "partial")))


async def test_closing_lets_accepted_answers_finish(start_engine: StartEngine) -> None:
    engine = await start_engine(batch_size=1)
    generations = [engine.submit(request(seed=seed)) for seed in range(3)]
    await engine.close(drain_s=60.0)
    completions = [await finished(generation) for generation in generations]
    assert all(completion.finish in {Finish.STOP, Finish.LENGTH} for completion in completions)
    with pytest.raises(EngineClosed):
        engine.submit(request())


async def test_closing_cancels_what_is_left_after_the_drain(start_engine: StartEngine) -> None:
    engine = await start_engine(batch_size=1, context_tokens=POSITIONS)
    generations = [engine.submit(endless()) for _ in range(2)]
    await started(generations[0])
    await engine.close(drain_s=0.0)
    assert [(await finished(one)).finish for one in generations] == [Finish.CANCELLED, Finish.CANCELLED]


async def test_a_folder_without_a_model_fails_the_start(make_engine: MakeEngine, tmp_path: Path) -> None:
    engine = make_engine(BaseModel("none", tmp_path, "0", "LlamaForCausalLM"))
    with pytest.raises(EngineStopped, match=r"the tokenizer in .* cannot be loaded|cannot serve"):
        await engine.start()
    with pytest.raises(EngineClosed):
        engine.submit(request())
    await engine.close(drain_s=0.0)


async def test_rendering_drops_the_oldest_turns_beyond_the_window(engine: Engine) -> None:
    old: list[ChatMessage] = [{"role": "user", "content": "zebra " * 400}, {"role": "assistant", "content": "Yes."}]
    newest: ChatMessage = {"role": "user", "content": "How are you?"}
    rendered = await engine.render([*old, newest])
    assert rendered.messages == (newest,)
    assert (rendered.dropped, rendered.shortened) == (2, False)
    assert rendered.text == "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"
    assert (await finished(engine.submit(request(rendered.text)))).prompt_tokens == rendered.tokens


async def test_a_context_longer_than_the_models_is_cut_to_it(
    start_engine: StartEngine, base: BaseModel, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await start_engine(base, context_tokens=2048, max_new_tokens=12)
    assert "The base model supports only 512 tokens, not model.context_tokens = 2048" in caplog.text
    rendered = await engine.render([{"role": "user", "content": "zebra " * 2000}])
    assert rendered.shortened
    assert 480 < rendered.tokens <= 500
    assert (await finished(engine.submit(request(rendered.text, tokens=12)))).answer_tokens > 0


async def test_a_library_that_cannot_be_imported_is_named_and_not_the_model(
    make_engine: MakeEngine, tiny_base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    engine = make_engine(tiny_base, context_tokens=512, max_new_tokens=12)
    with pytest.raises(EngineStopped, match=r"^transformers cannot be imported .*: reinstall it with pip$"):
        await engine.start()
    await engine.close(drain_s=0.0)


async def test_answers_longer_than_the_models_context_fail_the_start(make_engine: MakeEngine, base: BaseModel) -> None:
    engine = make_engine(base, context_tokens=2048, max_new_tokens=512)
    with pytest.raises(
        EngineStopped, match=r"512 tokens leaves no room for a prompt with generation.max_new_tokens = 512"
    ):
        await engine.start()
    await engine.close(drain_s=0.0)


async def test_closing_while_the_model_loads_ends_it(make_engine: MakeEngine, tiny_base: BaseModel) -> None:
    engine = make_engine(tiny_base)
    starting = asyncio.create_task(engine.start())
    await asyncio.sleep(0)
    await asyncio.wait_for(engine.close(drain_s=0.0), timeout=60)
    await starting
    with pytest.raises(EngineClosed):
        engine.submit(request())


async def test_a_system_prompt_that_fills_the_context_stops_the_start(base: BaseModel, tmp_path: Path) -> None:
    plain = tiny_settings(tmp_path, base.path)
    model = plain.model.model_copy(update={"engine": "transformers", "dtype": "float32", "context_tokens": 64})
    generation = plain.generation.model_copy(update={"max_new_tokens": 60})
    with pytest.raises(
        EngineStopped, match=r"^chat\.system_prompt leaves no room .* raise model\.context_tokens = 64, "
    ):
        await start_chosen_engine(plain.model_copy(update={"model": model, "generation": generation}), base)
