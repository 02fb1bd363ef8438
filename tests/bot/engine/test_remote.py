"""The remote engine against a server that keeps vLLM's recorded contract, and breaks it as servers do."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from safetensors.numpy import save_file

from bot.engine import Completion, Finish, Generation, GenerationFailed
from bot.engine.refusals import WAIT_S
from bot.engine.remote.adapter_loading import LlamaCppVersions
from bot.engine.remote.engine import RemoteEngine
from bot.engine.selection import start_engine
from bot.errors import EngineBusy, EngineClosed, ServersUnreachable, SpentForToday, VersionRefused
from bot.model_server import RefusedByServer
from bot.operations.alerts import local_alerts
from bot.operations.health import HealthCheck
from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.database.columns import utc_now
from storage.database.database import Database, open_database
from storage.models.base_model import BaseModel, load_tokenizer
from storage.models.effect import EffectRecord, write_effect
from storage.models.gguf import gguf_name
from storage.operations.token_spend import Spend, add_spend, spent_on
from storage.settings.loading import load_settings
from storage.settings.sections import RemoteSettings
from tests.bot.engine.conftest import Clock, settings_for
from tests.bot.engine.test_engine import answer, finished, request, started
from tests.families import BY_NAME, save_tokenizer
from tests.remote_server import (
    BASE_NAME,
    WORDS,
    Fault,
    RemoteServer,
    Stream,
    dies_after,
    fails_with,
    falls_silent_after,
    running,
    says,
    waits_for,
)

WHOLE = "".join(WORDS)
OF_BASE = f"{BASE_NAME}: {WHOLE}"
SILENCE_S = 100.0
"""Longer than the settings of these tests allow a server to be silent."""
StartEngine = Callable[..., Awaitable[RemoteEngine]]


@pytest.fixture(scope="module")
def count(base: BaseModel) -> Callable[[str], int]:
    tokenizer = load_tokenizer(base.path)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.fixture
def adapters(tmp_path: Path) -> list[AdapterRef]:
    return [write_adapter(tmp_path / f"adapter-{number}", f"{number}" * 64) for number in range(3)]


def write_adapter(folder: Path, digest: str) -> AdapterRef:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 32.0, "r": 16, "target_modules": ["q_proj"]}))
    up = np.full((2, 2), int(digest[0]) + 1, np.float32)
    save_file({"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": up}, folder / WEIGHTS_FILE)
    return AdapterRef(digest, folder)


def record(adapter: AdapterRef, change: float) -> None:
    """Let the trainer have measured that the version changes every token by this much, in nats."""
    effect = EffectRecord(tuple(range(5, 25)), (-2.0,) * 19, (-2.0 + change,) * 19)
    write_effect(adapter.path, effect)


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path) -> Database:
    (tmp_path / "data").mkdir()
    shutil.copyfile(migrated_file, tmp_path / "data" / "reactune.db")
    return open_database(load_settings(environment={"REACTUNE_DATA__DIRECTORY": str(tmp_path / "data")}))


@pytest.fixture
async def start(
    base: BaseModel, tmp_path: Path, database: Database, count: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartEngine]:
    monkeypatch.setattr("bot.engine.remote.engine.LOOK_AGAIN_S", 0.05)
    async with AsyncExitStack() as stack:

        async def begin(server: RemoteServer, **changes: object) -> RemoteEngine:
            server.count = count
            if not server.url:
                await stack.enter_async_context(running(server))
            engine = RemoteEngine(base, settings_for(tmp_path / "data", server.url, **changes), database)
            stack.push_async_callback(engine.close, 0.0)
            await engine.start()
            return engine

        yield begin
    database.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # the servers' side has no event for it
            await asyncio.sleep(0.005)


async def outwait(generation: Generation, text: str, clock: Clock) -> Completion:
    """Read the answer up to where its server falls silent, let the server's time run out, and return what came."""
    shown = ""
    while shown != text:
        shown += await anext(aiter(generation))
    clock.advance(SILENCE_S)
    return await finished(generation)


async def read_into(shown: list[str], generation: Generation) -> None:
    async for delta in generation:
        shown.append(delta)


# Answers


async def test_an_answer_streams_and_is_counted(start: StartEngine) -> None:
    server = RemoteServer()
    engine = await start(server)
    generation = engine.submit(request("How are you?", seed=7, temperature=0.5, top_p=0.8, penalty=1.5, tokens=40))
    deltas = [delta async for delta in generation]
    completion = generation.completion
    assert "".join(deltas) == completion.text == OF_BASE
    assert completion.finish is Finish.STOP
    assert completion.answer_tokens == 1 + len(WORDS)
    assert completion.prompt_tokens == server.count("How are you?")
    assert completion.queued_s <= (completion.first_token_s or 0.0) <= completion.total_s
    (asked,) = server.asked()
    assert asked["prompt"] == "How are you?"
    assert asked["add_special_tokens"] is False
    assert (asked["model"], asked["seed"], asked["max_tokens"]) == (BASE_NAME, 7, 40)
    assert (asked["temperature"], asked["top_p"], asked["presence_penalty"]) == (0.5, 0.8, 1.5)
    assert (asked["top_k"], asked["min_p"], asked["repetition_penalty"]) == (-1, 0.0, 1.0), "no defaults of the model's"
    assert asked["stop_token_ids"] == [2]


async def test_an_answer_may_end_at_its_length(start: StartEngine) -> None:
    engine = await start(RemoteServer())
    completion = await finished(engine.submit(request(tokens=3)))
    assert (completion.finish, completion.answer_tokens) == (Finish.LENGTH, 3)


async def test_a_server_that_reads_other_tokens_is_reported_once(
    start: StartEngine, caplog: pytest.LogCaptureFixture
) -> None:
    server = RemoteServer()
    engine = await start(server)
    server.count = lambda _text: 99
    for _ in range(2):
        await answer(engine, request("Hi"))
    assert caplog.text.count("read 99 tokens, but model.base's tokenizer counts") == 1


async def test_cancelling_closes_the_connection_so_that_the_server_stops(start: StartEngine) -> None:
    server = RemoteServer()
    server.always = waits_for(asyncio.Event())
    engine = await start(server)
    generation = engine.submit(request(tokens=40))
    await started(generation)
    generation.cancel()
    completion = await finished(generation)
    assert completion.finish is Finish.CANCELLED
    assert completion.text
    assert completion.answer_tokens > 0
    await until(lambda: server.left == 1)


async def test_answers_that_are_cancelled_at_once_leave_their_places(start: StartEngine) -> None:
    server = RemoteServer()
    engine = await start(server, generation__batch_size=2)
    for _ in range(6):
        generation = engine.submit(request())
        generation.cancel()
        assert (await finished(generation)).finish is Finish.CANCELLED
    assert await answer(engine, request()) == OF_BASE
    await asyncio.sleep(0)
    assert engine._running == 0


async def test_an_answer_ends_at_its_timeout_running_or_waiting(start: StartEngine, clock: Clock) -> None:
    server = RemoteServer()
    server.always = waits_for(asyncio.Event())
    engine = await start(server, generation__timeout_s=30, generation__batch_size=1)
    generations = [engine.submit(request()) for _ in range(2)]
    await started(generations[0])
    clock.advance(31.0)
    first, second = [await finished(one) for one in generations]
    assert (first.finish, second.finish) == (Finish.TIMEOUT, Finish.TIMEOUT)
    assert first.text.startswith(BASE_NAME)
    assert (second.text, second.prompt_tokens) == ("", 0)


async def test_lanes_take_turns_and_their_queues_are_bounded(start: StartEngine) -> None:
    server, released = RemoteServer(), asyncio.Event()
    server.faults.append(waits_for(released))
    engine = await start(server, generation__batch_size=1, generation__queue_size=3)
    order: list[str] = []

    async def read(name: str, generation: Generation) -> None:
        await finished(generation)
        order.append(name)

    running_one = engine.submit(request())
    await started(running_one)
    crowd = [engine.submit(request()) for _ in range(3)]
    with pytest.raises(EngineBusy):
        engine.submit(request())
    other = engine.submit(replace(request(), lane=7))
    released.set()
    await asyncio.gather(*(read("crowd", one) for one in crowd), read("other", other))
    assert order == ["other", "crowd", "crowd", "crowd"]


async def test_closing_lets_accepted_answers_finish_and_refuses_new_ones(start: StartEngine) -> None:
    engine = await start(RemoteServer())
    generation = engine.submit(request())
    await engine.close(drain_s=60.0)
    assert (await finished(generation)).text == OF_BASE
    with pytest.raises(EngineClosed):
        engine.submit(request())


async def test_closing_cancels_what_is_left_after_the_drain(start: StartEngine) -> None:
    server = RemoteServer()
    server.always = falls_silent_after(1)
    engine = await start(server, generation__batch_size=1)
    generations = [engine.submit(request()) for _ in range(2)]
    await started(generations[0])
    await engine.close(drain_s=0.0)
    assert [(await finished(one)).finish for one in generations] == [Finish.CANCELLED] * 2


async def test_the_key_is_shown_to_the_server_and_to_nobody_else(
    start: StartEngine, caplog: pytest.LogCaptureFixture
) -> None:
    server = RemoteServer(key="sk-secret")
    assert await answer(await start(server, key="sk-secret"), request()) == OF_BASE
    with pytest.raises(ServersUnreachable):
        (await start(server, key="sk-wrong")).submit(request())
    assert "refuses with status 401: Unauthorized; set its key as REMOTE_API_KEY" in caplog.text
    assert "sk-" not in caplog.text


# Versions


async def test_each_version_answers_in_its_own_words(start: StartEngine, adapters: list[AdapterRef]) -> None:
    server = RemoteServer()
    engine = await start(server)
    choices = [None, adapters[0], replace(adapters[0], strength=0.5), adapters[1]]
    told = await asyncio.gather(*(answer(engine, request(adapter=adapter)) for adapter in choices))
    names = [BASE_NAME, f"reactune-{'0' * 16}", f"reactune-{'0' * 16}-x0.5", f"reactune-{'1' * 16}"]
    assert list(told) == [f"{name}: {WHOLE}" for name in names]
    scales = {name: json.loads((Path(server.adapters[name]) / "adapter_config.json").read_text()) for name in names[1:]}
    assert [scales[name]["lora_alpha"] for name in names[1:]] == [32.0, 16.0, 32.0]
    copy = Path(server.adapters[names[2]]) / WEIGHTS_FILE
    assert copy.read_bytes() == (adapters[0].path / WEIGHTS_FILE).read_bytes()


async def test_a_prepared_version_waits_on_the_server(start: StartEngine, adapters: list[AdapterRef]) -> None:
    server = RemoteServer()
    engine = await start(server)
    engine.prepare(adapters[0])
    engine.prepare(None)
    await until(lambda: server.adapters)
    await answer(engine, request(adapter=adapters[0]))
    assert len(server.asked("/v1/load_lora_adapter")) == 1


async def test_servers_may_see_the_folder_elsewhere(
    start: StartEngine, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    server = RemoteServer()
    (tmp_path / "mnt").symlink_to(tmp_path / "data" / "served")
    engine = await start(server, adapter_path=tmp_path / "mnt")
    await answer(engine, request(adapter=adapters[0]))
    assert server.asked("/v1/load_lora_adapter")[0]["lora_path"] == f"{tmp_path}/mnt/reactune-{'0' * 16}"


async def test_a_version_that_another_bot_has_loaded_is_used(start: StartEngine, adapters: list[AdapterRef]) -> None:
    server = RemoteServer()
    engine = await start(server)
    server.adapters[f"reactune-{'0' * 16}"] = "/elsewhere"  # since the server was looked at
    assert WHOLE in await answer(engine, request(adapter=adapters[0]))


async def test_a_restarted_server_loads_its_versions_again(
    start: StartEngine, adapters: list[AdapterRef], caplog: pytest.LogCaptureFixture
) -> None:
    server = RemoteServer()
    engine = await start(server)
    first = await answer(engine, request(adapter=adapters[0]))
    server.adapters.clear()
    assert await answer(engine, request(adapter=adapters[0])) == first
    assert "has lost a version and loads it again" in caplog.text


async def test_the_least_recently_used_version_makes_room(start: StartEngine, adapters: list[AdapterRef]) -> None:
    server = RemoteServer()
    engine = await start(server, model__resident_adapters=2)
    server.adapters["of the operator"] = "/lora"
    for adapter in (adapters[0], adapters[1], adapters[0], adapters[2]):
        await answer(engine, request(adapter=adapter))
    assert set(server.adapters) == {"of the operator", f"reactune-{'0' * 16}", f"reactune-{'2' * 16}"}


async def test_a_version_in_use_is_not_unloaded(start: StartEngine, adapters: list[AdapterRef]) -> None:
    server, released = RemoteServer(), asyncio.Event()
    server.faults.append(waits_for(released))
    engine = await start(server, model__resident_adapters=1)
    long = engine.submit(request(adapter=adapters[0]))
    await started(long)
    assert WHOLE in await answer(engine, request(adapter=adapters[1]))
    released.set()
    assert WHOLE in (await finished(long)).text
    assert len(server.asked("/v1/unload_lora_adapter")) == 0


@pytest.mark.parametrize(
    ("on_load", "sentence"),
    [
        ("no adapter there", "set remote.adapter_path to its path there"),
        ("cannot load", r"LoRA rank 64 is greater than max_lora_rank 16.*--max-lora-rank"),
    ],
)
async def test_a_version_that_cannot_be_loaded_fails_its_own_answer_and_says_what_to_do(
    start: StartEngine, adapters: list[AdapterRef], on_load: str, sentence: str
) -> None:
    server = RemoteServer()
    server.on_load = on_load
    engine = await start(server)
    broken, sound = engine.submit(request(adapter=adapters[0])), engine.submit(request())
    with pytest.raises(GenerationFailed, match=sentence):
        await finished(broken)
    assert (await finished(sound)).text == OF_BASE


async def test_a_version_that_cannot_be_loaded_is_given_up_only_if_a_later_attempt_fails_too(
    start: StartEngine, adapters: list[AdapterRef], clock: Clock
) -> None:
    def may_pass() -> bool | None:
        refusal = engine.refusal_of(adapters[0])
        return refusal.may_pass if refusal else None

    async def fail() -> None:
        with pytest.raises(GenerationFailed):
            await answer(engine, request(adapter=adapters[0]))

    server = RemoteServer()
    server.on_load = "cannot load"
    engine = await start(server)
    await fail()
    await fail()
    assert may_pass() is True
    clock.advance(WAIT_S + 1)
    assert may_pass() is None
    await fail()
    assert may_pass() is False
    server.on_load = None
    await answer(engine, request(adapter=adapters[0]))
    assert may_pass() is None


async def test_a_proxy_whose_server_restarts_refuses_no_version(start: StartEngine, adapters: list[AdapterRef]) -> None:
    server = RemoteServer()
    server.is_behind_proxy = True
    engine = await start(server)
    with pytest.raises(GenerationFailed, match=r"fails with status 502: Bad Gateway$") as failure:
        await answer(engine, request(adapter=adapters[0]))
    assert not isinstance(failure.value.__cause__, VersionRefused)
    assert engine.refusal_of(adapters[0]) is None


async def test_a_server_without_updates_at_run_time_says_how_to_start_it(
    start: StartEngine, adapters: list[AdapterRef]
) -> None:
    engine = await start(RemoteServer(updates_adapters=False))
    with pytest.raises(GenerationFailed, match="start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=T"):
        await answer(engine, request(adapter=adapters[0]))


async def test_an_answer_of_another_version_is_rejected(start: StartEngine, adapters: list[AdapterRef]) -> None:
    server = RemoteServer()
    engine = await start(server)

    async def confuse(_server: object, _request: object, stream: object) -> None:
        stream.model = BASE_NAME  # type: ignore[attr-defined]

    server.always = confuse  # type: ignore[assignment]
    with pytest.raises(GenerationFailed, match=f"answers as {BASE_NAME}, but reactune-0000"):
        await answer(engine, request(adapter=adapters[0]))


# What a version answers is the version's


@pytest.mark.threat("T64")
async def test_a_version_that_answers_as_the_base_fails_with_what_to_do_and_admins_are_alerted(
    start: StartEngine, adapters: list[AdapterRef], clock: Clock
) -> None:
    server = RemoteServer()
    server.applies_adapters = False
    record(adapters[0], 0.5)
    engine = await start(server)
    sentence = (
        rf"{server.url} has reactune-0+, but answers as the bare base \(0% of the change that the trainer measured\): "
        r"vLLM ignores what does not fit its own names in an adapter \(its issues 34186, 41754 and 34591\); serve"
    )
    for _ in range(2):
        with pytest.raises(GenerationFailed, match=sentence) as failure:
            await answer(engine, request(adapter=adapters[0]))
        assert isinstance(failure.value.__cause__, VersionRefused)
    refusal = engine.refusal_of(adapters[0])
    assert refusal is not None
    assert "answers as the bare base" in refusal.reason
    assert not refusal.may_pass, "it was measured"
    assert engine.refusal_of(adapters[2]) is None
    with pytest.raises(GenerationFailed, match="answers exactly as the bare base"):
        await answer(engine, request(adapter=adapters[1]))
    assert len(server.measured()) == 4, "each version once, and the base beside it"
    assert await answer(engine, request()) == OF_BASE
    (alert,) = local_alerts(HealthCheck("disk", ok=True, message=""), engine.state(), [])
    assert "answers as the bare base" in alert.message
    assert "/version rollback" in alert.remedy
    clock.advance(301.0)
    assert engine.refusal_of(adapters[0]) is None, "it may be asked again"
    clock.advance(3300.0)
    assert engine.state().refused_versions == "", "nobody asks for it any more"


class LlamaServer:
    """llama.cpp's server with one adapter, as far as it is asked what the adapter changes."""

    url = "http://llama"

    def __init__(self, file: str, *, changes: float) -> None:
        self.file, self.changes = file, changes

    async def get(self, _path: str, _timeout_s: float) -> list[dict[str, Any]]:
        return [{"id": 0, "path": self.file, "scale": 1.0}]

    async def post(self, _path: str, body: dict[str, Any], _timeout_s: float) -> dict[str, Any]:
        logp = -2.0 + self.changes * body["lora"][0]["scale"]
        return {"completion_probabilities": [{"id": token, "logprob": logp} for token in range(6, 25)]}


async def test_a_llama_server_that_was_restarted_with_another_file_is_checked_again(
    adapters: list[AdapterRef],
) -> None:
    adapter, settings = adapters[0], RemoteSettings(kind="llama.cpp", url="http://llama")
    record(adapter, 0.5)
    server = LlamaServer(gguf_name(adapter), changes=0.0)
    versions = LlamaCppVersions(server, settings, lambda _text: ())  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(RefusedByServer, match="answers as the bare base"):
            await versions.naming(adapter).__aenter__()
    server.file, server.changes = f"again/{server.file}", 0.5
    async with versions.naming(adapter) as fields:
        assert fields["lora"] == [{"id": 0, "scale": 1.0}]


async def test_a_llama_server_that_reads_the_long_prompt_of_another_member_is_waited_for(
    start: StartEngine, clock: Clock
) -> None:
    """Until it has read that prompt, it lists no adapters."""
    asked: list[str] = []
    is_reading, has_read = asyncio.Event(), asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == "/lora-adapters":
            is_reading.set()
            await has_read.wait()
        elif request.path == "/v1/completions":
            stream = Stream(request, BASE_NAME, len)
            await stream.word("Hello", "stop")
            return await stream.open()
        return web.json_response([])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    async with TestServer(app) as busy:
        server = RemoteServer()
        server.url = str(busy.make_url("")).rstrip("/")
        engine = await start(server, kind="llama.cpp", connect_timeout_s=5)
        asked.clear()
        answering = asyncio.create_task(answer(engine, request()))
        await is_reading.wait()
        clock.advance(20.0)
        await asyncio.sleep(0)
        has_read.set()
        assert await answering == "Hello"
        assert asked == ["/lora-adapters", "/v1/completions"]
        await engine.close(0.0)


async def test_a_version_is_checked_again_after_each_load(
    start: StartEngine, adapters: list[AdapterRef], caplog: pytest.LogCaptureFixture
) -> None:
    server = RemoteServer()
    server.adapters[f"reactune-{'0' * 16}"] = "/elsewhere"  # before this bot started
    engine = await start(server)
    for _ in range(2):
        assert WHOLE in await answer(engine, request(adapter=adapters[0]))
    assert server.measured() == [f"reactune-{'0' * 16}", BASE_NAME]
    server.adapters.clear()
    server.applies_adapters = False  # another release of vLLM
    with pytest.raises(GenerationFailed, match="answers exactly as the bare base"):
        await answer(engine, request(adapter=adapters[0]))
    assert "has lost a version and loads it again" in caplog.text


async def test_a_server_with_another_adapter_under_the_versions_name_is_refused(
    start: StartEngine, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    server = RemoteServer()
    record(adapters[0], 0.5)
    record(adapters[1], 2.0)
    server.adapters[f"reactune-{'0' * 16}"] = str(adapters[1].path)
    engine = await start(server)
    with pytest.raises(GenerationFailed, match=r"answers otherwise than the trainer measured \(400% of"):
        await answer(engine, request(adapter=adapters[0]))


async def test_versions_of_a_server_without_log_probabilities_answer_unchecked_and_the_log_says_so_once(
    start: StartEngine, adapters: list[AdapterRef], caplog: pytest.LogCaptureFixture
) -> None:
    server = RemoteServer()
    server.tells_log_probabilities = False
    engine = await start(server)
    for adapter in adapters[:2]:
        assert WHOLE in await answer(engine, request(adapter=adapter))
    assert caplog.text.count(f"Versions cannot be checked: {server.url} returns no log-probabilities") == 1


async def test_servers_of_any_other_kind_serve_the_base_alone(start: StartEngine, adapters: list[AdapterRef]) -> None:
    engine = await start(RemoteServer(), kind="openai")
    with pytest.raises(GenerationFailed, match="serves only the base"):
        await answer(engine, request(adapter=adapters[0]))


# Failures


@pytest.mark.parametrize(
    "fault",
    [
        fails_with(500),
        fails_with(502),
        dies_after(0),
        says(b"data: {oops\n\n"),
        says(b"data: [1]\n\n"),
        says(b'data: {"choices": 5}\n\n'),
        says(b'data: {"error": {"message": "out of memory"}}\n\n', b"data: [DONE]\n\n"),
        says(b"data: [DONE]\n\n"),
        says(b"data: " + b"x" * 300_000 + b"\n\n"),
        says(b""),
        says(b"\xff\xfe\n"),
    ],
    ids=["500", "502", "dead", "torn", "list", "number", "error", "empty", "endless", "nothing", "bytes"],
)
async def test_a_request_that_fails_before_its_first_word_is_sent_again(start: StartEngine, fault: object) -> None:
    server = RemoteServer()
    server.faults.extend([fault] * 2)  # type: ignore[list-item]
    engine = await start(server)
    assert await answer(engine, request()) == OF_BASE
    server.faults.extend([fault] * 3)  # type: ignore[list-item]
    with pytest.raises(GenerationFailed):
        await answer(engine, request())
    assert len(server.asked()) == 6
    assert engine.state().failure_reason == "", "it says that it is well"


async def test_a_server_that_says_nothing_is_asked_again(start: StartEngine, clock: Clock) -> None:
    server = RemoteServer()
    server.faults.append(falls_silent_after(0))
    engine = await start(server)
    asking = asyncio.create_task(answer(engine, request()))
    await until(server.asked)
    clock.advance(SILENCE_S)
    assert await asking == OF_BASE


@pytest.mark.parametrize(
    "fault",
    [dies_after(2), says(b"data: {oops\n\n", words=2), says(b'data: {"error": "dead"}\n\n', words=2), says(words=2)],
    ids=["reset", "torn", "error", "half"],
)
async def test_a_partly_shown_answer_is_not_started_again(start: StartEngine, fault: Fault) -> None:
    server = RemoteServer()
    server.faults.append(fault)
    engine = await start(server)
    generation = engine.submit(request())
    shown: list[str] = []
    with pytest.raises(GenerationFailed):
        await read_into(shown, generation)
    assert "".join(shown) == "one two "
    assert len(server.asked()) == 1


async def test_a_server_that_falls_silent_ends_its_answer_with_what_came(start: StartEngine, clock: Clock) -> None:
    server = RemoteServer()
    server.faults.append(falls_silent_after(2))
    engine = await start(server)
    completion = await outwait(engine.submit(request()), "one two ", clock)
    assert (completion.text, completion.finish, completion.answer_tokens) == ("one two ", Finish.TIMEOUT, 2)
    await until(lambda: server.left == 1)
    assert await answer(engine, request()) == OF_BASE


async def test_a_server_that_never_begins_is_given_up_in_time(start: StartEngine) -> None:
    server = RemoteServer()
    server.always = falls_silent_after(0)
    engine = await start(server, first_token_timeout_s=0.05, generation__timeout_s=0.5)
    completion = await finished(engine.submit(request()))
    assert (completion.text, completion.finish) == ("", Finish.TIMEOUT)


async def test_retry_after_is_respected_and_costs_no_attempt(start: StartEngine, clock: Clock) -> None:
    server, loop = RemoteServer(), asyncio.get_running_loop()
    refused_at: list[float] = []

    async def refuse(*exchange: Any) -> Any:
        refused_at.append(loop.time())
        return await fails_with(429, retry_after="300")(*exchange)

    server.faults.extend([refuse] * 6)
    engine = await start(server, generation__timeout_s=100_000, first_token_timeout_s=100_000)
    asking = asyncio.create_task(answer(engine, request()))
    while not asking.done():
        clock.advance(20.0)
        await asyncio.sleep(0.01)
    assert await asking == OF_BASE
    assert len(server.asked()) == 7
    assert min(later - sooner for sooner, later in pairwise(refused_at)) >= 300.0


async def test_members_read_that_the_server_is_away_until_it_is_back_or_starts_after_the_bot(
    start: StartEngine, caplog: pytest.LogCaptureFixture
) -> None:
    server = RemoteServer()
    engine = await start(server)
    assert await answer(engine, request()) == OF_BASE
    await server.stop()
    with pytest.raises(GenerationFailed) as failed:
        await answer(engine, request())
    assert isinstance(failed.value.__cause__, ServersUnreachable)
    with pytest.raises(ServersUnreachable, match="I can't reach my model"):
        engine.submit(request())
    assert "cannot be reached" in caplog.text
    problem = engine.state().failure_reason
    assert problem.startswith(f"{server.url} cannot be reached")
    assert problem.endswith("; start it, or correct remote.url")
    (alert,) = local_alerts(HealthCheck("disk", ok=True, message=""), engine.state(), [])
    assert alert.message == f"the model cannot answer: {problem}"
    newer = await start(server)
    with pytest.raises(ServersUnreachable):
        newer.submit(request())
    await server.restart()
    await until(lambda: not engine.state().failure_reason and not newer.state().failure_reason)
    assert [await answer(one, request()) for one in (engine, newer)] == [OF_BASE] * 2


async def test_answers_that_wait_end_with_a_sentence_when_the_server_goes(start: StartEngine) -> None:
    server, released = RemoteServer(), asyncio.Event()
    server.faults.append(waits_for(released))
    engine = await start(server, generation__batch_size=1)
    generations = [engine.submit(request()) for _ in range(3)]
    await started(generations[0])
    await server.stop()
    for generation in generations[1:]:
        with pytest.raises(GenerationFailed) as failed:
            await finished(generation)
        assert isinstance(failed.value.__cause__, ServersUnreachable)


async def test_a_server_that_says_it_is_ill_or_lacks_the_model_gets_nothing(
    start: StartEngine, caplog: pytest.LogCaptureFixture
) -> None:
    server = RemoteServer()
    server.is_healthy = False
    engine = await start(server)
    with pytest.raises(ServersUnreachable):
        engine.submit(request())
    assert not server.asked()
    server.is_healthy = True
    other = await start(server, model="gpt")
    with pytest.raises(ServersUnreachable):
        other.submit(request())
    assert f"lists {BASE_NAME}, not remote.model = 'gpt': set it to a listed model" in caplog.text


async def test_a_request_that_the_server_refuses_is_sent_once(start: StartEngine) -> None:
    server = RemoteServer()
    server.always = fails_with(400)
    engine = await start(server)
    with pytest.raises(GenerationFailed, match="refuses with status 400: broken"):
        await answer(engine, request())
    assert len(server.asked()) == 1


# Spending


async def test_tokens_are_written_down_also_of_answers_that_were_cut_short(
    start: StartEngine, database: Database, count: Callable[[str], int], clock: Clock
) -> None:
    server = RemoteServer()
    engine = await start(server)
    await answer(engine, request("How are you?"))
    server.faults.append(falls_silent_after(2))
    await outwait(engine.submit(request("How are you?")), "one two ", clock)
    server.faults.append(fails_with(400))
    with pytest.raises(GenerationFailed):
        await answer(engine, request("How are you?"))
    await engine.close(60.0)
    spent = await database.read(spent_on, utc_now().date())
    assert spent == Spend(2, 2 * count("How are you?"), 2 + len(WORDS) + count("one two "))


async def test_members_read_that_the_days_tokens_are_spent(start: StartEngine, database: Database) -> None:
    engine = await start(RemoteServer(), tokens_per_day=1_000)
    await database.run(add_spend, utc_now().date(), "http://other", "base", Spend(1, 1_000, 0))
    with pytest.raises(GenerationFailed) as failed:
        await answer(engine, request())
    assert isinstance(failed.value.__cause__, SpentForToday)
    with pytest.raises(SpentForToday, match="I'll be back after midnight UTC"):
        engine.submit(request())


async def test_a_new_day_begins_at_nothing(start: StartEngine, database: Database) -> None:
    await database.run(add_spend, date(2026, 1, 1), "http://other", "base", Spend(1, 1_000, 0))
    engine = await start(RemoteServer(), tokens_per_day=1_000)
    assert await answer(engine, request()) == OF_BASE


# As it is chosen


async def test_the_setting_chooses_it_and_nothing_takes_its_place(
    base: BaseModel, tmp_path: Path, database: Database
) -> None:
    database.close()
    server = RemoteServer()
    async with running(server):
        engine = await start_engine(settings_for(tmp_path / "data", server.url), base)
        assert await answer(engine, request()) == OF_BASE
        await engine.close(0.0)
    engine = await start_engine(settings_for(tmp_path / "data", server.url), base)
    with pytest.raises(ServersUnreachable):
        engine.submit(request())
    await engine.close(0.0)


# Thoughts


def thinks(*pieces: str) -> Callable[..., Awaitable[None]]:
    """The answer has these pieces, as far as the limit of its tokens allows."""

    async def think(server: RemoteServer, _request: object, stream: Stream) -> web.StreamResponse:
        most = server.asked()[-1]["max_tokens"]
        try:
            for piece in pieces[:most]:
                await stream.word(piece)
                await asyncio.sleep(0)
            await stream.word("", "length" if len(pieces) >= most else "stop")
            await stream.end(server.asked()[-1]["prompt"])
        except (ConnectionResetError, asyncio.CancelledError):
            server.left += 1
            raise
        return await stream.open()

    return think


@pytest.fixture
async def ask_thinker(tmp_path: Path, database: Database) -> AsyncIterator[Callable[..., Awaitable[Completion]]]:
    """Ask a server of this family's model, which answers with these pieces."""
    async with AsyncExitStack() as stack:

        async def ask(name: str, server: RemoteServer, *pieces: str, tokens: int = 100) -> Completion:
            folder = tmp_path / name
            tokenizer = save_tokenizer(BY_NAME[name], folder)
            (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
            await stack.enter_async_context(running(server))
            server.always = thinks(*pieces)
            server.count = lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
            base = BaseModel(name, folder, "0" * 16, BY_NAME[name].architecture)
            changes = {"generation__max_new_tokens": tokens, "generation__max_thought_tokens": 20}
            engine = RemoteEngine(base, settings_for(tmp_path / "data", server.url, **changes), database)
            await engine.start()
            stack.push_async_callback(engine.close, 0.0)
            prompt = await engine.render([{"role": "user", "content": "Hi"}])
            return await finished(engine.submit(request(prompt.text, tokens=tokens)))

        yield ask
    database.close()


@pytest.mark.parametrize(
    ("name", "thought"),
    [("r1_distil", ["So", " soup", "</think>", "\n\n"]), ("gemma4", ["<|channel>", "thought\n", "So", "<channel|>"])],
)
async def test_a_servers_thought_is_neither_shown_nor_counted(name, thought, ask_thinker) -> None:
    server = RemoteServer()
    said = await ask_thinker(name, server, *thought, "Try", " the", " soup.")
    assert (said.text, said.finish, said.answer_tokens) == ("Try the soup.", Finish.STOP, 3)
    (asked,) = server.asked()
    assert asked["max_tokens"] == 120
    assert asked.get("skip_special_tokens", True) == (name != "gemma4"), "vLLM would leave out where the thought ends"


async def test_a_server_reads_todays_date_where_the_template_writes_one(ask_thinker) -> None:
    server = RemoteServer()
    days = [datetime.now(UTC).astimezone()]
    await ask_thinker("llama3", server, "Soup.")
    days.append(datetime.now(UTC).astimezone())  # unless it is midnight, the same
    (asked,) = server.asked()
    assert any(f"Today Date: {day:%d %b %Y}\n\n" in asked["prompt"] for day in days)


async def test_an_answer_may_not_have_what_a_thought_left(ask_thinker) -> None:
    server = RemoteServer()
    said = await ask_thinker("r1_distil", server, "So", "</think>", *["soup "] * 22, tokens=3)
    assert (said.text, said.finish, said.answer_tokens) == ("soup " * 3, Finish.LENGTH, 3)


async def test_a_servers_thought_without_an_end_is_no_answer(ask_thinker) -> None:
    said = await ask_thinker("r1_distil", RemoteServer(), *["so "] * 40)
    assert (said.text, said.finish, said.answer_tokens) == ("", Finish.THOUGHT, 0)
