"""Admins of a served server get in with Discord, and nobody else does."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from bot.console.signin import require_whole_sign_in
from storage.database.columns import utc_now
from storage.database.enums import AuditOutcome
from storage.database.tables import AuditRow, ConsoleSessionRow
from storage.errors import SettingsError
from storage.settings.loading import load_settings
from tests.bot.console.conftest import Browser, new_client
from tests.bot.console.signin.conftest import HOST, PUBLIC
from tests.bot.environment import Env


async def test_an_admin_signs_in(grace, discord_server, place, rows):
    assert "You are signed out" not in (await grace.get("/")).text
    (session,) = rows(ConsoleSessionRow)
    assert (session.user_id, session.servers) == (place.grace.id, [place.channel.guild.id])
    (entry,) = rows(AuditRow)
    assert (entry.actor, entry.action, entry.outcome) == (
        f"grace ({place.grace.id})",
        "console sign in",
        AuditOutcome.DONE,
    )
    assert discord_server.tokens == {}, "the token is given back"


@pytest.mark.threat("T35")
async def test_cookies_are_for_https_and_this_host_only(outside, discord_server, place):
    discord_server.servers[place.grace.id] = [place.channel.guild.id]
    browser = await outside()
    to_discord, begun = await browser.location("/signin")
    _, entered = await browser.location(discord_server.agree(to_discord, place.grace))
    session, used_up = entered.splitlines()
    assert "Max-Age=0" in used_up
    for cookie in (begun, session, used_up):
        assert cookie.startswith("__Host-reactune_")
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
        assert "Domain" not in cookie


async def test_a_stranger_is_led_to_discord(outside, stranger, env, rows):
    browser = await outside()
    seen = await browser.get("/")
    assert (seen.status, f'href="{PUBLIC}/signin"' in seen.html) == (401, True)
    assert "reactune console" not in seen.text
    here = await stranger.get("/")
    assert "reactune console" in here.text
    assert f'href="{PUBLIC}/signin"' in here.html


@pytest.mark.threat("T28")
async def test_whoever_administers_no_served_server_stays_outside(outside, discord_server, place, rows):
    discord_server.servers[place.ada.id] = [place.channel.guild.id]
    browser = await outside()
    for _ in range(2):
        seen = await browser.sign_in(discord_server, place.ada)
        assert (seen.status, "You administer no server that I serve" in seen.text) == (403, True)
    assert (await browser.get("/")).status == 401
    assert rows(ConsoleSessionRow) == []
    (entry,) = rows(AuditRow)
    assert (entry.actor_id, entry.outcome) == (place.ada.id, AuditOutcome.REFUSED)


@pytest.mark.threat("T28")
async def test_a_server_that_is_not_allowed_lets_nobody_in(outside, discord_server, place, hal, settings):
    settings.access.__dict__["servers"] = (place.channel.guild.id,)
    discord_server.servers[hal.id] = [hal.guild.id]
    seen = await (await outside()).sign_in(discord_server, hal)
    assert (seen.status, "You administer no server that I serve" in seen.text) == (403, True)


@pytest.mark.threat("T29")
async def test_a_sign_in_of_another_browser_is_refused(outside, discord_server, place, rows):
    discord_server.servers[place.grace.id] = [place.channel.guild.id]
    to_discord, _ = await (await outside()).location("/signin")
    brought = discord_server.agree(to_discord, place.grace)
    other = await outside()
    assert "did not start that sign-in" in (await other.get(brought)).text
    await other.location("/signin")
    seen = await other.get(brought)
    assert (seen.status, "did not start that sign-in" in seen.text) == (400, True)
    assert "/oauth2/token" not in discord_server.requests
    assert rows(ConsoleSessionRow) == []


@pytest.mark.threat("T29")
async def test_a_code_works_once_and_a_refusal_is_understood(outside, discord_server, place):
    discord_server.servers[place.grace.id] = [place.channel.guild.id]
    browser = await outside()
    to_discord, _ = await browser.location("/signin")
    brought = discord_server.agree(to_discord, place.grace)
    state = brought.partition("state=")[2]
    declined = await browser.get(f"/signin/callback?error=access_denied&state={state}")
    assert "You did not let Discord tell me who you are" in declined.text
    discord_server._codes.clear()
    assert "took too long, or was used before" in (await browser.get(brought)).text


async def test_a_discord_that_answers_nonsense_or_is_away_lets_nobody_in(outside, discord_server, place, rows):
    discord_server.servers[place.grace.id] = [place.channel.guild.id]
    browser, silent = await outside(), "Discord didn't tell me who you are"
    for path, status, body, sentence in (
        ("/oauth2/token", 500, "oops", silent),
        ("/oauth2/token", 200, "<html>", silent),
        ("/oauth2/token", 200, '{"access_token": 5}', silent),
        ("/oauth2/token", 401, '{"error": "invalid_client"}', "doesn't accept this bot's client secret"),
        ("/users/@me", 429, "{}", silent),
        ("/users/@me", 200, '{"id": "me", "username": "x"}', silent),
        ("/users/@me/guilds", 200, '{"guilds": []}', silent),
    ):
        discord_server.answers = {path: (status, body)}
        assert sentence in (await browser.sign_in(discord_server, place.grace)).text, body
    to_discord, _ = await browser.location("/signin")
    brought = discord_server.agree(to_discord, place.grace)
    await discord_server.stop()
    assert silent in (await browser.get(brought)).text
    assert rows(ConsoleSessionRow) == []


@pytest.mark.threat("T30")
async def test_whoever_loses_the_role_is_out(forgetful, grace, place, env, rows):
    assert (await grace.get("/versions")).status == 200
    (role,) = [one for one in place.channel.guild.roles.values() if one.name == "admins"]
    env.backend.remove_member_role(place.channel.guild.id, place.grace.id, role.id)
    seen = await grace.get("/versions")
    assert (seen.status, "You no longer administer a server that I serve" in seen.text) == (403, True)
    assert (await grace.get("/")).status == 401
    assert rows(ConsoleSessionRow) == []
    assert [row.action for row in rows(AuditRow)] == ["console sign in", "console sign out"]


@pytest.mark.threat("T30")
async def test_a_discord_that_does_not_tell_ends_no_session(forgetful, grace, env):
    env.inject_error("GET", "/guilds/*/members/*", status=500, times=None)
    seen = await grace.get("/versions")
    assert (seen.status, "can't check with Discord" in seen.text) == (503, True)
    env.backend.faults.clear()
    assert (await grace.get("/versions")).status == 200


async def test_a_session_outlives_the_bot_and_ends_with_its_time(grace, env, new_bot, query):
    await env.bot.close()  # simcord only detaches it: its console would go on listening
    await env.restart_bot(new_bot())
    assert (await grace.get("/versions")).status == 200
    query(lambda session: session.execute(update(ConsoleSessionRow).values(expires_at=utc_now())))
    assert (await grace.get("/versions")).status == 401


async def test_signing_out_ends_this_session_or_all(grace, outside, discord_server, place, rows):
    other = await outside()
    await other.sign_in(discord_server, place.grace)
    assert "You are signed out" in (await other.post("/leave")).text
    assert len(rows(ConsoleSessionRow)) == 1
    await other.sign_in(discord_server, place.grace)
    assert "You are signed out" in (await other.post("/leave/everywhere")).text
    assert (await grace.get("/")).status == 401
    assert [row.action for row in rows(AuditRow)].count("console sign out") == 2


async def test_a_form_comes_from_the_public_address(grace):
    for origin in ("https://evil.example", f"http://{HOST}", f"http://127.0.0.1:{grace.port}", "null"):
        assert (await grace.post("/label", {"Origin": origin})).status == 403
    assert (await grace.post("/label", {"Origin": PUBLIC})).path == "/label"


@pytest.mark.threat("T34")
async def test_the_operators_link_works_on_the_bots_machine_only(outside, visitor, link, grace, port):
    assert (await visitor.get("/trust/stored")).status == 200
    browser = await outside()
    assert (await browser.get(link())).status == 404
    async with new_client() as client:
        for mine, other in ((grace, Browser(client, port)), (visitor, browser)):
            secrets = {cookie.value for cookie in mine._client.cookie_jar}
            for name in (f"reactune_console_{port}", "__Host-reactune_console", "reactune_console_443"):
                for secret in secrets:
                    assert (await other.get("/", Cookie=f"{name}={secret}")).status == 401
    assert (await visitor.get("/")).status == 200


@pytest.mark.threat("T34")
async def test_nothing_of_the_operator_works_through_a_proxy_whatever_host_it_names(stranger, visitor, link):
    for header in ("X-Forwarded-For", "Forwarded"):
        assert (await stranger.get(link(), **{header: "for=203.0.113.5"})).status == 404
        assert (await visitor.get("/", **{header: "for=203.0.113.5"})).status == 401
    assert (await visitor.get("/")).status == 200


async def test_bytes_that_are_no_text_are_refused(outside, port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    cookies = b"__Host-reactune_console=\xff; __Host-reactune_signin=\xff"
    writer.write(b"GET /signin/callback?code=1&state=%ff HTTP/1.0\r\nHost: " + HOST.encode() + b"\r\n")
    writer.write(b"Cookie: " + cookies + b"\r\n\r\n")
    assert b"400 Bad Request" in await reader.readline()
    writer.close()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"DISCORD_CLIENT_SECRET": ""}, "console.public_url is set, but DISCORD_CLIENT_SECRET is not: "),
        ({"REACTUNE_CONSOLE__PUBLIC_URL": ""}, "DISCORD_CLIENT_SECRET is set, but console.public_url is not: "),
        ({"REACTUNE_CONSOLE__PORT": "0"}, "console.public_url is set, but console.port = 0 switches"),
    ],
)
def test_a_half_configured_sign_in_is_refused(overrides, changes, sentence):
    require_whole_sign_in(load_settings(environment={}))
    require_whole_sign_in(load_settings(environment=overrides))
    with pytest.raises(SettingsError) as refused:
        require_whole_sign_in(load_settings(environment=overrides | changes))
    assert str(refused.value).startswith(sentence)


class TestStart:
    @pytest.fixture
    def overrides(self, overrides):
        return overrides | {"DISCORD_CLIENT_SECRET": ""}

    async def test_a_bot_with_half_a_sign_in_does_not_start(self, new_bot):
        bot = new_bot()
        with pytest.raises(SettingsError, match="DISCORD_CLIENT_SECRET is not"):
            await Env(bot).start()
        await bot.close()
