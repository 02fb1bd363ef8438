"""Bursts of votes by new or silent accounts wait for an admin; other votes never do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, select
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import NOBODY, Origin, QuarantineRule, QuarantineStatus
from storage.database.tables import QuarantinedVoteRow, QuarantineRow, ReplyRow
from storage.errors import QuarantineConflict
from storage.members import note_members, read_pseudonyms
from storage.personalities.personalities import ensure_personality
from storage.privacy.erasure import delete_member, erase_guild
from storage.privacy.retention import prune_rest
from storage.settings.sections import VoteSettings
from storage.votes.decisions import Quarantine, decide_quarantine, open_quarantines, recent_decisions, voters_in
from storage.votes.quarantines import Burst, SuspectVote, find_bursts, new_bursts, quarantine_bursts, quarantine_votes
from storage.votes.votes import Vote
from storage.votes.weights import read_weighted_votes
from tests.past import add_version
from tests.seeding import ALICE, BOB, add_reply
from tests.storage.conftest import Undone
from tests.storage.together import at_once, together
from tests.storage.votes.test_weights import GUILD, NOON, account_made, add_reply_in, days, vote_at

THREE_IN_TEN_MINUTES = VoteSettings(burst_votes=3, burst_minutes=10)
REPLY, AUTHOR, VERSION = QuarantineRule.REPLY, QuarantineRule.AUTHOR, QuarantineRule.VERSION
LURKERS = range(501, 520)
"""Old accounts that never say a word."""


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


# The detector


def suspect(user_id: int, at_minute: float = 0.0, reply_id: int = 1, **more: Any) -> SuspectVote:
    plain = {"vote": Vote.UP, "author_id": ALICE, "version_id": 0, "is_new": False}
    return SuspectVote(reply_id=reply_id, user_id=user_id, voted_at=NOON + minutes(at_minute), **(plain | more))


def found(votes: Sequence[SuspectVote], settings: VoteSettings = THREE_IN_TEN_MINUTES) -> list[tuple[Any, ...]]:
    """Return (rule, subject, users in order) of each burst."""
    return [(b.rule, b.subject_id, [v.user_id for v in b.votes]) for b in find_bursts(votes, settings)]


def test_enough_same_votes_in_time_on_one_reply_are_a_burst() -> None:
    assert found([suspect(1), suspect(2, 5), suspect(3, 10)]) == [(REPLY, 1, [1, 2, 3])]


@pytest.mark.parametrize(
    "votes",
    [
        [suspect(1), suspect(2, 5)],
        [suspect(1), suspect(2, 5), suspect(3, 10.1)],
        [suspect(1), suspect(2), suspect(3, vote=Vote.DOWN)],
        [],
    ],
    ids=["too few", "too slow", "not of one mind", "none"],
)
def test_fewer_votes_are_not_a_burst(votes: list[SuspectVote]) -> None:
    assert found(votes) == []


def test_zero_votes_turn_the_rule_off() -> None:
    assert found([suspect(user) for user in range(50)], VoteSettings(burst_votes=0)) == []


def test_a_vote_before_the_end_of_a_burst_belongs_to_it() -> None:
    votes = [suspect(user, at) for user, at in ((1, 0), (2, 5), (3, 10), (4, 15), (5, 26), (6, 40))]
    assert found(votes) == [(REPLY, 1, [1, 2, 3, 4])]


def test_two_bursts_on_one_reply_are_separate() -> None:
    votes = [suspect(user, at) for user, at in ((1, 0), (2, 1), (3, 2), (4, 60), (5, 61), (6, 62))]
    assert found(votes) == [(REPLY, 1, [1, 2, 3]), (REPLY, 1, [4, 5, 6])]


def test_votes_on_the_answers_to_one_member_are_a_burst() -> None:
    assert found([suspect(user, reply_id=user) for user in (1, 2, 3)]) == [(AUTHOR, ALICE, [1, 2, 3])]


def test_answers_to_nobody_have_no_author_in_common() -> None:
    assert found([suspect(user, reply_id=user, author_id=NOBODY) for user in (1, 2, 3)]) == []


def test_one_account_with_many_likes_is_not_a_burst() -> None:
    assert found([suspect(1, reply_id=reply_id) for reply_id in range(20)]) == []


def scattered(count: int, **more: Any) -> list[SuspectVote]:
    """Return votes of so many users on answers to as many members."""
    return [suspect(user, reply_id=user, author_id=1_000 + user, **more) for user in range(count)]


def test_on_a_version_twice_as_many_accounts_make_a_burst_and_all_must_be_new() -> None:
    assert found(scattered(5, is_new=True, version_id=4)) == []
    assert found(scattered(6, is_new=True, version_id=4)) == [(VERSION, 4, list(range(6)))]
    assert found(scattered(60)) == []


def test_the_narrowest_rule_that_explains_a_burst_wins() -> None:
    on_reply = [suspect(user, reply_id=1) for user in (1, 2, 3)]
    on_author = [suspect(user, reply_id=user) for user in (4, 5, 6)]
    assert found([*on_author, *on_reply]) == [(REPLY, 1, [1, 2, 3]), (AUTHOR, ALICE, [4, 5, 6])]


def test_held_votes_are_evidence_under_their_own_rule_alone() -> None:
    held = [suspect(user, reply_id=1, quarantined_under=AUTHOR) for user in (1, 2, 3)]
    assert found([*held, suspect(4, reply_id=1)]) == [(AUTHOR, ALICE, [1, 2, 3, 4])]


suspects = st.builds(
    suspect,
    user_id=st.integers(1, 8),
    at_minute=st.integers(0, 40),
    reply_id=st.integers(1, 4),
    vote=st.sampled_from(Vote),
).map(
    lambda vote: replace(vote, author_id=vote.reply_id % 3, version_id=vote.reply_id % 2, is_new=vote.user_id % 2 == 0)
)
"""An answer has one author and one version, and a voter's account one age."""


@given(votes=st.lists(suspects, max_size=40), data=st.data())
def test_the_order_in_which_votes_are_read_does_not_matter(votes: list[SuspectVote], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(votes))
    assert set(find_bursts(shuffled, THREE_IN_TEN_MINUTES)) == set(find_bursts(votes, THREE_IN_TEN_MINUTES))


@given(votes=st.lists(suspects, max_size=40))
def test_a_vote_is_in_one_burst_and_bursts_hold_what_they_say(votes: list[SuspectVote]) -> None:
    bursts = find_bursts(votes, THREE_IN_TEN_MINUTES)
    members = [vote for burst in bursts for vote in burst.votes]
    assert len(members) == len(set(members))
    for burst in bursts:
        assert {vote.vote for vote in burst.votes} == {burst.vote}
        assert len({vote.user_id for vote in burst.votes}) >= 3
        assert subjects(burst) == {burst.subject_id}


def subjects(burst: Burst) -> set[int]:
    column = {REPLY: "reply_id", AUTHOR: "author_id", VERSION: "version_id"}[burst.rule]
    return {getattr(vote, column) for vote in burst.votes}


@given(votes=st.lists(suspects, max_size=40))
def test_quarantined_votes_lead_to_no_new_burst(votes: list[SuspectVote]) -> None:
    """So that checking twice, or after a decision, changes nothing."""
    votes = list(set(votes))
    rules = {vote: burst.rule for burst in find_bursts(votes, THREE_IN_TEN_MINUTES) for vote in burst.votes}
    held = [replace(vote, quarantined_under=rules.get(vote)) for vote in votes]
    again = [vote for burst in find_bursts(held, THREE_IN_TEN_MINUTES) for vote in burst.votes]
    assert all(vote.quarantined_under for vote in again)


# In the database


def quarantine_found(session: Session, personality_id: int, settings: VoteSettings) -> list[Quarantine]:
    ids = {quarantine_votes(session, personality_id, burst) for burst in new_bursts(session, personality_id, settings)}
    return [quarantine for quarantine in open_quarantines(session, [personality_id]) if quarantine.id in ids]


def quarantines(
    session: Session, personality_id: int, settings: VoteSettings = THREE_IN_TEN_MINUTES
) -> list[tuple[Any, ...]]:
    """Quarantine bursts, and return (rule, subject, voters) of new and grown ones."""
    return [described(q) for q in quarantine_found(session, personality_id, settings)]


def described(quarantine: Quarantine) -> tuple[Any, ...]:
    return quarantine.rule, quarantine.subject_id, list(quarantine.voters)


def let_vote(session: Session, users: Sequence[int], reply_id: int, value: Vote = Vote.UP, at: datetime = NOON) -> None:
    """Let the users vote, one second apart."""
    for second, user in enumerate(users):
        vote_at(session, reply_id, user, value, at + timedelta(seconds=second))


@pytest.mark.threat("T40")
def test_a_burst_by_silent_accounts_is_quarantined_and_described(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    let_vote(session, LURKERS[:3], reply_id)
    assert quarantines(session, personality_id) == [(REPLY, reply_id, [501, 502, 503])]
    (held,) = open_quarantines(session, [personality_id])
    assert (held.votes, held.remaining, held.vote, held.subject) == (3, 3, Vote.UP, "one answer")
    assert (held.first_vote_at, held.last_vote_at) == (NOON, NOON + timedelta(seconds=2))
    assert held.status is QuarantineStatus.OPEN
    assert read_weighted_votes(session, personality_id, THREE_IN_TEN_MINUTES).by_reply == {}


def test_members_who_talk_with_the_bot_are_never_held_back(session: Session, personality_id: int) -> None:
    """Even if the bot joined yesterday, and some of them talked only after they voted."""
    first = add_reply(session)
    let_vote(session, LURKERS[:6], first)
    for user in LURKERS[:3]:
        add_reply(session, author_id=user, speakers=(user,))
    add_reply(session, speakers=(ALICE, *LURKERS[3:6]))
    assert quarantines(session, personality_id) == []
    assert len(read_weighted_votes(session, personality_id, THREE_IN_TEN_MINUTES).by_reply[first]) == 6


def test_new_accounts_are_held_back_even_when_they_talk(session: Session, personality_id: int) -> None:
    new = [account_made(NOON - days(2), number) for number in range(3)]
    reply_id = add_reply(session, speakers=new)
    let_vote(session, new, reply_id)
    assert quarantines(session, personality_id) == [(REPLY, reply_id, new)]


def test_new_members_are_held_back_even_with_old_accounts_that_talk(session: Session, personality_id: int) -> None:
    reply_id = add_reply_in(session, at=NOON, speakers=LURKERS[:3])
    note_members(session, GUILD, dict.fromkeys(LURKERS[:3], NOON - days(1)))
    let_vote(session, LURKERS[:3], reply_id)
    assert quarantines(session, personality_id) == [(REPLY, reply_id, [501, 502, 503])]


def test_old_silent_members_may_vote_in_an_arena(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session, origin=Origin.ARENA)
    let_vote(session, LURKERS[:6], reply_id)
    assert quarantines(session, personality_id) == []
    new = [account_made(NOON - days(2), number) for number in range(3)]
    let_vote(session, new, reply_id)
    assert quarantines(session, personality_id) == [(REPLY, reply_id, new)]


def test_withdrawn_votes_are_not_a_burst(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    let_vote(session, LURKERS[:3], reply_id)
    vote_at(session, reply_id, LURKERS[0], Vote.UP, added=False)
    assert quarantines(session, personality_id) == []


def test_a_burst_on_a_member_and_on_a_version(session: Session, personality_id: int) -> None:
    version = add_version(session, personality_id=personality_id)
    new = [account_made(NOON - days(2), number) for number in range(6)]
    for user in LURKERS[:3]:
        let_vote(session, [user], add_reply(session, author_id=BOB), Vote.DOWN)
    for number, user in enumerate(new):
        let_vote(session, [user], add_reply(session, author_id=700 + number, version_id=version.id))
    assert quarantines(session, personality_id) == [(AUTHOR, BOB, [501, 502, 503]), (VERSION, version.id, new)]
    author, whole = open_quarantines(session, [personality_id])
    assert (author.vote, author.subject, whole.subject) == (Vote.DOWN, "answers to one member", "answers of v1")


def test_personalities_are_kept_apart(session: Session, personality_id: int) -> None:
    pirate = ensure_personality(session, "pirate")
    reply_id = add_reply(session, personality_id=pirate)
    let_vote(session, LURKERS[:3], reply_id)
    assert quarantines(session, personality_id) == []
    assert quarantines(session, pirate) == [(REPLY, reply_id, [501, 502, 503])]
    assert open_quarantines(session, [personality_id]) == []


# Checking again


@pytest.fixture
def held_reply(session: Session, personality_id: int) -> int:
    """An answer whose three likes are on hold."""
    reply_id = add_reply(session)
    let_vote(session, LURKERS[:3], reply_id)
    quarantines(session, personality_id)
    return reply_id


def test_looking_again_changes_nothing(session: Session, personality_id: int, held_reply: int) -> None:
    assert new_bursts(session, personality_id, THREE_IN_TEN_MINUTES) == []
    assert quarantines(session, personality_id) == []
    assert session.query(QuarantinedVoteRow).count() == 3


def test_latecomers_are_added_to_an_open_burst(session: Session, personality_id: int, held_reply: int) -> None:
    let_vote(session, LURKERS[3:5], held_reply, at=NOON + minutes(5))
    assert quarantines(session, personality_id) == [(REPLY, held_reply, [501, 502, 503, 504, 505])]
    (held,) = open_quarantines(session, [personality_id])
    assert held.last_vote_at == NOON + minutes(5) + timedelta(seconds=1)


def decide(session: Session, personality_id: int, status: QuarantineStatus) -> Quarantine:
    (held,) = open_quarantines(session, [personality_id])
    return decide_quarantine(session, held.id, status, "grace (1)", "they are friends of mine")


def test_counted_votes_count_and_are_never_quarantined_again(
    session: Session, personality_id: int, held_reply: int
) -> None:
    decide(session, personality_id, QuarantineStatus.COUNTED)
    let_vote(session, LURKERS[3:5], held_reply, at=NOON + minutes(1))
    assert quarantines(session, personality_id) == []
    assert len(read_weighted_votes(session, personality_id, THREE_IN_TEN_MINUTES).by_reply[held_reply]) == 5


def test_counted_votes_that_all_change_at_once_are_a_new_burst(
    session: Session, personality_id: int, held_reply: int
) -> None:
    decide(session, personality_id, QuarantineStatus.COUNTED)
    for user in LURKERS[:3]:
        vote_at(session, held_reply, user, Vote.UP, added=False)
    let_vote(session, LURKERS[:3], held_reply, Vote.DOWN)
    assert quarantines(session, personality_id) == [(REPLY, held_reply, [501, 502, 503])]
    assert read_weighted_votes(session, personality_id, THREE_IN_TEN_MINUTES).by_reply == {}


def test_latecomers_to_an_excluded_burst_wait_for_a_decision_too(
    session: Session, personality_id: int, held_reply: int
) -> None:
    decide(session, personality_id, QuarantineStatus.EXCLUDED)
    let_vote(session, LURKERS[3:4], held_reply, at=NOON + minutes(1))
    assert quarantines(session, personality_id) == [(REPLY, held_reply, [504])]
    assert quarantines(session, personality_id) == []


def test_votes_withdrawn_before_they_are_quarantined_are_skipped(database: Database, personality_id: int) -> None:
    with database.transaction() as session:
        kept, gone = add_reply(session), add_reply(session, author_id=BOB)
        let_vote(session, LURKERS[:4], kept)
        let_vote(session, LURKERS[:3], gone)
    bursts = database.fetch(new_bursts, personality_id, THREE_IN_TEN_MINUTES)
    with database.transaction() as session:
        session.delete(session.get_one(ReplyRow, gone))
        delete_member(session, LURKERS[0])
        vote_at(session, kept, LURKERS[1], Vote.UP, added=False)
    with database.transaction() as session:
        assert [quarantine_votes(session, personality_id, burst) is None for burst in bursts] == [False, True]
        assert [described(q) for q in open_quarantines(session, [personality_id])] == [(REPLY, kept, [503, 504])]


def test_a_vote_waits_for_one_burst_at_most(database: Database, personality_id: int) -> None:
    with database.transaction() as session:
        for reply_id in (add_reply(session), add_reply(session, author_id=BOB)):
            let_vote(session, LURKERS[:3], reply_id)
    commits: list[Connection] = []
    event.listen(database.engine, "commit", commits.append)
    assert quarantine_bursts(database, personality_id, THREE_IN_TEN_MINUTES)
    assert len(commits) == 3  # one to read, and one per burst
    assert not quarantine_bursts(database, personality_id, THREE_IN_TEN_MINUTES)


def test_two_checks_at_once_quarantine_every_vote_once(database: Database, personality_id: int) -> None:
    with database.transaction() as session:
        reply_id = add_reply(session)
        let_vote(session, LURKERS[:3], reply_id)

    together(4, lambda _: quarantine_bursts(database, personality_id, THREE_IN_TEN_MINUTES))
    with database.snapshot() as session:
        assert [described(q) for q in open_quarantines(session, [personality_id])] == [
            (REPLY, reply_id, [501, 502, 503])
        ]


# Deciding


def test_a_decision_keeps_who_when_and_why(session: Session, personality_id: int, held_reply: int) -> None:
    decided = decide(session, personality_id, QuarantineStatus.EXCLUDED)
    assert (decided.status, decided.decided_by, decided.reason) == (
        QuarantineStatus.EXCLUDED,
        "grace (1)",
        "they are friends of mine",
    )
    assert decided.decided_at is not None
    assert open_quarantines(session, [personality_id]) == []
    assert recent_decisions(session, [personality_id]) == [decided]


@pytest.mark.threat("T79")
def test_the_second_decision_is_refused_in_a_sentence(session: Session, personality_id: int, held_reply: int) -> None:
    decided = decide(session, personality_id, QuarantineStatus.COUNTED)
    with pytest.raises(QuarantineConflict, match=r"these votes were already counted by grace \(1\)"):
        decide_quarantine(session, decided.id, QuarantineStatus.EXCLUDED, "bob (2)", "")
    assert session.get_one(QuarantineRow, decided.id).status is QuarantineStatus.COUNTED
    with pytest.raises(QuarantineConflict, match="no longer exist"):
        decide_quarantine(session, 999, QuarantineStatus.EXCLUDED, "bob (2)", "")
    with pytest.raises(ValueError, match="must count votes or leave them out"):
        decide_quarantine(session, decided.id, QuarantineStatus.OPEN, "bob (2)", "")


def test_one_of_two_simultaneous_decisions_wins(database: Database, personality_id: int) -> None:
    with database.transaction() as session:
        let_vote(session, LURKERS[:3], add_reply(session))
        (held,) = quarantine_found(session, personality_id, THREE_IN_TEN_MINUTES)

    def decide_as(session: Session, admin: int) -> Quarantine:
        status = (QuarantineStatus.COUNTED, QuarantineStatus.EXCLUDED)[admin % 2]
        return decide_quarantine(session, held.id, status, f"admin {admin}", "")

    outcomes = at_once(database, 4, decide_as, QuarantineConflict)
    (won,) = [one for one in outcomes if not isinstance(one, QuarantineConflict)]
    assert [q.decided_by for q in database.fetch(recent_decisions, [personality_id])] == [won.decided_by]


def test_the_latest_decisions_come_first(session: Session, personality_id: int) -> None:
    for author in (ALICE, BOB):
        let_vote(session, LURKERS[:3], add_reply(session, author_id=author))
    first, second = quarantine_found(session, personality_id, THREE_IN_TEN_MINUTES)
    for held in (second, first):
        decide_quarantine(session, held.id, QuarantineStatus.COUNTED, "grace", "")
    assert [q.id for q in recent_decisions(session, [personality_id])] == [first.id, second.id]
    assert [q.id for q in recent_decisions(session, [personality_id], limit=1)] == [first.id]


def test_a_burst_of_withdrawn_votes_needs_no_decision(session: Session, personality_id: int, held_reply: int) -> None:
    vote_at(session, held_reply, LURKERS[0], Vote.UP, added=False)
    (held,) = open_quarantines(session, [personality_id])
    assert (held.votes, held.remaining) == (3, 2)
    session.delete(session.get_one(ReplyRow, held_reply))
    session.flush()
    assert open_quarantines(session, [personality_id]) == []


def test_voters_are_described_by_account_membership_and_messages(session: Session, personality_id: int) -> None:
    new = account_made(NOON - days(2))
    reply_id = add_reply_in(session, speakers=(new,))
    note_members(session, GUILD, {new: NOON - days(1), 501: NOON - days(90)})
    note_members(session, GUILD + 1, {502: NOON})
    let_vote(session, [501, 502, new], reply_id)
    (held,) = quarantine_found(session, personality_id, THREE_IN_TEN_MINUTES)
    told = [(voter.user_id, voter.joined_at, voter.has_talked) for voter in voters_in(session, held)]
    assert told == [(new, NOON - days(1), True), (502, None, False), (501, NOON - days(90), False)]


def test_what_is_told_of_voters_in_a_server_is_of_that_server(session: Session, personality_id: int) -> None:
    here, elsewhere = (add_reply_in(session, guild_id, author_id=BOB) for guild_id in (GUILD, GUILD + 1))
    note_members(session, GUILD, {501: NOON - days(90)})
    note_members(session, GUILD + 1, {501: NOON - days(2), 502: NOON})
    let_vote(session, [501], here)
    let_vote(session, [501, 502], elsewhere)
    let_vote(session, [503], add_reply(session, author_id=BOB))
    held = quarantine_found(session, personality_id, THREE_IN_TEN_MINUTES)
    (of_author,) = [one for one in held if one.rule is AUTHOR]
    (voter,) = voters_in(session, of_author, [GUILD])
    assert (voter.user_id, voter.joined_at) == (501, NOON - days(90))


def test_no_id_is_left_of_a_member_who_deleted_their_data(session: Session, personality_id: int) -> None:
    for user in LURKERS[:3]:
        let_vote(session, [user], add_reply(session, author_id=BOB))
    quarantines(session, personality_id)
    for member in (BOB, LURKERS[0]):
        delete_member(session, member)
    (held,) = open_quarantines(session, [personality_id])
    assert (held.subject_id, held.subject) == (NOBODY, "answers to a member whose data was deleted")
    assert held.voters == (502, 503)


def test_no_id_is_left_of_a_member_whose_answers_are_gone(session: Session, personality_id: int) -> None:
    for user in LURKERS[:3]:
        let_vote(session, [user], add_reply_in(session, author_id=BOB))
        let_vote(session, [user], add_reply(session))
    for held in quarantine_found(session, personality_id, THREE_IN_TEN_MINUTES):
        decide_quarantine(session, held.id, QuarantineStatus.COUNTED, "grace", "")
    erase_guild(session, GUILD)
    prune_rest(session, NOON)
    told = {held.subject_id: held.subject for held in recent_decisions(session, [personality_id])}
    assert told == {ALICE: "answers to one member", NOBODY: "answers to a member whose data was deleted"}


# Whatever members do


actions = st.lists(
    st.tuples(
        st.integers(0, 9),  # who votes; the upper half are new accounts
        st.integers(0, 2),  # on which answer
        st.sampled_from(Vote),
        st.booleans(),  # added or removed
        st.integers(0, 30),  # in which minute
        st.sampled_from([None, None, None, *QuarantineStatus]),  # looked at afterwards, and decided
    ),
    max_size=30,
)


@given(actions=actions)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_held_vote_counts_nothing_and_no_vote_is_held_twice(undone: Undone, actions: list[tuple[Any, ...]]) -> None:
    old, new = range(501, 506), [account_made(NOON - days(2), number) for number in range(5)]
    with undone() as session:
        personality_id = ensure_personality(session)
        replies = [add_reply(session, author_id=author) for author in (ALICE, ALICE, BOB)]
        for who, which, value, added, minute, decision in actions:
            vote_at(session, replies[which], [*old, *new][who], value, NOON + minutes(minute), added=added)
            if decision is not None:
                review(session, personality_id, decision)
        review(session, personality_id, QuarantineStatus.OPEN)
        assert new_bursts(session, personality_id, THREE_IN_TEN_MINUTES) == []
        held = session.execute(
            select(QuarantinedVoteRow.reply_id, QuarantinedVoteRow.user_id)
            .join(QuarantineRow)
            .where(QuarantineRow.status != QuarantineStatus.COUNTED)
        ).all()
        ballots = read_weighted_votes(session, personality_id, THREE_IN_TEN_MINUTES).by_reply
        of = read_pseudonyms(session).of
        counted = {(reply_id, ballot.voter) for reply_id, found in ballots.items() for ballot in found}
        assert len(held) == len(set(held))
        assert counted.isdisjoint({(reply_id, of(user_id)) for reply_id, user_id in held})


def review(session: Session, personality_id: int, decision: QuarantineStatus) -> None:
    quarantine_found(session, personality_id, THREE_IN_TEN_MINUTES)
    for waiting in open_quarantines(session, [personality_id]) if decision is not QuarantineStatus.OPEN else ():
        decide_quarantine(session, waiting.id, decision, "grace", "")
