"""Somebody talks with versions in private: nobody else sees it, and what they say of the answers counts."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from bot.engine import Finish
from storage.database.enums import OPERATOR, Basis, Origin
from storage.database.tables import AuditRow, ReplyIdRow, ReplyRow, ReplySpeakerRow, VoteEventRow
from storage.operations.console_sessions import make_link
from storage.privacy.erasure import delete_member
from tests.bot.console.conftest import Browser, new_client

GRACE = 7


@pytest.fixture
def say(visitor):
    async def send(question: str, *, answers: int = 1, version: str = "base", beside: str = "", talk: str = ""):
        return await visitor.post(
            "/playground", question=question, answers=str(answers), version=version, beside=beside, talk=talk
        )

    return send


async def test_a_talk_begins_and_goes_on_from_the_chosen_answer(say, visitor, rows):
    empty = await visitor.get("/playground?talk=12,nonsense")
    assert "in private" in empty.text
    assert "base (answers now)" in empty.text

    first = await say("What is <b>tea</b>?", answers=3)
    assert "&lt;b&gt;tea" in first.html
    replies = rows(ReplyRow)
    assert len(replies) == 3
    assert {(row.origin, row.basis, row.author_id, row.channel_id) for row in replies} == {
        (Origin.PLAYGROUND, Basis.LOCAL, OPERATOR, 0)
    }
    assert all(row.answer in first.text for row in replies)

    await say("And coffee?", talk=str(replies[1].id))
    messages = rows(ReplyRow)[-1].messages
    assert [one["content"] for one in messages if one["role"] != "system"] == [
        "What is <b>tea</b>?",
        replies[1].answer,
        "And coffee?",
    ]


async def test_two_versions_answer_side_by_side_and_each_gives_the_same_answer_once(say, engine, add_version, rows):
    version = add_version(1.0)
    seen = await say("Hello", answers=2, version="v1", beside="base")
    assert seen.text.count("v1") > 1
    assert sorted(str(row.version_id) for row in rows(ReplyRow)) == sorted([str(version.id)] * 2 + ["None"] * 2)
    engine.answers = ["Good day."] * 4
    await say("Hello", answers=2, version="v1", beside="base")
    assert [row.version_id for row in rows(ReplyRow)[4:]] == [version.id, None]


async def test_thumbs_turn_and_count(say, visitor, rows):
    await say("Hello")
    reply = rows(ReplyRow)[0]

    async def press(emoji: str):
        return await visitor.change("/playground/vote", talk=str(reply.id), reply=str(reply.id), emoji=emoji)

    assert 'aria-pressed="true"' in (await press("👍")).html
    await press("👎")
    assert [(row.emoji, row.added) for row in rows(VoteEventRow)] == [("👍", True), ("👍", False), ("👎", True)]
    assert 'aria-pressed="true"' not in (await press("👎")).html
    assert "with 👍 or 👎" in (await press("🔥")).text
    assert [row for row in rows(AuditRow) if "vote" in row.action] == [], "other admins read the trail"


async def test_a_talk_goes_with_its_persons_data(env, port, query, rows):
    secret = query(lambda s: make_link(s, GRACE, "grace"))
    async with new_client() as client:
        browser = Browser(client, port)
        await browser.enter(f"/enter?key={secret}")
        await browser.get("/playground")
        await browser.post("/playground", question="My name is Grace", answers="1", version="base")
    (reply,) = rows(ReplyRow)
    assert (reply.author_id, rows(ReplySpeakerRow)[0].user_id) == (GRACE, GRACE)
    query(lambda s: delete_member(s, GRACE))
    assert rows(ReplyRow) == []


async def test_another_persons_talk_stays_theirs(say, place, visitor, rows):
    await place.ask("Hello from the channel")
    reply = rows(ReplyRow)[0]
    assert "from the channel" not in (await visitor.get(f"/playground?talk={reply.id}")).text
    seen = await visitor.change("/playground/vote", talk=str(reply.id), reply=str(reply.id), emoji="👍")
    assert "deleted" in seen.text
    assert rows(VoteEventRow) == []


async def test_the_billionth_answer_can_be_voted_on(visitor, say, rows, query):
    await say("First")
    query(lambda s: s.execute(update(ReplyIdRow).values(highest=4_999_999_999)))
    await say("Hello")
    reply_id = rows(ReplyRow)[-1].id
    assert reply_id == 5_000_000_000
    seen = await visitor.change("/playground/vote", talk=str(reply_id), reply=str(reply_id), emoji="👍")
    assert 'aria-pressed="true"' in seen.html
    assert [row.reply_id for row in rows(VoteEventRow)] == [reply_id]
    found = await visitor.get(f"/answers?kind=all&before={reply_id + 1}")
    assert ("Hello" in found.text, "Hello" in (await visitor.get(f"/answers?kind=all&before={reply_id}")).text) == (
        True,
        False,
    )


async def test_mistakes_get_a_sentence(say, rows):
    for fields, said in (
        ({"question": " "}, "Write a message"),
        ({"question": "x" * 4_001}, "longer than 4,000"),
        ({"question": "Hello", "version": "v9"}, "v9"),
        ({"question": "Hello", "answers": 9}, "from 1 to 4"),
    ):
        assert said in (await say(**fields)).text
        assert rows(ReplyRow) == []


async def test_a_model_that_fails_says_so(say, engine, rows):
    engine.finish = Finish.TIMEOUT
    assert "No version answered" in (await say("Hello")).text
    assert rows(ReplyRow) == []


async def test_answers_are_shown_while_they_grow(visitor, env, rows):
    seen = await visitor.change("/playground", question="Hello", answers="2", version="base", beside="", talk="")
    assert 'hx-trigger="every' in seen.html, "one answer that does not come ends nothing"
    path = seen.html.split('hx-get="')[1].split('"')[0].replace("&amp;", "&")
    await env.settle()
    ended = await visitor.get(path, **{"HX-Request": "true"})
    assert ended.headers["HX-Redirect"] == f"/playground?talk={rows(ReplyRow)[0].id}&version=base&answers=2"
    await visitor.change("/playground", question="Newer", answers="1", version="base", beside="", talk="")
    lost = await visitor.get(path, **{"HX-Request": "true"})
    assert "newer one took its place" in lost.text
    assert ("hx-get" in lost.html, "HX-Retarget" in lost.headers) == (False, False), "the page asks no more"
