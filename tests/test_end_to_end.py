"""The main job on the bundled model: a message, its votes, a DPO round, the new version answering, and back."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import discord
import pytest
from simcord.builders import ChannelHandle

from bot.app import ReactuneBot
from bot.guards.error_handler import is_expected
from storage.adapters.folder_store import AdapterStore
from storage.conversations.degenerate import is_degenerate
from storage.database.database import open_database
from storage.database.enums import Basis, GateVerdict, RoundStatus
from storage.models.base_model import BaseModel
from storage.models.openvino.verifier import Verifier
from storage.models.personality_files import README_FILE
from storage.models.personality_imports import import_adapter
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from storage.training.rounds import Round, latest_round
from tests.bot.engine.test_engine import answer, request
from tests.bot.environment import Env
from tests.few_questions import run_short_round
from tests.seeding import TOLERANT
from tests.verdicts import trust_graphs
from trainer.rounds import worker
from trainer.rounds.worker import run_trainer

QUESTIONS = ("What is your favourite food?", "Tell me about the sea.", "How do I make tea?")
ROUND_S = 1800.0
"""After which the test is given up."""

pytestmark = pytest.mark.bundled


@pytest.fixture
def settings(bundled_data) -> Settings:
    return load_settings(
        environment={
            "REACTUNE_DATA__DIRECTORY": str(bundled_data),
            "REACTUNE_ACCESS__SERVERS": "0",
            "REACTUNE_CHAT__COOLDOWN_S": "0",
            "REACTUNE_CHAT__SECOND_ANSWERS": "0",
            "REACTUNE_CHAT__SYSTEM_PROMPT": "Answer in one short sentence.",
            "REACTUNE_GENERATION__MAX_NEW_TOKENS": "6",
            "REACTUNE_TRAINING__MIN_PAIRS": "3",
            "REACTUNE_TRAINING__EPOCHS": "1",
            "REACTUNE_TRAINING__MIN_STEPS": "2",
            "REACTUNE_MODEL__THREADS": "1",  # several test processes share the cores
            "REACTUNE_TRAINING__THREADS": "1",
            "REACTUNE_TRAINING__NICENESS": "0",  # it would wait for all other tests
            "REACTUNE_TRAINING__SCHEDULE": "",
            # Six pairs can do anything to a model: this test is about the loop, not about the gate.
            "REACTUNE_GATE__TOLERANCE": json.dumps(dict(TOLERANT)),
            "REACTUNE_GATE__COHERENCE_MODEL": "base",
        }
    )


@pytest.fixture
def trainer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(worker, "_run_in_process", run_short_round)
    stop = threading.Event()
    thread = threading.Thread(target=run_trainer, args=[settings, stop])
    thread.start()
    yield
    stop.set()
    thread.join()


def wait_for_round(settings: Settings) -> Round:
    database = open_database(settings)
    try:
        deadline = time.perf_counter() + ROUND_S
        while time.perf_counter() < deadline:
            with database.snapshot() as session:
                round_ = latest_round(session, 1)
            if round_ is not None and not round_.is_open:
                return round_
            time.sleep(0.5)
        raise TimeoutError(f"the round did not end: {round_}")
    finally:
        database.close()


async def answer_and_rate(channel: ChannelHandle, member, mention: str, question: str) -> bool:
    """Return whether the two answers make a pair: six tokens may say the same twice, or be broken."""
    await member.send(channel, f"{mention} {question}")
    first = channel.last_message
    await member.react(first, "👎")
    await member.react(first, "🔁")
    second = channel.last_message
    assert second.id != first.id
    await member.react(second, "👍")
    worse, better = (said.content.rsplit("\n-# ", 1)[0] for said in (first, second))
    return worse != better and not is_degenerate(better)


class LoadedBot(ReactuneBot):
    """Loads the model before it connects: the simulator waits five seconds for what runs in the background."""

    async def setup_hook(self) -> None:
        await super().setup_hook()
        await self.loading


async def test_from_a_message_to_a_promoted_version_and_back(
    settings: Settings, bundled_base: BaseModel, trainer: None
) -> None:
    trust_graphs(bundled_base, settings.data.directory, settings.model)
    bot = LoadedBot(settings, engine=None, base=None, fixed_basis=Basis.LOCAL)
    env = Env(bot)
    guild = env.create_guild("Server")
    channel = guild.create_text_channel("general")
    ada = guild.add_member(env.create_user("ada"))
    manager = guild.create_role("managers", permissions=discord.Permissions(manage_guild=True))
    grace = guild.add_member(env.create_user("grace"), roles=[manager])
    await env.start()
    assert bot.user is not None
    mention = bot.user.mention
    try:
        engine = bot.services.engine
        rendered = await engine.render([{"role": "user", "content": "What is the capital of France?"}])
        assert "Paris" in await answer(engine, request(rendered.text, temperature=0.0, tokens=24))

        rated = [await answer_and_rate(channel, ada, mention, question) for question in QUESTIONS]
        form = await ada.slash(channel, "suggest")
        await ada.submit_modal(form, {"text": "Boil water and pour it over the leaves."})

        await grace.slash(channel, "version train")
        round_ = await asyncio.to_thread(wait_for_round, settings)
        assert round_.status is RoundStatus.PUBLISHED, round_.reason
        # One for each question whose answers differ, and two that prefer what ada wrote; which of them are held out,
        # their prompts decide.
        assert round_.metrics["pairs"] + round_.metrics["validation_pairs"] == sum(rated) + 2

        assert round_.gate["verdict"] == GateVerdict.NOT_ENOUGH_EVIDENCE
        refusal = await grace.slash(channel, "version promote", version="v1")
        assert "is not ready (members have not decided yet" in refusal.followups[-1].content
        await grace.slash(channel, "version promote", version="v1", override=True, reason="six pairs are what we have")
        await ada.send(channel, f"{mention} How are you?")
        words, small_print = channel.last_message.content.rsplit("\n-# ", 1)
        assert small_print.startswith("v1")
        assert words

        await grace.slash(channel, "version rollback")
        await ada.send(channel, f"{mention} How are you?")
        assert channel.last_message.content.rsplit("\n-# ", 1)[1].startswith("base")
    finally:
        await bot.close()
        await env.shutdown()
    assert [error for error in env.errors if not is_expected(error)] == []


@pytest.mark.slow
def test_openvino_says_of_the_bundled_model_what_transformers_says(
    settings: Settings, bundled_base: BaseModel, tmp_path: Path
) -> None:
    Verifier(bundled_base, tmp_path / "new", settings.model).require()  # it raises otherwise


def test_the_starter_that_comes_along_fits_the_bundled_base(bundled_base: BaseModel, tmp_path: Path) -> None:
    starter = Path(__file__).parents[1] / "personalities" / "starters" / "default"
    digest = import_adapter(AdapterStore(tmp_path / "adapters"), starter, bundled_base)
    assert digest in (starter / README_FILE).read_text()
