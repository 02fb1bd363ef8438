"""The answers of a personality as the console lists them."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from storage.database.enums import Cause, Origin
from storage.errors import VersionNotFound
from storage.insights.answers import AnswerKind, AnswerQuery, list_answers, read_answer
from storage.personalities.personalities import ensure_personality
from storage.privacy.erasure import erase_answer
from storage.votes.corrections import give_cause, withdraw
from storage.votes.votes import Vote
from tests.past import add_version
from tests.seeding import ALICE, BOB, CAROL, add_correction, add_reply, vote


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


def test_answers_in_other_channels_are_neither_listed_nor_opened(session: Session, replies: list[int]) -> None:
    places = ((1, 11), (1, 12), (2, 21), (None, 31))
    first, hidden, second, direct = (add_reply(session, guild_id=server, channel_id=id_) for server, id_ in places)
    assert ids(session, channels={1: [11]}) == [first]
    assert ids(session, channels={1: [11], 2: [21, 22]}) == [second, first]
    assert ids(session, channels={3: [31]}) == ids(session, channels={1: []}) == ids(session, channels={}) == []
    assert read_answer(session, 1, first, {1: [11]}) is not None
    for reply_id in (hidden, second, direct, replies[0]):
        assert read_answer(session, 1, reply_id, {1: [11]}) is None


def test_one_answer_has_everything_that_is_known_of_it(session: Session, replies: list[int]) -> None:
    vote(session, replies[0], ALICE, Vote.DOWN)
    give_cause(session, replies[0], ALICE, Cause.TOO_LONG)
    add_correction(session, replies[0], "better")
    found = read_answer(session, 1, replies[0])
    assert (found.listed.question, found.listed.answer, found.listed.version) == ("question 0", "answer 0", "base")
    assert (found.causes, found.suggestions, found.listed.votes.down) == ((Cause.TOO_LONG,), ("better",), 1)
    assert found.trace.votes == {"down": 1}
    assert read_answer(session, 2, replies[0]) is None
    erase_answer(session, replies[0])
    session.expire_all()
    assert read_answer(session, 1, replies[0]) is None
