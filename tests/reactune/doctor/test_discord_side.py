"""The doctor's login to Discord, over HTTP on loopback: the token, the privileged intents, names of personalities."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing

import discord
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from discord.http import Route

from bot.runner import BAD_TOKEN, NO_INTENT, NO_MEMBERS_INTENT
from reactune.doctor.discord_side import check_appearances, check_token
from reactune.doctor.findings import Hint, Problem
from storage.database.database import open_database
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality
from storage.settings.loading import load_settings
from tests.reactune.discord_api import BOT, application

TOGGLED = discord.ApplicationFlags(gateway_message_content_limited=True)
APPROVED = discord.ApplicationFlags(gateway_message_content=True)

Check = Callable[..., Awaitable[str]]


def as_json(data: object, status: int = 200) -> web.Response:
    # Without a charset, as Discord answers: discord.py compares the whole header.
    return web.Response(body=json.dumps(data).encode(), status=status, headers={"Content-Type": "application/json"})


@asynccontextmanager
async def discord_with(
    flags: discord.ApplicationFlags, members: list[int], token: str, permissions: discord.Permissions | None = None
) -> AsyncIterator[str]:
    """Serve what a login asks for, and servers with so many members; yield the address."""
    servers = [
        {"id": str(1456074443980800100 + n), "name": f"server {n}", "approximate_member_count": count}
        | {"permissions": str((permissions or discord.Permissions()).value)}
        for n, count in enumerate(members)
    ]

    async def answer(request: web.Request) -> web.Response:
        if request.headers["Authorization"] != f"Bot {token}":
            return as_json({"message": "401: Unauthorized", "code": 0}, status=401)
        path, after = request.path, int(request.query.get("after", 0))
        if path == "/users/@me/guilds":
            assert request.query["with_counts"] == "1"
            page = [server for server in servers if int(server["id"]) > after]
            return as_json(page[: int(request.query["limit"])])
        return as_json({"/users/@me": BOT, "/oauth2/applications/@me": application(flags)}[path])

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Check:
    """Return what the doctor says of a bot with these flags, members by server, and settings."""

    async def log_in(
        flags: discord.ApplicationFlags, *, members: list[int] | None = None, token: str = "right", **settings: str
    ) -> str:
        environment = {"DISCORD_TOKEN": "right"} | {
            f"REACTUNE_DISCORD__{key}": value for key, value in settings.items()
        }
        async with discord_with(flags, members or [], token) as address:
            monkeypatch.setattr(Route, "BASE", address)
            return await check_token(load_settings(environment=environment | {"DISCORD_TOKEN": "right"}))

    return log_in


async def test_a_wrong_token_is_reported(check: Check):
    with pytest.raises(Problem) as raised:
        await check(TOGGLED, token="another")
    assert str(raised.value) == BAD_TOKEN


@pytest.mark.parametrize(
    ("setting", "remedy"), [("MESSAGE_CONTENT_INTENT", NO_INTENT), ("MEMBERS_INTENT", NO_MEMBERS_INTENT)]
)
async def test_an_intent_that_is_requested_but_not_enabled_is_reported(check: Check, setting, remedy):
    off = {"MESSAGE_CONTENT_INTENT": "false", "MEMBERS_INTENT": "false"}
    with pytest.raises(Problem) as raised:
        await check(discord.ApplicationFlags(), **off | {setting: "true"})
    assert str(raised.value) == remedy


async def test_up_to_ten_thousand_users_the_toggle_is_enough(check: Check):
    assert await check(TOGGLED, members=[1_800, 30]) == (
        "accepted by Discord; its servers have about 1,830 members, and its privileged intents need no review up to "
        "10,000 different users"
    )


async def test_above_that_a_review_may_be_due(check: Check):
    """A user in two servers counts once for Discord and twice here, so it is a hint."""
    with pytest.raises(Hint) as raised:
        await check(TOGGLED, members=[50] * 201)  # the list of servers has two pages
    assert str(raised.value) == (
        "accepted by Discord; its servers have about 10,050 members, and above 10,000 different users Discord reviews "
        "privileged intents: when it asks, apply within 90 days in the developer portal, and again each year"
    )


async def test_an_approved_bot_has_to_apply_again_each_year(check: Check):
    assert await check(APPROVED, members=[20_000]) == (
        "accepted by Discord and approved for its privileged intents; apply again when Discord asks, once a year"
    )


async def test_one_intent_of_two_by_toggle_is_not_approved(check: Check):
    flags = discord.ApplicationFlags(gateway_message_content=True, gateway_guild_members_limited=True)
    assert "need no review up to 10,000 different users" in await check(flags, MEMBERS_INTENT="true")


async def test_without_privileged_intents_there_is_nothing_to_review(check: Check):
    said = await check(discord.ApplicationFlags(), MESSAGE_CONTENT_INTENT="false")
    assert said == "accepted by Discord; no privileged intents are requested"


@pytest.fixture
def check_looks(tmp_path, monkeypatch):
    """Return what the doctor says of a bot with these permissions in servers of so many members."""

    async def check_looks(
        permissions: discord.Permissions,
        display_name: str = "Ebba",
        guild_id: int | None = None,
        members: Sequence[int] = (3, 4),
        **settings: str,
    ) -> str:
        data = {"REACTUNE_DATA__DIRECTORY": str(tmp_path), "DISCORD_TOKEN": "right"}
        loaded = load_settings(environment=data | settings)
        with closing(open_database(loaded)) as database, database.transaction() as session:
            card = Card(display_name=display_name, system_prompt="x")
            create_personality(session, "ebba", card, by="test", guild_id=guild_id)
        async with discord_with(TOGGLED, [*members], "right", permissions) as address:
            monkeypatch.setattr(Route, "BASE", address)
            return await check_appearances(loaded)

    return check_looks


async def test_with_the_permission_all_is_well(check_looks):
    said = await check_looks(discord.Permissions(manage_webhooks=True))
    assert said == "ebba speaks with a name or a picture of their own in 2 servers"


async def test_without_it_the_servers_are_named(check_looks):
    with pytest.raises(Hint, match=r"in 2 servers of 2 \(server 0, server 1\), where the bot has no permission"):
        await check_looks(discord.Permissions())


async def test_a_servers_own_personality_is_looked_for_in_that_server_only(check_looks):
    with pytest.raises(Hint, match=r"in 1 server of 1 \(server 1\), where the bot has no permission"):
        await check_looks(discord.Permissions(), guild_id=1456074443980800101)


async def test_all_servers_are_asked_about(check_looks):
    said = await check_looks(discord.Permissions(manage_webhooks=True), members=[1] * 401)
    assert said == "ebba speaks with a name or a picture of their own in 401 servers"


async def test_without_message_content_it_says_so_before_it_asks_discord(check_looks):
    with pytest.raises(Hint, match=r"switch on discord\.message_content_intent"):
        await check_looks(discord.Permissions(), REACTUNE_DISCORD__MESSAGE_CONTENT_INTENT="false")


async def test_without_a_name_nothing_is_asked(check_looks):
    said = await check_looks(discord.Permissions(), display_name="")
    assert said == "no personality has a name or a picture of its own"
