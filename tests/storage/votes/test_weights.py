"""The weight of a vote: 0 from a new account or member, 1 from an old one, 0 in quarantine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import Basis, QuarantineStatus
from storage.database.tables import (
    CorrectionRow,
    MemberRow,
    VoteEventRow,
)
from storage.members import note_members, read_talkers, strangers
from storage.personalities.personalities import ensure_personality
from storage.privacy.erasure import delete_member
from storage.settings.sections import VoteSettings
from storage.votes.votes import Vote
from storage.votes.weights import (
    ACCOUNT_AGE,
    MEMBERSHIP,
    OPT_OUT,
    QUARANTINE,
    WRONG_FACT,
    WeightedVotes,
    account_creation,
    counted_votes,
    read_weighted_votes,
    weights_of,
)
from tests.past import quarantine
from tests.seeding import ALICE, BOB, CAROL, add_correction, add_reply, pseudonyms_of, vote
from tests.storage.together import together

GUILD = 7
DAVE = 104
"""An account as old as the others."""
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
MONTH_AND_WEEK = VoteSettings(account_age_days=30, membership_days=7)
NO_RULES = VoteSettings(account_age_days=0, membership_days=0)


def days(number: float) -> timedelta:
    return timedelta(days=number)


def weight_of_vote(voted_at: datetime, made_at: datetime, joined_at: datetime | None, settings: VoteSettings) -> float:
    return prod(weights_of(voted_at, made_at, joined_at, settings))


def account_made(moment: datetime, number: int = 0) -> int:
    """Return the id of the `number`-th account created at that moment."""
    return (round((moment - datetime(2015, 1, 1, tzinfo=UTC)).total_seconds() * 1000) << 22) + number


def add_reply_in(session: Session, guild_id: int | None = GUILD, at: datetime = NOON, **more: Any) -> int:
    """Add an answer in a server, written at that moment."""
    return add_reply(session, guild_id=guild_id, at=at, **more)


def vote_at(
    session: Session, reply_id: int, user_id: int, value: Vote, at: datetime = NOON, *, added: bool = True
) -> None:
    """Let a user add or remove a thumb at that moment."""
    vote(session, reply_id, user_id, value, added=added)
    last = select(func.max(VoteEventRow.id)).scalar_subquery()
    session.execute(update(VoteEventRow).where(VoteEventRow.id == last).values(created_at=at))


# One vote


def test_an_id_says_when_its_account_was_created() -> None:
    # The example of Discord's documentation.
    assert account_creation(175928847299117063) == datetime(2016, 4, 30, 11, 18, 25, 796000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("account_days", "member_days", "weight"),
    [
        (0, 0, 0.0),
        (30, 0, 0.0),
        (0, 7, 0.0),
        (15, 7, 0.5),
        (30, 3.5, 0.5),
        (15, 3.5, 0.25),
        (3.1, 7, 3.1 / 30),
        (2.9, 7, 0.0),  # below the least weight
        (9, 2.2, 0.0),
        (30, 7, 1.0),
        (4000, 2000, 1.0),
        (-1, 7, 0.0),  # clocks differ
    ],
)
@pytest.mark.threat("T41")
def test_account_age_and_membership_raise_the_weight_together(
    account_days: float, member_days: float, weight: float
) -> None:
    found = weight_of_vote(NOON, NOON - days(account_days), NOON - days(member_days), MONTH_AND_WEEK)
    assert found == pytest.approx(weight)


def test_outside_discord_only_the_accounts_age_counts() -> None:
    assert weight_of_vote(NOON, NOON - days(15), None, MONTH_AND_WEEK) == pytest.approx(0.5)


def test_zero_days_turn_the_rule_off() -> None:
    new = NOON + days(1)
    assert weight_of_vote(NOON, new, new, NO_RULES) == 1.0
    assert weight_of_vote(NOON, new, NOON, VoteSettings(account_age_days=0, membership_days=7)) == 0.0


moments = st.integers(0, 25 * 365 * 86_400).map(lambda second: datetime(2015, 1, 1, tzinfo=UTC) + timedelta(0, second))
spans = st.floats(0, 3650)


@given(voted_at=moments, made_at=moments, joined_at=st.none() | moments, account=spans, member=spans)
def test_a_weight_is_a_share(
    voted_at: datetime, made_at: datetime, joined_at: datetime | None, account: float, member: float
) -> None:
    settings = VoteSettings(account_age_days=account, membership_days=member)
    assert 0.0 <= weight_of_vote(voted_at, made_at, joined_at, settings) <= 1.0


@given(voted_at=moments, made_at=moments, joined_at=moments, account=spans, member=spans, older=spans)
def test_an_older_account_or_membership_never_weighs_less(
    voted_at: datetime, made_at: datetime, joined_at: datetime, account: float, member: float, older: float
) -> None:
    settings = VoteSettings(account_age_days=account, membership_days=member)
    weight = weight_of_vote(voted_at, made_at, joined_at, settings)
    assert weight_of_vote(voted_at, made_at - days(older), joined_at, settings) >= weight
    assert weight_of_vote(voted_at, made_at, joined_at - days(older), settings) >= weight


# Weighted votes


def ballots_by_user(session: Session, ballots: WeightedVotes, *users: int) -> dict[int, dict[int, tuple[Vote, float]]]:
    """Return {reply id: {user id: (vote, weight)}}."""
    known = dict(zip(pseudonyms_of(session, *users), users, strict=True))
    return {
        reply_id: {known[ballot.voter]: (ballot.vote, ballot.weight) for ballot in found}
        for reply_id, found in ballots.by_reply.items()
    }


def test_weighted_votes_are_by_reply_and_name_nobody(session: Session, personality_id: int) -> None:
    first, second, unrated = add_reply(session), add_reply(session), add_reply(session)
    for reply_id, user, value in (
        (first, CAROL, Vote.DOWN),
        (first, ALICE, Vote.UP),
        (second, BOB, Vote.UP),
        (unrated, BOB, Vote.UP),
        (unrated, BOB, Vote.DOWN),
    ):
        vote(session, reply_id, user, value)
    ballots = read_weighted_votes(session, personality_id, NO_RULES)
    assert ballots_by_user(session, ballots, ALICE, BOB, CAROL) == {
        first: {ALICE: (Vote.UP, 1.0), CAROL: (Vote.DOWN, 1.0)},
        second: {BOB: (Vote.UP, 1.0)},
    }
    assert [b.voter for b in ballots.by_reply[first]] == sorted(pseudonyms_of(session, ALICE, CAROL))
    assert ballots.given == 3
    assert ballots.removed == dict.fromkeys((ACCOUNT_AGE, MEMBERSHIP, QUARANTINE, WRONG_FACT, OPT_OUT), 0.0)


def test_votes_of_another_personality_are_not_read(session: Session, personality_id: int) -> None:
    pirate = ensure_personality(session, "pirate")
    mine, other = add_reply(session), add_reply(session, personality_id=pirate)
    vote(session, mine, BOB, Vote.UP)
    vote(session, other, BOB, Vote.DOWN)
    assert set(read_weighted_votes(session, pirate, NO_RULES).by_reply) == {other}
    assert read_weighted_votes(session, pirate, NO_RULES).given == 1


def test_removed_and_counted_shares_add_up_to_the_total(session: Session, personality_id: int) -> None:
    reply_id = add_reply_in(session)
    half_old, new = account_made(NOON - days(15)), account_made(NOON)
    note_members(session, GUILD, {half_old: NOON - days(3.5), new: NOON, ALICE: NOON - days(90), BOB: NOON - days(90)})
    for user in (half_old, new, ALICE, BOB):
        vote_at(session, reply_id, user, Vote.UP)
    quarantine(session, 0, [(reply_id, BOB)])
    ballots = read_weighted_votes(session, personality_id, MONTH_AND_WEEK)
    found = ballots_by_user(session, ballots, ALICE, BOB, half_old, new)
    assert found == {reply_id: {ALICE: (Vote.UP, 1.0), half_old: (Vote.UP, 0.25)}}
    assert ballots.given == 4
    assert ballots.removed == pytest.approx(
        {ACCOUNT_AGE: 1.5, MEMBERSHIP: 0.25, QUARANTINE: 1.0, WRONG_FACT: 0.0, OPT_OUT: 0.0}
    )


def test_a_vote_dates_from_when_its_thumb_was_last_set(session: Session, personality_id: int) -> None:
    reply_id, voter = add_reply(session), account_made(NOON)
    vote_at(session, reply_id, voter, Vote.UP, NOON)
    assert read_weighted_votes(session, personality_id, MONTH_AND_WEEK).by_reply == {}
    vote_at(session, reply_id, voter, Vote.UP, NOON + days(10), added=False)
    vote_at(session, reply_id, voter, Vote.UP, NOON + days(15))
    assert read_weighted_votes(session, personality_id, MONTH_AND_WEEK).by_reply[reply_id][0].weight == pytest.approx(
        0.5
    )


def test_the_weight_of_a_vote_does_not_grow_while_it_waits(session: Session, personality_id: int) -> None:
    """Otherwise accounts created for a raid would only have to wait."""
    reply_id, old = add_reply(session), datetime(2020, 1, 1, tzinfo=UTC)
    vote_at(session, reply_id, account_made(old), Vote.UP, old)
    assert read_weighted_votes(session, personality_id, MONTH_AND_WEEK).by_reply == {}


# Membership


def weight(session: Session, personality_id: int, reply_id: int, user_id: int) -> float:
    found = read_weighted_votes(session, personality_id, MONTH_AND_WEEK).by_reply.get(reply_id, ())
    return next((ballot.weight for ballot in found if [ballot.voter] == pseudonyms_of(session, user_id)), 0.0)


def test_membership_is_that_of_the_replys_server(session: Session, personality_id: int) -> None:
    here, elsewhere, nowhere = (add_reply_in(session, guild) for guild in (GUILD, GUILD + 1, None))
    note_members(session, GUILD, {BOB: NOON - days(100)})
    for reply_id in (here, elsewhere, nowhere):
        vote_at(session, reply_id, BOB, Vote.UP)
    assert [weight(session, personality_id, r, BOB) for r in (here, elsewhere, nowhere)] == [1.0, 0.0, 1.0]


def test_in_direct_messages_membership_began_with_the_first_that_is_known(
    session: Session, personality_id: int
) -> None:
    directly = add_reply_in(session, None, basis=Basis.LIVE_CHAT, author_id=CAROL)
    note_members(session, GUILD, {ALICE: NOON - days(100), BOB: NOON - days(3.5)})
    add_reply_in(session, None, basis=Basis.LIVE_CHAT, author_id=DAVE, at=NOON - days(3.5))
    for user_id in (ALICE, BOB, CAROL, DAVE):
        vote_at(session, directly, user_id, Vote.UP)
    weights = [weight(session, personality_id, directly, user_id) for user_id in (ALICE, BOB, CAROL, DAVE)]
    assert weights == pytest.approx([1.0, 0.5, 0.0, 0.5])


@pytest.mark.parametrize("sign", ["a suggestion", "a vote that was withdrawn", "a question", "words in a prompt"])
def test_a_member_without_a_join_date_counts_from_their_first_activity(
    session: Session, personality_id: int, sign: str
) -> None:
    first = NOON - days(3.5)
    author, speakers = (BOB if sign == "a question" else ALICE), ((BOB,) if sign == "words in a prompt" else (ALICE,))
    earlier = add_reply_in(session, at=first, author_id=author, speakers=speakers)
    if sign == "a suggestion":
        correction_id = add_correction(session, earlier, "better", author_id=BOB)
        session.get_one(CorrectionRow, correction_id).created_at = first
    if sign == "a vote that was withdrawn":
        vote_at(session, earlier, BOB, Vote.UP, first)
        vote_at(session, earlier, BOB, Vote.UP, first, added=False)
    reply_id = add_reply_in(session)
    vote_at(session, reply_id, BOB, Vote.UP)
    assert weight(session, personality_id, reply_id, BOB) == pytest.approx(0.5)


def test_a_member_who_came_back_is_new_again_but_votes_of_before_keep_their_weight(
    session: Session, personality_id: int
) -> None:
    reply_ids = [add_reply_in(session, at=NOON - days(age)) for age in (40, 20, 0)]
    for reply_id, age in zip(reply_ids, (40, 20, 0), strict=True):
        vote_at(session, reply_id, BOB, Vote.UP, NOON - days(age))
    note_members(session, GUILD, {BOB: NOON - days(100)})
    assert [weight(session, personality_id, r, BOB) for r in reply_ids] == [1.0, 1.0, 1.0]
    note_members(session, GUILD, {BOB: NOON})
    assert [weight(session, personality_id, r, BOB) for r in reply_ids] == [0.0, 1.0, 0.0]


def test_the_latest_join_date_is_kept(session: Session) -> None:
    for moment in (NOON, NOON - days(5), NOON, NOON + days(1), NOON):
        note_members(session, GUILD, {ALICE: moment, BOB: NOON})
    note_members(session, GUILD, {})
    rows = session.execute(select(MemberRow.user_id, MemberRow.joined_at).order_by(MemberRow.user_id)).all()
    assert [tuple(row) for row in rows] == [(ALICE, NOON + days(1)), (BOB, NOON)]


def test_writers_of_the_same_join_dates_do_not_conflict(database: Database) -> None:
    def write(writer: int) -> None:
        for user in range(5):
            with database.transaction() as session:
                note_members(session, GUILD, {user: NOON + days(writer), 1_000 + user: NOON})

    together(8, write)
    with database.snapshot() as session:
        assert set(session.scalars(select(MemberRow.joined_at).where(MemberRow.user_id < 1_000))) == {NOON + days(7)}


def test_strangers_are_recent_voters_without_a_join_date(session: Session) -> None:
    old, late = add_reply_in(session, at=NOON - days(9)), add_reply_in(session)
    alone = add_reply_in(session, guild_id=None)
    for reply_id, user in ((old, ALICE), (late, BOB), (late, CAROL), (alone, ALICE)):
        vote_at(session, reply_id, user, Vote.UP)
    note_members(session, GUILD, {CAROL: NOON})
    assert strangers(session, NOON - days(7)) == {GUILD: {BOB}}


def test_talkers_asked_or_are_quoted(session: Session) -> None:
    reply_id = add_reply(session, author_id=ALICE, speakers=(ALICE, BOB))
    vote(session, reply_id, CAROL, Vote.UP)
    assert read_talkers(session) == {ALICE, BOB}


# Quarantine


@pytest.mark.parametrize(
    ("status", "counts"),
    [(QuarantineStatus.OPEN, False), (QuarantineStatus.EXCLUDED, False), (QuarantineStatus.COUNTED, True)],
)
def test_a_vote_in_quarantine_counts_when_an_admin_says_so(
    session: Session, personality_id: int, status: QuarantineStatus, counts: bool
) -> None:
    reply_id, other = add_reply(session), add_reply(session)
    for reply, user in ((reply_id, BOB), (reply_id, CAROL), (other, BOB)):
        vote(session, reply, user, Vote.UP)
    quarantine(session, 0, [(reply_id, BOB)], status=status)
    by_reply = read_weighted_votes(session, personality_id, NO_RULES).by_reply
    counted = pseudonyms_of(session, *((BOB, CAROL) if counts else (CAROL,)))
    assert {ballot.voter for ballot in by_reply[reply_id]} == set(counted)
    assert [ballot.voter for ballot in by_reply[other]] == pseudonyms_of(session, BOB)


def test_a_quarantined_vote_stays_quarantined_when_it_changes(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    vote(session, reply_id, BOB, Vote.UP)
    quarantine(session, 0, [(reply_id, BOB)], status=QuarantineStatus.EXCLUDED)
    vote(session, reply_id, BOB, Vote.UP, added=False)
    vote(session, reply_id, BOB, Vote.DOWN)
    ballots = read_weighted_votes(session, personality_id, NO_RULES)
    assert (ballots.by_reply, ballots.removed[QUARANTINE]) == ({}, 1.0)


def test_deleted_answers_and_members_leave_nothing_behind(session: Session, personality_id: int) -> None:
    gone, kept = add_reply_in(session, speakers=(BOB,)), add_reply_in(session)
    for reply_id in (gone, kept):
        for user in (ALICE, CAROL):
            vote_at(session, reply_id, user, Vote.UP)
    note_members(session, GUILD, {ALICE: NOON - days(99), CAROL: NOON - days(99)})
    quarantine(session, 0, [(gone, ALICE), (kept, ALICE), (kept, CAROL)])
    delete_member(session, BOB)
    delete_member(session, CAROL)
    ballots = read_weighted_votes(session, personality_id, MONTH_AND_WEEK)
    assert (ballots.by_reply, ballots.given, ballots.removed[QUARANTINE]) == ({}, 1, 1.0)
    assert session.scalars(select(MemberRow.user_id)).all() == [ALICE]


def test_only_votes_on_the_newest_answers_are_read_if_asked(session: Session) -> None:
    answers = [add_reply(session) for _ in range(4)]
    add_reply(session)  # without a vote, so it takes nobody's place
    for reply_id in answers:
        vote(session, reply_id, ALICE, Vote.UP)
        vote(session, reply_id, BOB, Vote.DOWN)
    settings = VoteSettings(account_age_days=0, membership_days=0)

    def counted(newest: int | None) -> set[int]:
        return {one.reply_id for one in counted_votes(session, 1, settings, newest=newest)}

    assert counted(2) == set(answers[2:])
    assert counted(4) == counted(9) == counted(None) == set(answers)
