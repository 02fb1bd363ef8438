"""The remote engine on llama.cpp's own server, with the bundled model and a version as a GGUF file."""

from __future__ import annotations

import asyncio
import hashlib
import math
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.attachments.pictures import look_at
from bot.engine import Finish, GenerationFailed
from bot.engine.remote.engine import RemoteEngine
from bot.model_server import ServerError
from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.database.columns import utc_now
from storage.database.database import open_database
from storage.models.base_model import BaseModel, load_model, load_tokenizer
from storage.models.effect import measure_effect, write_effect
from storage.models.gguf import gguf_name, write_gguf
from storage.operations.token_spend import spent_on
from storage.settings.sections import PictureSettings, Settings
from tests.bot.attachments.conftest import picture
from tests.bot.engine.conftest import settings_for
from tests.bot.engine.test_engine import answer, finished, request, started
from tests.llama_server import serve

pytestmark = [pytest.mark.slow, pytest.mark.bundled]

STARTER = Path(__file__).resolve().parents[3] / "personalities" / "starters" / "default"
QUESTIONS = ("What is the capital of France?", "Tell me about cats.", "I lost my keys today.")
NUCLEUS = 10
ENDLESS = 300
DISGUISED = "de" * 32
LORA = [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.0}]


@pytest.fixture(scope="module")
def peft_model(bundled_base: BaseModel) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(load_model(bundled_base, "float32"), str(STARTER))


@pytest.fixture(scope="module")
def starter(bundled_base: BaseModel, peft_model: Any, tmp_path_factory: pytest.TempPathFactory) -> AdapterRef:
    """A copy of the starter with the trainer's record of what it changes."""
    folder = shutil.copytree(STARTER, tmp_path_factory.mktemp("starter") / "default")
    write_effect(folder, measure_effect(peft_model, load_tokenizer(bundled_base.path)))
    return AdapterRef(hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest(), folder)


@pytest.fixture(scope="module")
def server(bundled_base: BaseModel, starter: AdapterRef, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """It has the starter, and under another version's name a file that changes nothing."""
    folder = tmp_path_factory.mktemp("gguf")
    versions = starter, replace(starter, digest=DISGUISED, strength=1e-6)
    files = [folder / gguf_name(version) for version in versions]
    for version, file in zip(versions, files, strict=True):
        write_gguf(version, bundled_base, file)
    return serve(files, places=2, context_tokens=512, threads=1)


@pytest.fixture
async def engine(
    server: Any, bundled_base: BaseModel, tmp_path: Path, migrated_file: Path
) -> AsyncIterator[RemoteEngine]:
    shutil.copyfile(migrated_file, tmp_path / "reactune.db")
    settings = settings_for(tmp_path, server.listening_address, kind="llama.cpp")
    database = open_database(settings)
    engine = RemoteEngine(bundled_base, settings, database)
    await engine.start()
    yield engine
    await engine.close(0.0)
    database.close()


async def test_base_and_version_answer_in_turn_and_each_as_alone(engine: RemoteEngine, starter: AdapterRef) -> None:
    rendered = await engine.render([{"role": "user", "content": QUESTIONS[0]}])

    def asked(adapter: AdapterRef | None) -> Any:
        return request(rendered.text, temperature=0.0, tokens=24, adapter=adapter)

    alone = [await answer(engine, asked(adapter)) for adapter in (None, starter)]
    assert alone[0] != alone[1]
    assert "Paris" in alone[1]
    assert [await answer(engine, asked(adapter)) for adapter in (None, starter)] == alone
    assert await answer(engine, asked(replace(starter, strength=0.0))) == alone[0]
    together = await asyncio.gather(*(answer(engine, asked(adapter)) for adapter in (starter, None, starter)))
    assert together == [alone[1], alone[0], alone[1]]


async def test_an_answer_is_counted_and_ends_at_its_end(engine: RemoteEngine, starter: AdapterRef) -> None:
    rendered = await engine.render([{"role": "user", "content": QUESTIONS[0]}])
    completion = await finished(engine.submit(request(rendered.text, temperature=0.0, tokens=24, adapter=starter)))
    assert completion.finish is Finish.STOP
    assert completion.prompt_tokens == rendered.tokens
    assert completion.answer_tokens == len(engine._renderer.ids(completion.text))  # type: ignore[union-attr]
    short = await finished(engine.submit(request(rendered.text, temperature=0.0, tokens=3, adapter=starter)))
    assert (short.finish, short.answer_tokens) == (Finish.LENGTH, 3)


async def test_seeds_repeat_and_cancelled_answers_free_their_place(engine: RemoteEngine) -> None:
    first = await answer(engine, request("Once upon a time", seed=1))
    assert await answer(engine, request("Once upon a time", seed=1)) == first
    assert await answer(engine, request("Once upon a time", seed=2)) != first
    endless = [engine.submit(request("Once upon a time", tokens=ENDLESS, seed=seed)) for seed in range(2)]
    for one in endless:
        await started(one)
        one.cancel()
    assert [(await finished(one)).finish for one in endless] == [Finish.CANCELLED] * 2
    assert await answer(engine, request("Once upon a time", seed=1)) == first
    await engine.close(1.0)
    database = engine._spending._database
    assert (await database.read(spent_on, utc_now().date())).answers == 6


async def test_a_version_that_the_server_was_not_started_with_says_how_to(
    engine: RemoteEngine, starter: AdapterRef
) -> None:
    other = replace(starter, digest="ab" * 32)
    with pytest.raises(GenerationFailed, match=r"write it with `reactune model gguf`.*--lora FOLDER/abababababababab"):
        await answer(engine, request(adapter=other))


async def test_a_file_that_changes_nothing_is_refused(engine: RemoteEngine, starter: AdapterRef) -> None:
    sentence = (
        r"has reactune-dedede.* answers as the bare base \(\d+% .*: write its file again with `reactune model gguf`"
    )
    with pytest.raises(GenerationFailed, match=sentence):
        await answer(engine, request(adapter=replace(starter, digest=DISGUISED)))


async def test_the_file_says_what_peft_says(
    server: Any, bundled_base: BaseModel, starter: AdapterRef, peft_model: Any
) -> None:
    """Probabilities of first words under the version are PEFT's, but for what 4-bit weights and 8-bit factors cost."""
    tokenizer, model = load_tokenizer(bundled_base.path), peft_model
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        told = await _first_word(server, ids)
        of_version = _distance(told, _log_probabilities(model, ids))
        with model.disable_adapter():
            of_base = _distance(told, _log_probabilities(model, ids))
        assert of_version < 0.12, question
        assert of_version < of_base / 4, question


async def _first_word(server: Any, ids: list[int]) -> dict[int, float]:
    """Return {token: log-probability, nats} of the likeliest first tokens under the version."""
    body = {"prompt": ids, "n_predict": 1, "temperature": 1, "n_probs": NUCLEUS, "lora": LORA}
    async with (
        aiohttp.ClientSession(server.listening_address) as session,
        session.post("/completion", json=body | {"cache_prompt": False}) as response,
    ):
        told = await response.json()
    return {one["id"]: one["logprob"] for one in told["completion_probabilities"][0]["top_logprobs"]}


def _log_probabilities(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)


def _distance(told: dict[int, float], expected: Any) -> float:
    """Return how far apart they are, in nats, on average over the tokens that were told."""
    return sum(math.exp(one) * abs(one - float(expected[token])) for token, one in told.items())


async def test_a_model_that_is_blind_says_so_when_it_gets_a_picture(server):
    settings = Settings(pictures=PictureSettings(url=server.listening_address))
    with pytest.raises(ServerError, match="image input is not supported"):
        await look_at(picture(), "what is it?", settings)
