"""A request has one id, from the message over the reply to the vote; members, logs and rows name the same."""

from __future__ import annotations

import logging
import re

import pytest

from bot.engine.openvino.worker_process import _log_for_worker
from bot.text.lineage import NOTHING_FOUND, trace_lines
from storage.database.tables import ReplyRow
from storage.insights.answers import trace
from storage.runtime.requests import note_request, working_on
from tests.bot.panels import said
from tests.past import add_round, add_version, pair


@pytest.fixture
def told(caplog):
    """Return {message: request id} of what was logged."""
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(note_request)
    yield lambda: {record.getMessage(): record.request_id for record in caplog.records}
    caplog.handler.removeFilter(note_request)


async def test_message_reply_and_vote_have_one_id(place, told, rows):
    answer = await place.ask("hi")
    await place.bo.react(answer, "👍")
    (reply,) = rows(ReplyRow)
    assert re.fullmatch(r"[0-9a-f]{10}", reply.request_id)
    lines = told()
    assert lines[f"Reply {reply.id} by base is complete: 2 tokens in 0.2 s."] == reply.request_id
    assert lines[f"A vote on reply {reply.id} is stored: up."] == reply.request_id


async def test_another_answer_is_a_separate_request(place, rows):
    answer = await place.ask("hi")
    await place.bo.react(answer, "🔁")
    first, second = (row.request_id for row in rows(ReplyRow))
    assert second
    assert first != second


async def test_the_reference_that_a_member_reads_finds_log_and_reply(place, told, engine, rows):
    async def break_down() -> None:
        raise ZeroDivisionError

    engine.interlude = break_down
    notice = await place.ask("hi")
    reference = re.search(r"reference: `(\w+)`", notice.content)[1]
    assert told()[f"Unexpected error, reference {reference}"] == reference
    assert rows(ReplyRow)[0].request_id == reference


async def test_a_command_that_fails_has_a_reference_as_well(place, engine, told):
    engine.failure = RuntimeError("secret detail")
    await place.grace.slash(place.channel, "arena start", prompt="Tea?")
    reference = re.search(r"reference: `(\w+)`", said(place.last))[1]
    assert told()[f"Unexpected error, reference {reference}"] == reference


async def test_a_trace_leads_from_the_message_to_the_version(place, rows, query):
    answer = await place.ask("hi")
    await place.bo.react(answer, "👎")
    (reply,) = rows(ReplyRow)

    def learn(session) -> None:
        round_id = add_round(session, 1, [pair(chosen=reply.id, rejected=reply.id)])
        add_version(session, round_id)

    query(learn)
    (found,) = query(lambda session: trace(session, reply.request_id))
    assert (found.votes, found.message_ids, found.version) == ({"down": 1}, (answer.id,), "base")
    assert query(lambda session: trace(session, str(answer.id))) == [found]
    lines = trace_lines([found])
    assert lines[0].startswith(f"request {reply.request_id}: message {reply.source_message_id} in channel")
    assert lines[-2:] == ["  votes: 1 down", "  round 1 learned from it: published, v1"]


def test_an_unknown_request_is_reported():
    assert trace_lines([]) == [NOTHING_FOUND]


def test_log_lines_of_a_model_process_name_the_request(told):
    from bot.engine.openvino.worker import _Relay

    events: list[dict] = []
    relay = _Relay(events.append)
    record = logging.makeLogRecord({"name": "worker", "levelno": logging.ERROR, "levelname": "ERROR", "msg": "no room"})
    with working_on("a1b2c3d4e5"):
        relay.emit(record)
    _log_for_worker(events[0]["log"])
    assert told() == {"no room": "a1b2c3d4e5"}
