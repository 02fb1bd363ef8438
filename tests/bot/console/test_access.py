"""The console opens for whoever has a link, and for no other site."""

from __future__ import annotations

import asyncio
import re

import pytest
from sqlalchemy import delete, update

from storage.database.columns import utc_now
from storage.database.enums import OPERATOR
from storage.database.tables import AuditRow, ConsoleSessionRow, RoundRow, SittingRow
from storage.operations.console_sessions import make_link
from tests.bot.console.conftest import Browser, new_client

PAGES = [
    "/",
    "/label",
    "/label/desk",
    "/label/summary",
    "/versions",
    "/versions/list",
    "/rounds",
    "/rounds/newest",
    "/answers",
    "/personalities",
    "/trust",
    "/overview/status",
    "/overview/waiting",
    "/overview/health",
    "/overview/taste",
    "/trust/stored",
    "/overview/report",
]


@pytest.mark.threat("T12")
async def test_a_stranger_sees_nothing(stranger):
    for path in PAGES:
        seen = await stranger.get(path)
        assert (seen.status, "reactune console" in seen.text) == (401, True), path
        assert ("<h1>Sign in</h1>" in seen.html, "has ended" in seen.text) == (True, False), path


async def test_a_link_works_once_and_again_for_whoever_is_inside(stranger, link):
    path = link()
    async with stranger._client.head(stranger.address + path) as looked:
        assert looked.status == 200
    assert "Sign in" in (await stranger.get(path)).text, "whoever only looks does not use it up"
    assert (await stranger.get("/")).status == 401
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await stranger.post("/enter", headers, key=path.partition("key=")[2])).status == 403
    assert (await stranger.enter(path)).path == "/"
    assert (await stranger.enter(path)).path == "/"
    assert (await stranger.get("/")).status == 200
    async with new_client() as client:
        seen = await Browser(client, stranger.port).enter(path)
    assert (seen.status, "was used before or is too old" in seen.text) == (401, True)


async def test_somebody_elses_link_signs_them_in_where_another_is_inside(visitor, query, rows):
    for user_id, whose in ((222, "the member 222"), (OPERATOR, "the operator")):
        key = query(lambda s, user_id=user_id: make_link(s, user_id, "somebody"))
        seen = await visitor.get(f"/enter?key={key}")
        assert f"this link is for {whose}." in seen.text
        await visitor.enter(f"/enter?key={key}")
        await visitor.get("/label")
        await visitor.post("/label")
    assert [row.user_id for row in rows(SittingRow)] == [222, OPERATOR]


async def test_the_cookie_is_for_this_site_and_no_script(stranger, link):
    key = {"key": link().partition("key=")[2]}
    async with (
        new_client() as client,
        client.post(f"{stranger.address}/enter", data=key, allow_redirects=False) as response,
    ):
        cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


async def test_an_ended_session_says_so(visitor, query):
    for lost in (update(ConsoleSessionRow).values(expires_at=utc_now()), delete(ConsoleSessionRow)):
        query(lambda session, lost=lost: session.execute(lost))
        seen = await visitor.get("/versions")
        assert (seen.status, "session has ended" in seen.text) == (401, True)
        changed = await visitor.change("/label/undo")
        assert "session has ended" in changed.text
        assert changed.headers["HX-Retarget"] == "#problem"
        assert 'target="_blank">Sign in with Discord' in changed.html, "what was typed here stays"


async def test_a_page_from_before_a_new_sign_in_says_so(visitor, link):
    opened = visitor.csrf
    await visitor.post("/leave")
    await visitor.enter(link())
    seen = await visitor.post("/rounds", {"Origin": visitor.address}, csrf=opened)
    assert (seen.status, "signed in again since this page was opened" in seen.text) == (403, True)


@pytest.mark.threat("T14")
async def test_a_form_of_another_site_does_nothing(visitor, rows):
    for headers, fields in (
        ({"Origin": "https://evil.example"}, {}),
        ({}, {"csrf": "guess"}),
        ({}, {"csrf": ""}),
        ({"Origin": "null"}, {}),
        ({"Sec-Fetch-Site": "cross-site"}, {}),
    ):
        seen = await visitor.post("/rounds", headers, **fields)
        assert (seen.status, "from another page" in seen.text) == (403, True)
    assert rows(RoundRow) == []


@pytest.mark.threat("T15")
async def test_another_name_for_this_machine_is_refused(visitor):
    seen = await visitor.get("/", Host="evil.example")
    assert seen.status == 421


@pytest.mark.threat("T18")
async def test_every_page_forbids_scripts_and_frames_of_others(visitor, stranger):
    for browser in (visitor, stranger):
        for path in ("/", "/nothing", "/static/console.js", "/alive"):
            headers = (await browser.get(path)).headers
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert "Server" not in headers, "it names no software"


async def test_a_browser_asks_whether_it_has_the_newest_script(visitor):
    seen = await visitor.get("/static/console.js")
    assert seen.headers["Cache-Control"] == "no-cache"
    again = await visitor.get("/static/console.js", **{"If-None-Match": seen.headers["ETag"]})
    assert (again.status, again.headers["Cache-Control"]) == (304, "no-cache")


async def test_no_page_needs_what_the_policy_forbids(visitor):
    for path in PAGES[:-1]:
        html = (await visitor.get(path)).html
        assert not re.search(r"<script(?![^>]*src=\"/static/)|<style|style=\"|\son\w+=|javascript:", html), path
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//(?!127\.0\.0\.1)", html), path


async def test_what_is_said_to_somebody_inside_does_not_ask_to_sign_in(visitor, caplog):
    too_large = await visitor.upload("/label", ("large.txt", b"x" * 2_100_000))
    assert (too_large.status, "<h1>That did not work</h1>" in too_large.html) == (413, True)
    for path in ("/static/nothing.js", "/answers/999"):
        seen = await visitor.get(path)
        assert (seen.status, "Sign in" in seen.html) == (404, False), path
    body = f"csrf={visitor.csrf}&personality=%ff%fe".encode() + b"\xff"
    assert await visitor.send("/label", body, "application/x-www-form-urlencoded") == 400
    assert "Traceback" not in caplog.text


async def test_an_upload_that_is_given_up_leaves_no_traceback(visitor, env, caplog):
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in visitor._client.cookie_jar)
    head = (
        f"POST /knowledge HTTP/1.1\r\nHost: 127.0.0.1:{visitor.port}\r\nCookie: {cookies}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\nhalf="
    )
    _, writer = await asyncio.open_connection("127.0.0.1", visitor.port)
    writer.write(head.encode())
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.transport.abort()
    await asyncio.sleep(0.2)
    assert (await visitor.get("/")).status == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_unknown_page_says_so(visitor):
    seen = await visitor.get("/nothing")
    assert (seen.status, "There is no such page." in seen.text) == (404, True)


async def test_a_number_that_is_too_large_is_no_defect(visitor, place):
    for number in ("4294967296", str(2**63), "9" * 20, "9" * 5_000):
        for path in ("/answers/{}", "/knowledge/{}", "/answers?before={}", "/trust?before={}", "/playground?talk={}"):
            assert (await visitor.get(path.format(number))).status in {200, 404, 409}, path
        for path, fields in (
            ("/trust/{}", {"status": "counted", "votes": number, "reason": "fine"}),
            ("/label/pairs/{}", {"label": "first"}),
            ("/knowledge/gaps/{}/settle", {}),
            ("/versions/rollback", {"seen": number}),
            ("/personalities/bind", {"server": number, "place": number, "strength": "1"}),
            ("/personalities/unbind", {"scope": "channel", "place": number}),
            ("/playground/vote", {"talk": "", "reply": number, "emoji": "👍"}),
        ):
            assert (await visitor.post(path.format(number), **fields)).status in {404, 409}, path


async def test_a_defect_is_an_error_of_the_server_and_a_refusal_is_not(visitor, monkeypatch):
    def break_down(*_args: object, **_more: object) -> str:
        raise RuntimeError

    monkeypatch.setattr("bot.console.pages.overview.read_status_blocks", break_down)
    seen = await visitor.get("/overview/status")
    assert (seen.status, "give the operator this reference" in seen.text) == (500, True)
    refused = await visitor.get("/?personality=ghost")
    assert (refused.status, "There is no personality 'ghost'" in refused.text) == (409, True)


async def test_what_is_done_stands_in_the_audit_trail(visitor, rows):
    assert (await visitor.post("/rounds")).path == "/rounds"
    (entry,) = rows(AuditRow)
    assert (entry.actor, entry.action, entry.guild_id) == ("somebody", "console train", None)
