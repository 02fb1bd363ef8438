"""Strangers and admins on the internet can ask the console for so much, and the operator for more."""

from __future__ import annotations

import asyncio

import pytest
from multidict import CIMultiDict

from bot.console.admins import AdminLookup, RightsUnknown
from bot.console.limits import SIGN_INS_OF_ADDRESS
from storage.database.tables import SittingRow
from tests.bot.console.signin.conftest import HOST

VERSIONS = {"a": "v1", "b": "base", "prompt": "Tea?"}


@pytest.fixture
def held(engine) -> tuple[asyncio.Event, asyncio.Event]:
    """Let an answer begin, and end only when the test says so: return both events."""
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        has_begun.set()
        await may_end.wait()

    engine.answers, engine.interlude = ["one", "two"], wait
    return has_begun, may_end


@pytest.mark.threat("T36")
async def test_tries_to_sign_in_are_limited_by_the_address_that_the_proxy_saw(outside, discord_server, place):
    discord_server.servers[place.ada.id] = []
    browser = await outside("203.0.113.5")
    for _ in range(SIGN_INS_OF_ADDRESS):
        assert (await browser.sign_in(discord_server, place.ada)).status == 403
    seen = await browser.sign_in(discord_server, place.ada)
    assert (seen.status, "again in" in seen.text) == (429, True)
    assert 50 <= int(seen.headers["Retry-After"]) <= 60
    assert (await (await outside("203.0.113.6")).sign_in(discord_server, place.ada)).status == 403


@pytest.mark.threat("T36")
async def test_all_tries_together_are_limited(outside, discord_server, place, monkeypatch):
    monkeypatch.setattr("bot.console.limits.SIGN_INS", 2)
    discord_server.servers[place.ada.id] = []
    tries = [await (await outside(f"203.0.113.{n}")).sign_in(discord_server, place.ada) for n in range(3)]
    assert [seen.status for seen in tries] == [403, 403, 429]
    assert discord_server.requests.count("/oauth2/token") == 2


@pytest.mark.threat("T36")
async def test_addresses_of_one_ipv6_network_count_as_one(outside, discord_server, place, monkeypatch):
    monkeypatch.setattr("bot.console.limits.SIGN_INS_OF_ADDRESS", 1)
    discord_server.servers[place.ada.id] = []
    same_network, same_address = ("2001:db8:1:2::0", "2001:db8:1:2::1"), ("::ffff:203.0.113.9",) * 2
    tries = [
        (await (await outside(address)).sign_in(discord_server, place.ada)).status
        for address in (*same_network, *same_address, "2001:db8:1:3::1", "::ffff:203.0.113.8")
    ]
    assert tries == [403, 429, 403, 429, 403, 403]


async def test_only_what_the_proxy_added_last_is_believed(outside, discord_server, place, monkeypatch, port):
    monkeypatch.setattr("bot.console.limits.SIGN_INS_OF_ADDRESS", 1)
    discord_server.servers[place.ada.id] = []
    statuses = []
    for made_up in ("192.0.2.1", "192.0.2.2"):
        browser = await outside()
        to_discord, _ = await browser.location("/signin")
        headers = CIMultiDict([("X-Forwarded-For", made_up), ("X-Forwarded-For", "203.0.113.7")])
        path = discord_server.agree(to_discord, place.ada)
        async with browser._client.get(browser.address + path, headers=headers) as response:
            statuses.append(response.status)
    assert statuses == [403, 429]


async def test_guesses_of_a_link_are_limited_and_lock_nobody_out(stranger, link, monkeypatch):
    monkeypatch.setattr("bot.console.limits.LINKS", 2)
    for _ in range(2):
        assert (await stranger.post("/enter", key="guess")).status == 401
    assert (await stranger.post("/enter", key="guess")).status == 429
    assert (await stranger.enter(link())).status == 200


@pytest.mark.threat("T37")
async def test_strangers_who_try_to_sign_in_do_not_lock_the_operator_out(
    outside, stranger, discord_server, place, link, monkeypatch
):
    monkeypatch.setattr("bot.console.limits.SIGN_INS", 1)
    discord_server.servers[place.ada.id] = []
    assert (await (await outside()).sign_in(discord_server, place.ada)).status == 403
    assert (await (await outside()).sign_in(discord_server, place.ada)).status == 429
    assert (await stranger.enter(link())).path == "/"


@pytest.mark.threat("T38")
async def test_a_request_counts_before_it_costs_anything(forgetful, grace, env, monkeypatch):
    monkeypatch.setattr("bot.console.limits.REQUESTS", 1)
    env.inject_error("GET", "/guilds/*/members/*", status=500, times=None)
    assert (await grace.get("/versions")).status == 503, "Discord was asked"
    seen = await grace.get("/versions")
    assert (seen.status, "Sign in" in seen.text) == (429, False)
    assert (await grace.post("/label", csrf="guess")).status == 429, "the form was not read"


async def test_a_pages_parts_ask_discord_once(grace, env, place):
    lookups = AdminLookup(env.bot, env.bot.services.settings)
    env.inject_error("GET", "/guilds/*/members/*", status=500, times=1)
    servers = [place.channel.guild.id]
    together = await asyncio.gather(
        *(lookups.memberships(place.grace.id, servers) for _ in range(3)), return_exceptions=True
    )
    assert [type(one) for one in together] == [RightsUnknown] * 3


@pytest.mark.threat("T38")
async def test_an_admin_is_answered_a_few_requests_at_once(grace, visitor, add_version, held, monkeypatch):
    monkeypatch.setattr("bot.console.limits.AT_ONCE", 1)
    monkeypatch.setattr("bot.console.limits.WAITING", 1)
    add_version(1.0)
    has_begun, may_end = held
    first = asyncio.create_task(grace.post("/versions/compare", **VERSIONS))
    await has_begun.wait()
    both = [asyncio.create_task(grace.get("/versions")) for _ in range(2)]
    (refused,), (waiting,) = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    assert (refused.result().status, refused.result().headers["Retry-After"]) == (429, "5")
    assert (await visitor.get("/versions")).status == 200, "the operator"
    may_end.set()
    assert ((await first).status, (await waiting).status) == (200, 200)
    assert (await grace.get("/versions")).status == 200


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

    @pytest.mark.threat("T39")
    async def test_an_admin_asks_the_model_as_often_as_in_discord(self, grace, visitor, add_version, engine):
        add_version(1.0)
        engine.answers = ["one", "two", "three", "four", "five", "six"]
        assert "one" in (await grace.post("/versions/compare", **VERSIONS)).text
        assert (await grace.post("/versions/compare", **VERSIONS)).status == 429
        assert (await grace.post("/personalities/card/try", toml='system_prompt = "Hm."')).status == 429
        assert "three" in (await visitor.post("/versions/compare", **VERSIONS)).text


class TestServers:
    @pytest.fixture
    def overrides(self, overrides):
        return overrides | {"REACTUNE_LIMITS__CHANNEL_PER_MINUTE": "1"}

    async def test_admins_of_one_server_do_not_keep_those_of_another_out(
        self, grace, outside, discord_server, hal, add_version, engine
    ):
        add_version(1.0)
        engine.answers = ["one", "two", "three", "four"]
        discord_server.servers[hal.id] = [hal.guild.id]
        elsewhere = await outside()
        await elsewhere.sign_in(discord_server, hal)
        assert "one" in (await grace.post("/versions/compare", **VERSIONS)).text
        assert (await grace.post("/versions/compare", **VERSIONS)).status == 429
        assert "three" in (await elsewhere.post("/versions/compare", **VERSIONS)).text


@pytest.mark.threat("T39")
async def test_an_admin_occupies_the_model_with_one_thing_at_a_time(grace, add_version, held):
    add_version(1.0)
    has_begun, may_end = held
    first = asyncio.create_task(grace.post("/versions/compare", **VERSIONS))
    await has_begun.wait()
    assert "still answering your last question" in (await grace.post("/versions/compare", **VERSIONS)).text
    may_end.set()
    assert "one" in (await first).text


@pytest.mark.threat("T38")
async def test_what_nobody_takes_keeps_its_turn_until_they_leave(grace, port, monkeypatch):
    monkeypatch.setattr("bot.console.limits.AT_ONCE", 1)
    monkeypatch.setattr("bot.console.limits.WAITING", 0)

    async def pack(*_args: object) -> tuple[str, bytes]:
        return "default-v1.zip", bytes(30_000_000)

    monkeypatch.setattr("bot.console.pages.card_files.pack_version", pack)
    (cookie,) = [one for one in grace._client.cookie_jar if "console" in one.key]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = f"GET /personalities/export?version=v1 HTTP/1.1\r\nHost: {HOST}\r\n"
    writer.write(f"{asked}X-Forwarded-For: 203.0.113.5\r\nCookie: {cookie.key}={cookie.value}\r\n\r\n".encode())
    assert b"200 OK" in await reader.readline()
    assert (await grace.get("/versions")).status == 429
    writer.transport.abort()
    assert 200 in [(await grace.get("/versions")).status for _ in range(20)]
