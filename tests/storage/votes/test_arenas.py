"""Arenas: one per channel, opened and closed once; the members' last picks are the votes on the answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.replies import FinishedReply, NewReply, latest_in_channel, was_called_into
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import NOBODY, ArenaStatus, Basis, Origin, Outcome
from storage.database.tables import ArenaRow, MemberRow, ReplyRow, VoteEventRow
from storage.errors import ArenaClosed, ArenaConflict
from storage.privacy.erasure import delete_member
from storage.votes import arenas
from storage.votes.arenas import SCHEDULE, Arena, PickGesture, pick
from storage.votes.votes import Tally, Vote, read_version_votes, votes_on
from tests.past import add_version
from tests.seeding import ALICE, BOB, CAROL, CHANNEL, new_reply
from tests.storage.together import at_once

pytestmark = pytest.mark.both_databases

MESSAGE = 777
IN_AN_HOUR = timedelta(hours=1)
PRESSED, REACTED, UNREACTED, FOUND = PickGesture


def prepare(session: Session, personality_id: int, *, channel_id: int = CHANNEL, by: str = "grace") -> Arena:
    return arenas.prepare_arena(
        session,
        personality_id=personality_id,
        guild_id=1,
        channel_id=channel_id,
        prompt="Tea or coffee?",
        started_by=by,
        closes_at=utc_now() + IN_AN_HOUR,
    )


def rows_of(
    personality_id: int, texts: Sequence[str], version_id: int | None = None
) -> list[tuple[NewReply, FinishedReply]]:
    of = {"personality_id": personality_id, "version_id": version_id}
    new = new_reply("Tea or coffee?", guild_id=1, origin=Origin.ARENA, **of)
    return [(new, FinishedReply(text, Outcome.COMPLETE)) for text in texts]


def opened(session: Session, personality_id: int, texts: Sequence[str] = ("tea", "coffee", "both")) -> Arena:
    arena = prepare(session, personality_id)
    arenas.place_arena(session, arena.id, MESSAGE)
    return arenas.open_arena(session, arena.id, rows_of(personality_id, texts), utc_now() + IN_AN_HOUR)


def votes_by_place(session: Session, arena_id: int) -> dict[int, dict[int, Vote]]:
    return {
        answer.position: votes_on(session, answer.reply_id) for answer in arenas.read_arena_answers(session, arena_id)
    }


def counts(session: Session, arena_id: int) -> list[int]:
    return [answer.picks for answer in arenas.read_results(session, arena_id)]


# From prepared to closed


def test_an_arena_is_prepared_opened_and_closed(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    assert (arena.status, arena.message_id, arena.prompt) == (ArenaStatus.OPEN, MESSAGE, "Tea or coffee?")
    answers = arenas.read_arena_answers(session, arena.id)
    assert [(answer.position, answer.text, answer.version) for answer in answers] == [
        (1, "tea", "base"),
        (2, "coffee", "base"),
        (3, "both", "base"),
    ]
    assert arenas.close_arena(session, arena.id)
    assert not arenas.close_arena(session, arena.id)
    closed = arenas.find_arena(session, arena.id)
    assert closed.status is ArenaStatus.CLOSED
    assert closed.closed_at is not None


def test_its_answers_are_replies_without_a_member(session: Session, personality_id: int) -> None:
    opened(session, personality_id)
    rows = session.scalars(select(ReplyRow)).all()
    assert {(row.origin, row.basis, row.author_id, row.outcome) for row in rows} == {
        (Origin.ARENA, Basis.PROMPT_BANK, NOBODY, Outcome.COMPLETE)
    }
    assert len({row.prompt_digest for row in rows}) == 1


def test_an_arena_is_not_a_conversation(session: Session, personality_id: int) -> None:
    opened(session, personality_id)
    assert latest_in_channel(session, CHANNEL) is None
    assert not was_called_into(session, CHANNEL)


def test_a_channel_has_one_arena_at_a_time(session: Session, personality_id: int) -> None:
    first = prepare(session, personality_id)
    with pytest.raises(ArenaConflict, match="already"):
        prepare(session, personality_id)
    prepare(session, personality_id, channel_id=CHANNEL + 1)
    arenas.fail_arena(session, first.id, "no answers")
    assert prepare(session, personality_id).id != first.id


def test_one_of_several_simultaneous_arena_starts_wins(database: Database, personality_id: int) -> None:
    outcomes = at_once(database, 4, lambda session, _: prepare(session, personality_id), ArenaConflict)
    assert sorted(isinstance(one, ArenaConflict) for one in outcomes) == [False, True, True, True]


def test_an_arena_that_was_stopped_during_preparation_is_not_opened(session: Session, personality_id: int) -> None:
    arena = prepare(session, personality_id)
    assert arenas.stop_arena(session, CHANNEL, "grace").status is ArenaStatus.FAILED
    with pytest.raises(ArenaConflict, match="was stopped"):
        arenas.open_arena(session, arena.id, rows_of(personality_id, ["tea", "coffee"]), utc_now())
    assert session.query(ReplyRow).count() == 0
    assert "stopped by grace" in arenas.find_arena(session, arena.id).reason


def test_stopping_takes_no_more_picks_and_leaves_the_results_to_show(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    pick(session, arena.id, ALICE, 1, PRESSED)
    stopped = arenas.stop_arena(session, CHANNEL, "grace")
    assert stopped.status is ArenaStatus.OPEN
    assert [due.id for due in arenas.open_arenas(session, utc_now())] == [arena.id]
    with pytest.raises(ArenaClosed):
        pick(session, arena.id, BOB, 1, PRESSED)
    assert counts(session, arena.id) == [1, 0, 0]


def test_stopping_without_an_arena_says_so(session: Session) -> None:
    with pytest.raises(ArenaConflict, match="no arena"):
        arenas.stop_arena(session, CHANNEL, "grace")


def test_arenas_of_a_dead_process_fail(session: Session, personality_id: int) -> None:
    arena = prepare(session, personality_id)
    assert [(dead.id, dead.status) for dead in arenas.fail_unprepared(session)] == [(arena.id, ArenaStatus.FAILED)]
    assert "restarted" in arenas.find_arena(session, arena.id).reason
    assert arenas.fail_unprepared(session) == []


def test_a_failed_arena_keeps_its_votes_and_takes_no_more(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    pick(session, arena.id, ALICE, 2, PRESSED)
    assert arenas.fail_arena(session, arena.id, "its message was deleted")
    assert not arenas.fail_arena(session, arena.id, "again")
    assert votes_by_place(session, arena.id)[2] == {ALICE: Vote.UP}
    with pytest.raises(ArenaClosed):
        pick(session, arena.id, ALICE, 1, PRESSED)


def test_it_is_due_when_its_time_has_come(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    assert arenas.open_arenas(session, utc_now()) == []
    assert [due.id for due in arenas.open_arenas(session, arena.closes_at)] == [arena.id]
    assert [due.id for due in arenas.open_arenas(session)] == [arena.id]


# For the bank and the schedule


def test_used_prompts_and_scheduled_arenas_are_remembered(session: Session, personality_id: int) -> None:
    assert arenas.last_scheduled(session) is None
    long_ago = datetime(2026, 1, 2, tzinfo=UTC)
    first = prepare(session, personality_id, by=SCHEDULE)
    session.get_one(ArenaRow, first.id).started_at = long_ago
    arenas.fail_arena(session, first.id, "none")
    assert arenas.last_scheduled(session) == long_ago
    second = prepare(session, personality_id)
    assert arenas.last_used(session, personality_id) == {"Tea or coffee?": second.started_at}
    assert arenas.last_scheduled(session) == long_ago
    assert [arena.id for arena in arenas.recent_arenas(session, 1, 5)] == [second.id, first.id]


# Picks


def test_a_pick_likes_one_answer_and_dislikes_the_others(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    assert pick(session, arena.id, ALICE, 2, PRESSED) == 2
    assert votes_by_place(session, arena.id) == {1: {ALICE: Vote.DOWN}, 2: {ALICE: Vote.UP}, 3: {ALICE: Vote.DOWN}}
    assert {row.message_id for row in session.scalars(select(VoteEventRow))} == {MESSAGE}


def test_another_pick_changes_the_vote_and_the_same_one_withdraws_it(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    pick(session, arena.id, ALICE, 2, PRESSED)
    assert pick(session, arena.id, ALICE, 3, PRESSED) == 3
    assert votes_by_place(session, arena.id) == {1: {ALICE: Vote.DOWN}, 2: {ALICE: Vote.DOWN}, 3: {ALICE: Vote.UP}}
    assert pick(session, arena.id, ALICE, 3, PRESSED) is None
    assert votes_by_place(session, arena.id) == {1: {}, 2: {}, 3: {}}


@pytest.mark.parametrize(
    ("gestures", "picked"),
    [
        ([(1, REACTED), (1, REACTED)], 1),
        ([(1, REACTED), (2, REACTED)], 2),
        ([(1, REACTED), (2, PRESSED), (1, UNREACTED)], 2),
        ([(1, REACTED), (1, UNREACTED)], None),
        ([(1, PRESSED), (2, FOUND)], 1),
        ([(1, PRESSED), (1, PRESSED), (2, FOUND)], None),
        ([(2, FOUND), (1, FOUND)], 2),
        ([(9, PRESSED)], None),
    ],
)
def test_number_reactions_set_and_take_back(
    session: Session, personality_id: int, gestures: list[tuple[int, PickGesture]], picked: int | None
) -> None:
    arena = opened(session, personality_id)
    for place, gesture in gestures:
        now = pick(session, arena.id, ALICE, place, gesture, reread=gesture is FOUND)
    assert now == picked
    likes = [place for place, votes in votes_by_place(session, arena.id).items() if votes.get(ALICE) is Vote.UP]
    assert likes == ([picked] if picked else [])


def test_since_when_the_voter_is_a_member_is_noted(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    joined_at = datetime(2026, 1, 2, tzinfo=UTC)
    pick(session, arena.id, ALICE, 1, PRESSED, joined_at=joined_at)
    pick(session, arena.id, BOB, 1, PRESSED)
    rows = session.scalars(select(MemberRow)).all()
    assert [(row.guild_id, row.user_id, row.joined_at) for row in rows] == [(1, ALICE, joined_at)]


def test_a_deleted_members_reaction_does_not_come_back(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    pick(session, arena.id, ALICE, 1, REACTED)
    delete_member(session, ALICE)
    pick(session, arena.id, ALICE, 1, FOUND, reread=True)
    assert votes_by_place(session, arena.id) == {1: {}, 2: {}, 3: {}}


def test_reactions_that_were_missed_count_in_an_overdue_arena_and_later_presses_do_not(
    session: Session, personality_id: int
) -> None:
    arena = opened(session, personality_id)
    session.get_one(ArenaRow, arena.id).closes_at = utc_now()
    session.flush()
    assert pick(session, arena.id, ALICE, 1, FOUND, reread=True) == 1
    with pytest.raises(ArenaClosed):
        pick(session, arena.id, BOB, 1, PRESSED)
    assert counts(session, arena.id) == [1, 0, 0]


def test_picks_do_not_count_as_approval(session: Session, personality_id: int) -> None:
    version = add_version(session, personality_id=personality_id)
    arena = prepare(session, personality_id)
    rows = [*rows_of(personality_id, ["tea"], version.id), *rows_of(personality_id, ["coffee"])]
    arenas.open_arena(session, arena.id, rows, utc_now() + IN_AN_HOUR)
    pick(session, arena.id, ALICE, 1, PRESSED)
    assert [answer.version for answer in arenas.read_arena_answers(session, arena.id)] == ["v1", "base"]
    assert read_version_votes(session, personality_id).by_version.get(version.id, Tally()) == Tally()


def test_picks_at_once_leave_each_member_one_vote(database: Database, personality_id: int) -> None:
    arena = database.call(opened, personality_id)

    at_once(database, 6, lambda session, i: pick(session, arena.id, (ALICE, BOB)[i % 2], i // 2 + 1, REACTED))
    with database.transaction() as session:
        votes = votes_by_place(session, arena.id)
        assert sum(counts(session, arena.id)) == 2
        for member in (ALICE, BOB):
            assert sorted(said[member] for said in votes.values()) == [Vote.DOWN, Vote.DOWN, Vote.UP]


SOMEBODY = st.sampled_from([ALICE, BOB, CAROL])
PRESSES = st.lists(st.tuples(SOMEBODY, st.integers(1, 3), st.sampled_from([PRESSED, REACTED, UNREACTED])), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(presses=PRESSES)
def test_only_each_members_last_picks_become_votes(
    database: Database, personality_id: int, presses: list[tuple[int, int, PickGesture]]
) -> None:
    with database.transaction() as session:
        arena = opened(session, personality_id)
        picked: dict[int, int | None] = {}
        for member, place, gesture in presses:
            same = picked.get(member) == place
            if gesture is REACTED or (gesture is PRESSED and not same):
                picked[member] = place
            elif same:
                picked[member] = None
            assert pick(session, arena.id, member, place, gesture) == picked.get(member)
        standing = {member: place for member, place in picked.items() if place is not None}
        assert votes_by_place(session, arena.id) == {
            place: {member: Vote.UP if own == place else Vote.DOWN for member, own in standing.items()}
            for place in (1, 2, 3)
        }
        assert counts(session, arena.id) == [list(standing.values()).count(place) for place in (1, 2, 3)]
        session.rollback()
