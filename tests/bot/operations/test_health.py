"""Numbers and health over HTTP: every number is documented, none names a member, and a supervisor learns the truth."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path

import aiohttp
import discord
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from bot.engine import EngineState
from bot.engine.stepping_aside import PAUSED
from bot.operations.health import Health, HealthCheck, open_pages
from bot.operations.metrics import Metrics
from storage.runtime.processes import TRAINER, record_heartbeat
from storage.settings.sections import MetricsSettings

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def overrides(port) -> dict[str, str]:
    return {"REACTUNE_METRICS__PORT": str(port), "REACTUNE_ALERTS__MIN_FREE_GB": "0"}


@pytest.fixture
def get(port):
    async def fetch(path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, await response.text()

    return fetch


@pytest.fixture
def scrape(get):
    async def samples() -> dict[str, float]:
        status, said = await get("/metrics")
        assert status == 200
        families = list(text_string_to_metric_families(said))
        return {
            s.name + "".join(f" {value}" for key, value in s.labels.items() if key != "le"): s.value
            for family in families
            for s in family.samples
        }

    return samples


async def test_answers_votes_and_refusals_are_counted_and_name_nobody(place, engine, scrape):
    await place.bo.react(await place.ask("a secret question"), "👍")
    engine.full = True
    await place.ask("are you there?")
    numbers = await scrape()
    assert numbers["reactune_answers_total complete"] == 1
    assert numbers["reactune_answer_tokens_total"] == 2
    assert numbers["reactune_answer_seconds_count"] == 1
    assert numbers["reactune_votes_total up"] == 1
    assert numbers["reactune_refusals_total queue"] == 1
    assert (numbers["reactune_engine_ready"], numbers["reactune_gateway_connected"]) == (1, 1)
    assert numbers["reactune_database_statement_seconds_count"] > 10
    assert numbers["process_open_fds"] > 0
    told = set(re.split(r"\W", " ".join(numbers)))
    assert not told & {"secret", "ada", str(place.ada.id), str(place.bo.id), str(place.channel.id)}


async def test_health_says_what_is_missing_and_whether_it_matters(env, get, query):
    status, said = await get("/health")
    assert status == 200
    assert '"status": "degraded"' in said
    assert "reactune trainer` starts one" in said
    query(lambda session: record_heartbeat(session, TRAINER, "here"))
    assert '"status": "ready"' in (await get("/health"))[1]
    env.bot.dispatch("disconnect")
    await asyncio.sleep(0)
    status, said = await get("/health")
    assert status == 503
    assert "not connected to Discord" in said
    assert await get("/health/live") == (200, '{"live": true}')


async def test_health_names_the_engine_that_answers(env, engine, get, query):
    query(lambda session: record_heartbeat(session, TRAINER, "here"))
    engine.reported = EngineState(name="OpenVINO")
    assert '"message": "OpenVINO answers"' in (await get("/health"))[1]
    engine.reported = EngineState(name="transformers", unsupported="it caps logits")
    checks = json.loads((await get("/health"))[1])["checks"]
    assert checks["engine"] == {
        "ok": True,
        "message": "transformers answers instead of OpenVINO, more slowly: it caps logits",
        "needed": True,
    }
    engine.reported = EngineState(name="transformers", fallback="OpenVINO cannot be imported")
    status, said = await get("/health")
    checks = json.loads(said)["checks"]
    assert (status, json.loads(said)["status"]) == (200, "degraded")
    assert checks["engine"] == {
        "ok": False,
        "message": "transformers answers instead of OpenVINO, more slowly: OpenVINO cannot be imported",
        "needed": False,
    }


async def test_an_engine_that_has_stepped_aside_is_no_failure(env, engine, get, query, scrape):
    query(lambda session: record_heartbeat(session, TRAINER, "here"))
    engine.reported = EngineState(name="transformers", pause_reason=PAUSED)
    await env.advance_time(5)
    status, said = await get("/health")
    assert (status, json.loads(said)["status"]) == (200, "degraded")
    assert json.loads(said)["checks"]["engine"] == {"ok": False, "message": PAUSED, "needed": False}
    assert (await scrape())["reactune_engine_ready"] == 1
    assert (env.bot.status, env.bot.activity is None) == (discord.Status.idle, False)
    engine.reported = EngineState(name="transformers")
    await env.advance_time(5)
    assert (env.bot.status, env.bot.activity) == (discord.Status.online, None)


async def test_a_database_that_cannot_be_read_is_unready(env, get, query, scrape):
    query(lambda session: session.execute(text("DROP TABLE heartbeats")))
    status, said = await get("/health")
    assert status == 503
    assert "unreachable (OperationalError)" in said
    assert (await scrape())["reactune_database_errors_total OperationalError"] == 1


async def test_a_taken_port_is_a_warning_and_no_more(env, port, caplog):
    settings = MetricsSettings(port=port)
    assert await open_pages(settings, Metrics().registry, lambda: None) is None
    assert f"port {port} on 127.0.0.1 cannot be opened" in caplog.text
    assert "set metrics.port to a free port" in caplog.text


def test_a_degraded_bot_is_still_ready():
    needed, nice = HealthCheck("engine", True, "ready"), HealthCheck("disk", False, "0.1 GB free", needed=False)
    assert Health((needed, nice)).status == "degraded"
    assert Health((needed, nice)).is_ready
    assert Health((HealthCheck("engine", False, "loads"),)).status == "unready"
