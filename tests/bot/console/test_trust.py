"""Bursts of votes are decided on, and what was done is read, in the console too."""

from __future__ import annotations

import re
from html import unescape

import pytest

from bot.console.pages.trust import ENTRIES
from storage.database.enums import QuarantineStatus
from storage.database.tables import AuditRow, QuarantineRow
from storage.operations.audit import AuditedAction, record_action
from storage.votes.votes import Vote
from tests.seeding import account, add_reply, vote


@pytest.fixture
def burst(query):
    """Let six new accounts like one answer."""

    def add(session):
        reply = add_reply(session, answer="a bought joke")
        for number in range(6):
            vote(session, reply, account(days_old=1) + number, Vote.UP)

    query(add)


async def test_a_burst_waits_with_its_voters_and_is_left_out_once(visitor, burst, rows):
    assert "No votes are on hold" in (await visitor.get("/trust")).text
    page = await visitor.post("/trust/search")
    assert "6 votes" in page.text
    assert "never" in page.text
    assert 'data-label="Has talked"' in page.html, "on a phone each cell stands under its word"
    unseen = await visitor.post("/trust/1", status="counted", votes="5", reason="fine")
    assert "More votes were added since you looked" in unseen.text
    assert rows(QuarantineRow)[0].status is QuarantineStatus.OPEN
    decision = {"status": "excluded", "votes": "6"}
    assert "Say why" in (await visitor.post("/trust/1", **decision, reason=" ")).text
    assert "Left" in (await visitor.post("/trust/1", **decision, reason="bought")).text.title()
    (quarantine,) = rows(QuarantineRow)
    assert (quarantine.status, quarantine.reason) == (QuarantineStatus.EXCLUDED, "bought")
    assert "already left out by somebody" in (await visitor.post("/trust/1", **decision, reason="again")).text
    assert [row.action for row in rows(AuditRow)][:2] == ["console search suspicious votes", "console decide votes"]


async def test_the_page_says_what_is_stored_and_who_did_what(visitor, place):
    await place.ask("hi")
    await visitor.post("/rounds")
    stored = await visitor.get("/trust/stored")
    assert "<h1>What is stored</h1>" in stored.html, "a page of its own without scripts"
    assert "Everything said here may be used for training." in stored.text
    assert "Answers given outside Discord under 1 day 1" in stored.text
    page = await visitor.get("/trust")
    assert 'href="/trust/stored"' in page.html
    assert "console train" in page.text
    assert "Nothing yet" in (await visitor.get("/trust?before=1")).text


async def test_people_and_channels_have_their_names_in_the_list_of_actions(visitor, place, query):
    subject = f"channel: <#{place.channel.id}>, <#7>"
    action = AuditedAction(actor="grace (1234)", actor_id=1234, action="setup", subject=subject)
    query(lambda session: record_action(session, action))
    page = await visitor.get("/trust")
    assert "grace setup : channel: #general, <#7>" in page.text
    assert 'title="1234"' in page.html


async def test_the_list_of_actions_shows_one_kind_or_one_person(visitor, query):
    def write(session):
        for number in range(ENTRIES + 2):
            record_action(session, AuditedAction("grace (7)", "version promote", f"version: v{number}", actor_id=7))
        record_action(session, AuditedAction("mallory (8)", "arena start", "prompt: hi", actor_id=8))

    query(write)
    page = await visitor.get("/trust")
    assert 'href="/trust?action=arena+start"' in page.html
    assert 'href="/trust?member=7"' in page.html
    arenas = await visitor.get("/trust?action=arena")
    assert "mallory" in arenas.text
    assert "version promote" not in arenas.text
    assert "Votes waiting for you" not in arenas.text
    of_grace = await visitor.get("/trust?member=7&action=version+promote")
    assert "mallory" not in of_grace.text
    (older,) = re.findall(r'href="(/trust\?before=[^"]*)"', of_grace.html)
    last = (await visitor.get(unescape(older))).text
    assert "version: v1 " in last
    assert "version: v2 " not in last
    assert "mallory" not in last
    assert "Nothing yet." in (await visitor.get("/trust?member=9")).text
