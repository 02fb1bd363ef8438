"""The answers of a personality as the console lists them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from storage.database.enums import NOBODY, Cause, Origin
from storage.database.tables import ReplyRow
from storage.errors import VersionNotFound
from storage.insights.answers import AnswerKind, AnswerQuery, in_channels, list_answers, read_answer, recent_channels
from storage.personalities.personalities import ensure_personality
from storage.privacy.erasure import erase_answers
from storage.votes.corrections import give_cause, withdraw
from storage.votes.votes import Vote
from tests.past import add_version
from tests.seeding import ALICE, BOB, CAROL, CHANNEL, add_correction, add_reply, vote


def ids(session: Session, limit: int = 20, **query: object) -> list[int]:
    return [one.id for one in list_answers(session, 1, AnswerQuery(**query), limit)]


@pytest.fixture
def replies(session: Session, personality_id: int) -> list[int]:
    return [add_reply(session, prompt=f"question {i}", answer=f"answer {i}") for i in range(5)]


def test_the_newest_come_first_a_page_at_a_time(session: Session, replies: list[int]) -> None:
    assert ids(session, 2) == replies[:2:-1]
    assert ids(session, 2, before_id=replies[3]) == [replies[2], replies[1]]
    assert ids(session, 2, before_id=replies[0]) == []


def test_samples_and_answers_of_other_personalities_are_not_listed(session: Session, replies: list[int]) -> None:
    add_reply(session, origin=Origin.SAMPLE)
    add_reply(session, personality_id=ensure_personality(session, "other"))
    assert ids(session) == replies[::-1]


def test_disliked_are_those_with_more_dislikes_than_likes_now(session: Session, replies: list[int]) -> None:
    disliked, changed, disputed, liked, _ = replies
    for reply_id, user_id, said in (
        (disliked, ALICE, Vote.DOWN),
        (changed, ALICE, Vote.DOWN),
        (disputed, ALICE, Vote.DOWN),
        (disputed, BOB, Vote.UP),
        (liked, CAROL, Vote.UP),
    ):
        vote(session, reply_id, user_id, said)
    vote(session, changed, ALICE, Vote.DOWN, added=False)
    assert ids(session, kind=AnswerKind.DISLIKED) == [disliked]


def test_improved_answers_and_wrong_facts_are_found(session: Session, replies: list[int]) -> None:
    add_correction(session, replies[1], "better")
    withdraw(session, add_correction(session, replies[2], "better", author_id=BOB), BOB)
    give_cause(session, replies[3], ALICE, Cause.WRONG_FACT)
    give_cause(session, replies[4], ALICE, Cause.TOO_LONG)
    assert ids(session, kind=AnswerKind.SUGGESTED) == [replies[1]]
    assert ids(session, kind=AnswerKind.WRONG_FACT) == [replies[3]]


def test_they_are_searched_by_version_and_words(session: Session, replies: list[int]) -> None:
    version = add_version(session, None)
    of_version = add_reply(session, answer="100 % of THIS", version_id=version.id)
    assert ids(session, version="v1") == [of_version]
    assert ids(session, version="base") == replies[::-1]
    assert ids(session, text="% of this") == [of_version]
    assert ids(session, text="answer _") == []
    with pytest.raises(VersionNotFound):
        ids(session, version="v9")


def test_they_are_found_by_channel_and_cause(session: Session, replies: list[int]) -> None:
    elsewhere = add_reply(session, channel_id=77, guild_id=7)
    labelled = add_reply(session, channel_id=NOBODY, origin=Origin.SITTING)
    give_cause(session, elsewhere, ALICE, Cause.TOO_LONG)
    give_cause(session, replies[0], BOB, Cause.TOO_LONG)
    give_cause(session, replies[1], BOB, Cause.UNSAFE)
    assert ids(session, channel_id=77) == [elsewhere]
    assert ids(session, channel_id=NOBODY) == [labelled]
    assert ids(session, cause=Cause.TOO_LONG) == [elsewhere, replies[0]]
    assert ids(session, cause=Cause.TOO_LONG, channel_id=CHANNEL) == [replies[0]]
    assert ids(session, 1, cause=Cause.TOO_LONG, before_id=elsewhere) == [replies[0]]


def test_they_are_found_by_their_days(session: Session, personality_id: int) -> None:
    replies = [add_reply(session, at=datetime(2026, 5, day, 12, tzinfo=UTC)) for day in range(10, 15)]
    assert ids(session, since=date(2026, 5, 13)) == [replies[4], replies[3]]
    assert ids(session, until=date(2026, 5, 11)) == [replies[1], replies[0]]
    assert ids(session, since=date(2026, 5, 12), until=date(2026, 5, 12)) == [replies[2]]
    assert ids(session, since=date(2027, 1, 1)) == ids(session, until=date.min) == []
    session.get_one(ReplyRow, replies[2]).created_at = datetime(2026, 5, 12, 23, 59, 59, 999_999, UTC)
    assert ids(session, since=date(2026, 5, 12), until=date(2026, 5, 12)) == [replies[2]]
    assert ids(session, until=date.max) == replies[::-1]


def test_answers_in_other_channels_are_neither_listed_nor_opened(session: Session, replies: list[int]) -> None:
    places = ((1, 11), (1, 12), (2, 21), (None, 31))
    first, hidden, second, direct = (add_reply(session, guild_id=server, channel_id=id_) for server, id_ in places)
    assert ids(session, channels={1: [11]}) == [first]
    assert ids(session, channels={1: [11], 2: [21, 22]}) == [second, first]
    assert ids(session, channels={1: [11], 2: [21]}, channel_id=21) == [second]
    assert ids(session, channels={1: [11]}, channel_id=12) == ids(session, channels={1: [11]}, channel_id=21) == []
    assert ids(session, channels={3: [31]}) == ids(session, channels={1: []}) == ids(session, channels={}) == []
    assert read_answer(session, 1, first, in_channels({1: [11]})) is not None
    for reply_id in (hidden, second, direct, replies[0]):
        assert read_answer(session, 1, reply_id, in_channels({1: [11]})) is None


def test_the_channels_that_had_answers_most_recently_are_offered(session: Session, replies: list[int]) -> None:
    for server, channel_id in ((1, 11), (1, 12), (None, 31), (2, 21), (1, 11)):
        add_reply(session, guild_id=server, channel_id=channel_id)
    assert recent_channels(session) == [(1, 11), (2, 21), (1, 12)]
    assert recent_channels(session, {1: [11, 12], 2: []}) == [(1, 11), (1, 12)]
    assert recent_channels(session, {}) == []
    assert recent_channels(session, most=2) == [(1, 11), (2, 21)]
    assert recent_channels(session, searched=1) == [(1, 11)]


@pytest.mark.parametrize(
    "query",
    [
        {"channel_id": CHANNEL},
        {"cause": Cause.TOO_LONG},
        {"since": date(2026, 1, 1), "until": date(2026, 2, 1)},
        {"channels": {7: [CHANNEL]}},
        {"channels": {7: [CHANNEL], 8: []}},
        {"channels": {7: [CHANNEL], 8: []}, "channel_id": CHANNEL, "since": date(2026, 1, 1)},
    ],
    ids=" ".join,
)
def test_no_filter_sorts_all_answers(session: Session, personality_id: int, query: dict[str, Any]) -> None:
    if session.get_bind().dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by what the tables hold")
    plan: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, values: Any, _context: Any, _many: bool) -> None:
        if statement.startswith("SELECT replies.id, "):
            plan.extend(row[3] for row in cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))

    event.listen(session.get_bind(), "before_cursor_execute", explain)
    ids(session, **query)
    event.remove(session.get_bind(), "before_cursor_execute", explain)
    assert plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_one_answer_has_everything_that_is_known_of_it(session: Session, replies: list[int]) -> None:
    vote(session, replies[0], ALICE, Vote.DOWN)
    give_cause(session, replies[0], ALICE, Cause.TOO_LONG)
    add_correction(session, replies[0], "better")
    found = read_answer(session, 1, replies[0])
    assert (found.listed.question, found.listed.answer, found.listed.version) == ("question 0", "answer 0", "base")
    assert (found.causes, found.suggestions, found.listed.votes.down) == ((Cause.TOO_LONG,), ("better",), 1)
    assert found.trace.votes == {"down": 1}
    assert read_answer(session, 2, replies[0]) is None
    erase_answers(session, [replies[0]])
    session.expire_all()
    assert read_answer(session, 1, replies[0]) is None
