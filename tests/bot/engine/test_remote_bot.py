"""A bot whose model is elsewhere: what members and admins read while its server comes, goes and is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.engine import GenerationFailed, GenerationRequest
from bot.errors import LearningNow, ServersUnreachable, SpentForToday
from reactune.doctor.command import run_checks
from storage.database.columns import utc_now
from storage.database.enums import Outcome
from storage.database.tables import ReplyRow
from storage.models.base_model import BaseModel
from storage.operations.token_spend import Spend, add_spend
from storage.settings.sections import Settings
from tests.bot.conftest import Place
from tests.bot.panels import said
from tests.bot.scripted_engine import ScriptedEngine, ScriptedGeneration
from tests.remote_server import BASE_NAME, RemoteServer


@pytest.fixture
async def server() -> AsyncIterator[RemoteServer]:
    server = RemoteServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def overrides(server: RemoteServer, base: BaseModel) -> dict[str, str]:
    return {
        "REACTUNE_MODEL__BASE": str(base.path),
        "REACTUNE_MODEL__ENGINE": "remote",
        "REACTUNE_MODEL__CONTEXT_TOKENS": "512",
        "REACTUNE_REMOTE__URL": server.url,
        "REACTUNE_REMOTE__CONNECT_TIMEOUT_S": "60",
        "REACTUNE_REMOTE__TOKENS_PER_DAY": "5000",
        "REACTUNE_REMOTE__ANSWER_PRICE": "1000",
    }


class RefusingEngine(ScriptedEngine):
    """It refuses to begin, as a remote engine does in some states."""

    refusal: Exception | None = None

    def submit(self, request: GenerationRequest) -> ScriptedGeneration:
        if self.refusal is not None:
            raise self.refusal
        return super().submit(request)


@pytest.fixture
def engine() -> RefusingEngine:
    return RefusingEngine()


async def test_members_read_why_there_is_no_answer(place: Place, engine: RefusingEngine, rows: Any) -> None:
    for number, refusal in enumerate((ServersUnreachable(), SpentForToday(), LearningNow(600.0)), 1):
        engine.refusal = refusal
        assert (await place.ask("hi")).content == str(refusal)
        engine.refusal, engine.failure = None, GenerationFailed("the answer failed")
        engine.failure.__cause__ = refusal
        assert (await place.ask("hi")).content == f"{refusal}\n-# base"
        assert [reply.outcome for reply in rows(ReplyRow)] == [Outcome.FAILED] * number
    engine.failure = None
    assert (await place.ask("hi")).content == "answer 4\n-# base"


async def test_admins_read_that_the_days_tokens_are_spent(
    place: Place, env: Any, query: Any, settings: Settings
) -> None:
    async def status() -> str:
        text: str = said((await place.grace.slash(place.channel, "version status")).response)
        return text

    query(lambda session: add_spend(session, utc_now().date(), "http://one", "base", Spend(1, 1_000, 10)))
    assert "**Spent:** 1,010 of 5,000 tokens today (UTC), 0.01 at your prices\n" in await status()
    env.locales[place.grace.id] = "de"
    assert "**Verbraucht:** 1.010 von 5.000 Tokens heute (UTC), 0,01 zu deinen Preisen\n" in await status()
    env.locales[place.grace.id] = "en-US"
    query(lambda session: add_spend(session, utc_now().date(), "http://other", "base", Spend(1, 5_000, 0)))
    assert "⚠️ nothing is answered before midnight UTC" in await status()
    found = {finding.what: finding for finding in await asyncio.to_thread(run_checks, settings)}
    assert found["Spending"].status == "problem"
    assert "raise remote.tokens_per_day and restart the bot" in found["Spending"].message


# The doctor


async def engine_finding(settings: Settings, **changes: object) -> tuple[str, str]:
    remote = settings.remote.model_copy(update=changes)
    findings = await asyncio.to_thread(run_checks, settings.model_copy(update={"remote": remote}))
    (found,) = [finding for finding in findings if finding.what == "Engine"]
    return found.status, found.message


async def test_the_doctor_names_what_the_server_answers_as(settings: Settings, server: RemoteServer) -> None:
    assert await engine_finding(settings) == ("ok", f"{server.url} serves {BASE_NAME}, loads versions")
    assert await engine_finding(settings, kind="openai") == (
        "ok",
        f"{server.url} serves {BASE_NAME}, base model only",
    )


async def test_the_doctor_says_what_to_do_about_the_server(settings: Settings, server: RemoteServer) -> None:
    status, message = await engine_finding(settings, url="http://127.0.0.1:9")
    assert status == "problem"
    assert message.startswith("http://127.0.0.1:9 cannot be reached (")
    assert message.endswith("; start it, or correct remote.url")
    assert await engine_finding(settings, model="gpt") == (
        "problem",
        f"{server.url} lists {BASE_NAME}, not remote.model = 'gpt': set it to a listed model",
    )
    server.key = "sk-1"
    assert "set its key as REMOTE_API_KEY" in (await engine_finding(settings))[1]


async def test_the_doctor_sees_whether_versions_get_in(settings: Settings) -> None:
    fixed = RemoteServer(updates_adapters=False)
    await fixed.start()
    status, message = await engine_finding(settings, url=fixed.url)
    await fixed.stop()
    assert status == "problem"
    assert message == (
        f"{fixed.url} accepts no versions: start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
    )
