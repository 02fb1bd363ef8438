"""Replies: written before their first message, finished once, and found by their Discord messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from storage.conversations.replies import (
    FinishedReply,
    NewReply,
    abandon_reply,
    add_message,
    count_siblings,
    direct_channels,
    find_by_message,
    find_by_messages,
    find_reply,
    find_reply_ids,
    find_unfinished,
    finish_reply,
    interrupt_reply,
    latest_in_channel,
    list_undelivered,
    mark_delivered,
    newest_replies,
    recent_messages,
    start_reply,
    was_called_into,
)
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, Basis, Outcome
from storage.personalities.personalities import ensure_personality
from tests.seeding import ALICE, BOB, CHANNEL, add_reply, message_of

pytestmark = pytest.mark.both_databases


@pytest.fixture
def new(personality_id: int) -> NewReply:
    return NewReply(
        personality_id=personality_id,
        version_id=None,
        base_revision="r" * 64,
        prompt="<|user|>Moin, wie geht's? 👋<|bot|>",
        messages=[{"role": "user", "content": "Moin, wie geht's? 👋"}],
        sampling={"temperature": 0.7, "top_p": 0.9},
        seed=2**62,
        prompt_tokens=12,
        dropped_turns=3,
        guild_id=1 << 60,
        channel_id=CHANNEL,
        author_id=ALICE,
        source_message_id=77,
        basis=Basis.LIVE_CHAT,
        speakers=[BOB, ALICE, BOB],
    )


def test_a_reply_is_kept_as_it_was_asked_and_answered(session: Session, new: NewReply) -> None:
    before = utc_now()
    reply_id = start_reply(session, new)
    assert find_reply(session, reply_id).outcome is Outcome.STREAMING
    finish_reply(session, reply_id, FinishedReply("All good!", Outcome.COMPLETE, answer_tokens=4, total_s=1.5))
    reply = find_reply(session, reply_id)
    for field in ("prompt", "messages", "prompt_tokens", "dropped_turns", "guild_id", "author_id", "basis"):
        assert getattr(reply, field) == getattr(new, field)
    assert (reply.answer, reply.outcome, reply.speakers) == ("All good!", Outcome.COMPLETE, (ALICE, BOB))
    assert before <= reply.created_at <= utc_now()
    assert reply.created_at.utcoffset() == timedelta(0)


def test_an_answer_with_a_zero_byte_is_stored_without_it(session: Session, new: NewReply) -> None:
    reply_id = start_reply(session, new)
    finish_reply(session, reply_id, FinishedReply("odd\0 answer", Outcome.COMPLETE))
    assert find_reply(session, reply_id).answer == "odd answer"


def test_a_reply_is_found_by_each_of_its_messages(session: Session, new: NewReply) -> None:
    reply_id = start_reply(session, new)
    add_message(session, reply_id, 502, CHANNEL, 1)
    add_message(session, reply_id, 501, CHANNEL, 0)
    session.flush()
    for message_id in (501, 502):
        reply = find_by_message(session, message_id)
        assert (reply.id, reply.message_ids) == (reply_id, (501, 502))
    assert find_by_message(session, 503) is None
    assert find_reply_ids(session, [501, 502, 503]) == {501: reply_id, 502: reply_id}
    assert find_reply_ids(session, []) == {}


def test_replies_of_many_messages_are_found_together(session: Session, new: NewReply) -> None:
    first, second = start_reply(session, new), start_reply(session, replace(new, speakers=[BOB], retrieved=()))
    for reply_id, message_id in ((first, 501), (first, 502), (second, 503)):
        add_message(session, reply_id, message_id, CHANNEL, message_id)
    session.flush()
    by_message = find_by_messages(session, [503, 502, 501, 504])
    assert {message_id: reply.id for message_id, reply in by_message.items()} == {501: first, 502: first, 503: second}
    assert (by_message[501].message_ids, by_message[501].speakers) == ((501, 502), (ALICE, BOB))
    assert (by_message[503].message_ids, by_message[503].speakers) == ((503,), (BOB,))
    assert find_by_messages(session, []) == {}


def test_an_answer_waits_for_delivery_until_it_is_marked(session: Session, new: NewReply) -> None:
    delivered, waiting = start_reply(session, new), start_reply(session, new)
    assert finish_reply(session, delivered, FinishedReply("Here.", Outcome.COMPLETE))
    assert finish_reply(session, waiting, FinishedReply("There.", Outcome.LENGTH), undelivered="-# base")
    (reply,) = list_undelivered(session)
    assert (reply.id, reply.answer, reply.undelivered) == (waiting, "There.", "-# base")
    mark_delivered(session, waiting)
    session.expire_all()
    assert list_undelivered(session) == []


def test_a_deleted_reply_is_not_finished(session: Session) -> None:
    assert not finish_reply(session, 1, FinishedReply("too late", Outcome.COMPLETE))


def test_only_unfinished_replies_are_interrupted(session: Session, new: NewReply) -> None:
    done, cut = add_reply(session), start_reply(session, new)
    assert find_unfinished(session) == [cut]
    interrupt_reply(session, cut)
    session.expire_all()
    assert (find_reply(session, cut).outcome, find_reply(session, done).outcome) == (
        Outcome.INTERRUPTED,
        Outcome.COMPLETE,
    )
    assert find_unfinished(session) == []


def test_the_latest_answer_in_a_channel_is_a_whole_one(session: Session) -> None:
    add_reply(session, answer="first")
    add_reply(session, answer="second", outcome=Outcome.LENGTH)
    add_reply(session, answer="third", outcome=Outcome.CANCELLED)
    add_reply(session, answer="elsewhere", channel_id=CHANNEL + 1)
    assert latest_in_channel(session, CHANNEL).answer == "second"
    assert latest_in_channel(session, CHANNEL + 2) is None


def test_a_channel_remembers_that_the_bot_was_called_into_it(session: Session) -> None:
    assert not was_called_into(session, CHANNEL)
    add_reply(session)
    assert was_called_into(session, CHANNEL)
    assert not was_called_into(session, CHANNEL + 1)


def test_siblings_share_prompt_place_and_question(session: Session, new: NewReply) -> None:
    first = start_reply(session, new)
    start_reply(session, new)
    for other in (
        replace(new, prompt="another"),
        replace(new, source_message_id=78),
        replace(new, source_message_id=None),
        replace(new, channel_id=CHANNEL + 1),
        replace(new, personality_id=ensure_personality(session, "pirate")),
    ):
        start_reply(session, other)
    assert count_siblings(session, find_reply(session, first), new.prompt) == 2


def test_siblings_without_a_question_are_counted_too(session: Session, new: NewReply) -> None:
    first = start_reply(session, replace(new, source_message_id=None))
    start_reply(session, replace(new, source_message_id=None))
    assert count_siblings(session, find_reply(session, first), new.prompt) == 2


def test_the_newest_complete_replies_of_a_channel_come_newest_first(session: Session) -> None:
    _, middle, new_ = (add_reply(session) for _ in range(3))
    add_reply(session, channel_id=CHANNEL + 1)
    add_reply(session, outcome=Outcome.FAILED)
    found = newest_replies(session, CHANNEL, 2)
    assert [reply.id for reply in found] == [new_, middle]
    assert (found[0].message_ids, found[0].speakers) == ((message_of(new_),), (ALICE,))


def test_a_naive_time_is_refused(session: Session) -> None:
    with pytest.raises(Exception, match="a datetime without a time zone reached the database"):
        recent_messages(session, utc_now().replace(tzinfo=None))


def test_an_answer_whose_start_may_have_failed_is_ended_by_its_seed(session: Session, new: NewReply) -> None:
    begun, other = (start_reply(session, replace(new, seed=seed)) for seed in (1, 2))
    abandon_reply(session, CHANNEL, 1)
    session.expire_all()
    assert (find_reply(session, begun).outcome, find_reply(session, other).outcome) == (
        Outcome.FAILED,
        Outcome.STREAMING,
    )


def test_noting_a_message_twice_is_noting_it_once(session: Session, new: NewReply) -> None:
    reply_id = start_reply(session, new)
    for _ in range(2):
        add_message(session, reply_id, 5, CHANNEL, 0)
        session.flush()
    assert find_reply(session, reply_id).message_ids == (5,)


def test_direct_messages_with_answers_are_found_the_latest_first(session: Session) -> None:
    for channel_id in (7, 8, 7, NOBODY):  # the last one's answer was drawn, and said to nobody
        add_reply(session, guild_id=None, channel_id=channel_id)
    add_reply(session, guild_id=5, channel_id=9)
    since = utc_now() - timedelta(days=1)
    assert direct_channels(session, since, 5) == [7, 8]
    assert direct_channels(session, since, 1) == [7]
    assert direct_channels(session, utc_now() + timedelta(hours=1), 5) == []
