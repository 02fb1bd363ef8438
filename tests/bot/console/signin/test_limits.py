"""Strangers and admins on the internet can ask the console for so much, and the operator for more."""

from __future__ import annotations

import asyncio

import pytest

from bot.console.limits import SIGN_INS_OF_ADDRESS
from storage.database.tables import SittingRow

VERSIONS = {"a": "v1", "b": "base", "prompt": "Tea?"}


async def test_tries_to_sign_in_are_limited_by_the_address_that_the_proxy_saw(outside, discord_server, place):
    discord_server.servers[place.ada.id] = []
    browser = await outside("203.0.113.5")
    for _ in range(SIGN_INS_OF_ADDRESS):
        assert (await browser.sign_in(discord_server, place.ada)).status == 403
    seen = await browser.sign_in(discord_server, place.ada)
    assert (seen.status, "again in" in seen.text) == (429, True)
    assert 50 <= int(seen.headers["Retry-After"]) <= 60
    assert (await (await outside("203.0.113.6")).sign_in(discord_server, place.ada)).status == 403


async def test_all_tries_together_are_limited(outside, discord_server, place, monkeypatch):
    monkeypatch.setattr("bot.console.limits.SIGN_INS", 2)
    discord_server.servers[place.ada.id] = []
    tries = [await (await outside(f"203.0.113.{n}")).sign_in(discord_server, place.ada) for n in range(3)]
    assert [seen.status for seen in tries] == [403, 403, 429]
    assert discord_server.requests.count("/oauth2/token") == 2


async def test_guesses_of_a_link_are_limited(stranger, link):
    for _ in range(SIGN_INS_OF_ADDRESS):
        assert (await stranger.get("/enter?key=guess")).status == 401
    assert (await stranger.get(link())).status == 429


async def test_what_an_admin_writes_is_limited_and_the_operator_is_not(grace, visitor, monkeypatch, rows):
    monkeypatch.setattr("bot.console.limits.WRITES", 1)
    await grace.post("/label")
    assert (await grace.post("/label/end")).status == 429
    assert "again in" in (await grace.change("/label/end")).text
    assert [row.ended_at for row in rows(SittingRow)] == [None]
    for _ in range(3):
        assert (await visitor.post("/label")).status == 200


class TestTheModel:
    @pytest.fixture
    def overrides(self, overrides):
        return overrides | {"REACTUNE_LIMITS__MEMBER_PER_MINUTE": "1"}

    async def test_an_admin_asks_the_model_as_often_as_in_discord(self, grace, visitor, add_version, engine):
        add_version(1.0)
        engine.answers = ["one", "two", "three", "four", "five", "six"]
        assert "one" in (await grace.post("/versions/compare", **VERSIONS)).text
        assert (await grace.post("/versions/compare", **VERSIONS)).status == 429
        assert (await grace.post("/personalities/card/try", toml='system_prompt = "Hm."')).status == 429
        assert "three" in (await visitor.post("/versions/compare", **VERSIONS)).text


async def test_an_admin_occupies_the_model_with_one_thing_at_a_time(grace, add_version, engine):
    add_version(1.0)
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        has_begun.set()
        await may_end.wait()

    engine.answers, engine.interlude = ["one", "two"], wait
    first = asyncio.create_task(grace.post("/versions/compare", **VERSIONS))
    await has_begun.wait()
    assert "still answering your last question" in (await grace.post("/versions/compare", **VERSIONS)).text
    may_end.set()
    assert "one" in (await first).text
