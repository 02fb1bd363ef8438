"""Data is deleted after the retention time, unless a version was trained on it or the bot still learns from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from storage.conversations.summaries import Memory, read_memory, write_summary
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import ArenaStatus, Basis, Origin, RoundStatus
from storage.database.tables import AlertRow, ArenaAnswerRow, ArenaRow, ConversationRow, MemberRow, ReplyRow
from storage.members import note_members
from storage.memory import add_note
from storage.operations.alerts import EVERYBODY, AlertKind, record_alerts
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import give_consent
from storage.privacy.erasure import delete_member
from storage.privacy.member_data import export_member, summarize_member_data
from storage.privacy.retention import (
    LONGEST_WAIT,
    Pruned,
    count_past,
    describe_retention,
    note_departure,
    past_replies,
    prune_replies,
    prune_rest,
    read_expiry,
    report_privacy,
)
from storage.settings.sections import PrivacySettings
from storage.votes.arenas import prepare_arena
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import withdraw
from storage.votes.votes import Vote
from tests.past import add_round, pair
from tests.seeding import ALICE, BOB, CHANNEL, add_correction, add_reply, ask_twice, vote
from tests.storage.privacy.test_consent import train_on

pytestmark = pytest.mark.both_databases

PRIVACY = PrivacySettings()
KEPT_DAYS = PRIVACY.retention_days
TAUGHT_BY_WORDS_ALONE = PrivacySettings(learn_from_reactions=False, discord_training_permission=True)


class Old(NamedTuple):
    """An answer with a vote and a correction, and other reasons to keep it."""

    days: float
    basis: Basis | None
    named_by: RoundStatus | None
    link: str
    arena: ArenaStatus | None

    @property
    def goes(self) -> bool:
        lasting = self.named_by in (RoundStatus.PUBLISHED, RoundStatus.RUNNING)
        is_open = self.arena in (ArenaStatus.PREPARING, ArenaStatus.OPEN)
        return self.days > LONGEST_WAIT.days and self.basis is not Basis.LOCAL and not lasting and not is_open


ANSWERS = st.builds(
    Old,
    days=st.sampled_from([0, KEPT_DAYS + 1, LONGEST_WAIT.days - 1, LONGEST_WAIT.days + 1]),
    basis=st.sampled_from([None, *Basis]),
    named_by=st.sampled_from([None, RoundStatus.PUBLISHED, RoundStatus.REJECTED, RoundStatus.RUNNING]),
    link=st.sampled_from(["chosen_reply_id", "rejected_reply_id", "correction_id"]),
    arena=st.sampled_from([None, None, *ArenaStatus]),
)


def ago(days: float) -> datetime:
    return utc_now() - timedelta(days=days)


def put(session: Session, old: Old) -> int:
    reply_id = add_reply(session, basis=old.basis, at=ago(old.days))
    vote(session, reply_id, BOB, Vote.UP)
    correction = add_correction(session, reply_id, "better")
    if old.arena is not None:
        arena = prepare_arena(
            session,
            personality_id=ensure_personality(session),
            guild_id=1,
            channel_id=session.query(ArenaRow).count() + 1,
            prompt="p",
            started_by="test",
            closes_at=utc_now(),
        )
        session.execute(update(ArenaRow).where(ArenaRow.id == arena.id).values(status=old.arena))
        session.add(ArenaAnswerRow(arena_id=arena.id, position=1, reply_id=reply_id))
    if old.named_by is not None:
        named = correction if old.link == "correction_id" else reply_id
        named_in = [pair(None, None, **{old.link: named})]
        add_round(session, 0, named_in, personality_id=ensure_personality(session), status=old.named_by)
    session.flush()
    return reply_id


def prune_all(session: Session, privacy: PrivacySettings = PRIVACY) -> Pruned:
    expiry = read_expiry(privacy)
    total = Pruned()
    while due := past_replies(session, expiry, limit=2):
        total += prune_replies(session, expiry, due)
    session.expire_all()
    return total


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(ANSWERS, max_size=5))
def test_old_data_is_deleted_except_what_a_version_was_trained_on(session: Session, answers: list[Old]) -> None:
    undo = session.begin_nested()
    ids = [put(session, old) for old in answers]
    gone = {id_ for id_, old in zip(ids, answers, strict=True) if old.goes}
    assert count_past(session, read_expiry(PRIVACY)) == len(gone)
    pruned = prune_all(session)
    assert (pruned.replies, pruned.votes, pruned.corrections) == (len(gone),) * 3
    assert set(session.scalars(select(ReplyRow.id))) == set(ids) - gone
    undo.rollback()
    session.expire_all()


def test_a_version_keeps_its_answers_however_its_round_ended(session: Session) -> None:
    hers, other = (add_reply(session, basis=None, at=ago(100)) for _ in range(2))
    train_on(session, [(hers, other, None)])
    assert prune_all(session) == Pruned()


def test_answers_that_a_round_listed_in_the_meantime_are_kept(session: Session) -> None:
    hers, _other = (add_reply(session, basis=None, at=ago(100)) for _ in range(2))
    expiry = read_expiry(PRIVACY)
    due = past_replies(session, expiry)
    train_on(session, [(hers, None, None)])
    assert prune_replies(session, expiry, due).replies == 1
    assert session.scalars(select(ReplyRow.id)).all() == [hers]


def voted(session: Session, basis: Basis | None = None) -> list[int]:
    reply_id = add_reply(session, basis=basis)
    vote(session, reply_id, ALICE, Vote.UP)
    return [reply_id]


def corrected(session: Session) -> list[int]:
    reply_id = add_reply(session, basis=None)
    add_correction(session, reply_id, "better")
    return [reply_id]


def compared(session: Session) -> list[int]:
    replies = ask_twice(session, None, None, basis=None)
    compare(session, *replies, ALICE, Better.FIRST)
    return list(replies)


def replaced(session: Session) -> list[int]:
    """🔁, then 👍 on the new answer: the one before has no vote of its own."""
    source = session.scalar(select(func.count(ReplyRow.id))) or 0
    before, after = (add_reply(session, basis=None, source_message_id=source + 1) for _ in range(2))
    vote(session, after, BOB, Vote.UP)
    return [before, after]


def drawn(session: Session, basis: Basis = Basis.PROMPT_BANK) -> list[int]:
    """By a round: the base's order and examples are found among them."""
    return [add_reply(session, origin=Origin.SAMPLE, basis=basis)]


def without_feedback(session: Session) -> list[int]:
    return list(ask_twice(session, None, None, basis=None))


@pytest.mark.parametrize(
    ("answers", "privacy", "days"),
    [
        (voted, PrivacySettings(), LONGEST_WAIT.days),
        (voted, TAUGHT_BY_WORDS_ALONE, KEPT_DAYS),
        (partial(voted, basis=Basis.LIVE_CHAT), TAUGHT_BY_WORDS_ALONE, LONGEST_WAIT.days),
        (replaced, PrivacySettings(), LONGEST_WAIT.days),
        (replaced, TAUGHT_BY_WORDS_ALONE, KEPT_DAYS),
        (corrected, TAUGHT_BY_WORDS_ALONE, LONGEST_WAIT.days),
        (compared, TAUGHT_BY_WORDS_ALONE, LONGEST_WAIT.days),
        (drawn, TAUGHT_BY_WORDS_ALONE, LONGEST_WAIT.days),
        (partial(drawn, basis=Basis.LIVE_CHAT), PrivacySettings(), KEPT_DAYS),
        (without_feedback, PrivacySettings(), KEPT_DAYS),
    ],
)
def test_answers_from_which_the_bot_learns_wait_longer_but_not_for_ever(
    session: Session, answers: Callable[[Session], list[int]], privacy: PrivacySettings, days: float
) -> None:
    younger, older = answers(session), answers(session)
    for reply_ids, difference in ((younger, -1), (older, 1)):
        for reply_id in reply_ids:
            session.get_one(ReplyRow, reply_id).created_at = ago(days + difference)
    prune_all(session, privacy)
    assert list(session.scalars(select(ReplyRow.id).order_by(ReplyRow.id))) == younger


def test_people_are_told_that_votes_do_not_keep_answers_that_they_do_not_teach() -> None:
    told = describe_retention(PrivacySettings(learn_from_reactions=False))
    assert "after 182 days if somebody chose or suggested a better answer" in told
    for privacy in (PrivacySettings(), TAUGHT_BY_WORDS_ALONE):
        assert "if somebody voted, chose, pressed 🔁" in describe_retention(privacy)


def test_whoever_keeps_everything_longer_keeps_what_teaches_as_long(session: Session) -> None:
    vote(session, add_reply(session, basis=None, at=ago(300)), ALICE, Vote.UP)
    assert prune_all(session, PrivacySettings(retention_days=365)) == Pruned()


def test_without_a_retention_limit_nothing_is_deleted() -> None:
    assert read_expiry(PrivacySettings(retention_days=0)) is None


def test_old_summaries_and_join_dates_without_votes_are_deleted(session: Session) -> None:
    for channel_id in (CHANNEL, CHANNEL + 1):
        write_summary(session, channel_id, Memory(), Memory("they spoke", 9, 0, frozenset({ALICE}), 1))
    session.execute(update(ConversationRow).where(ConversationRow.channel_id == CHANNEL).values(updated_at=ago(31)))
    note_members(session, 1, {ALICE: utc_now(), BOB: utc_now()})
    vote(session, add_reply(session), BOB, Vote.UP)
    session.expire_all()
    pruned = prune_rest(session, ago(30))
    session.expire_all()
    assert (pruned.summaries, pruned.memberships) == (1, 1)
    assert read_memory(session, CHANNEL) == Memory(forgotten_to=9)
    assert read_memory(session, CHANNEL + 1).summary == "they spoke"
    assert [row.user_id for row in session.scalars(select(MemberRow))] == [BOB]


def test_alerts_that_ended_long_ago_are_deleted(session: Session) -> None:
    record_alerts(session, EVERYBODY, [AlertKind(key, key, "mend it") for key in ("old", "over", "lasting")])
    record_alerts(session, EVERYBODY, [AlertKind("lasting", "lasting", "mend it")])
    session.execute(update(AlertRow).where(AlertRow.key == "old").values(ended_at=ago(31)))
    session.execute(update(AlertRow).values(raised_at=ago(31)))
    prune_rest(session, ago(30))
    assert sorted(session.scalars(select(AlertRow.key))) == ["lasting", "over"]


# Stored data, in numbers and in full


@pytest.fixture
def filled(session: Session) -> Session:
    """ALICE asked twice, once beside BOB; she voted, suggested, and wrote a note."""
    own = add_reply(session, prompt="secret of alice", speakers=[ALICE], guild_id=1, basis=None)
    of_bob = {"prompt": "secret of bob", "author_id": BOB, "at": ago(200)}
    shared = add_reply(session, speakers=[ALICE, BOB], guild_id=1, basis=None, **of_bob)
    vote(session, own, ALICE, Vote.UP)
    vote(session, own, ALICE, Vote.UP, added=False)
    add_correction(session, shared, "better of alice", author_id=ALICE)
    add_note(session, ALICE, None, "likes tea")
    give_consent(session, ALICE)
    session.flush()
    return session


def test_stored_data_of_a_member_is_counted(filled: Session) -> None:
    found = summarize_member_data(filled, ALICE)
    assert (found.answers, found.votes, found.suggestions, found.notes, found.documents) == (2, 1, 1, 1, 0)
    assert (utc_now() - found.oldest).days == 200
    assert found.consents_since is not None
    assert summarize_member_data(filled, 999).oldest is None


def test_the_summary_and_a_deletion_count_choices_and_what_was_taken_back(session: Session) -> None:
    compared(session)
    for text in ("kept", "taken back"):
        newest = add_correction(session, add_reply(session, basis=None), text, author_id=ALICE)
    withdraw(session, newest, ALICE)
    found = summarize_member_data(session, ALICE)
    assert (found.choices, found.suggestions, found.withdrawn) == (1, 1, 1)
    deleted = delete_member(session, ALICE)
    assert (deleted.choices, deleted.corrections) == (1, 2)
    assert summarize_member_data(session, ALICE).choices == 0


def test_an_export_holds_no_words_of_others(filled: Session) -> None:
    told = export_member(filled, ALICE)
    text = str(told)
    assert "secret of alice" in text
    assert "better of alice" in text
    assert "secret of bob" not in text
    assert [(answer["shared_with_others"], answer["answer"]) for answer in told["answers"]] == [
        (False, "hello yourself"),
        (True, None),
    ]
    assert [vote["set"] for vote in told["votes"]] == [True, False]


def test_an_export_of_a_stranger_is_empty(session: Session) -> None:
    assert [key for key, value in export_member(session, 999).items() if isinstance(value, list) and value] == []


def test_the_report_counts_by_basis_and_age_and_says_what_was_deleted(filled: Session) -> None:
    train_on(filled, [(add_reply(filled, speakers=[BOB]), 1, None)])
    note_departure(filled, 1, BOB)
    before = report_privacy(filled, PrivacySettings(), utc_now())
    assert before.answers == {"local": {"under 1 day": 1}, "none": {"under 1 day": 1, "over 90 days": 1}}
    assert (before.past_retention, before.consents, before.erasures, before.departures) == (1, 1, 0, 1)
    assert before.marked_versions == ()
    assert before.rows["replies"] == 3
    delete_member(filled, ALICE)
    filled.expire_all()
    after = report_privacy(filled, PrivacySettings(retention_days=0), utc_now())
    assert (after.consents, after.erasures, after.marked_versions) == (0, 1, ("v1",))
    assert (after.past_retention, after.rows["member_notes"]) == (0, 0)


def test_reports_and_pruning_read_a_database_without_rows(database: Database) -> None:
    assert database.fetch(report_privacy, PrivacySettings(), utc_now()).answers == {}
