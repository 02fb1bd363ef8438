"""Votes: the reactions on Discord count, in any order of their events, and if events repeat."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.conversations.replies import find_reply_ids
from storage.database.database import Database, open_database
from storage.database.enums import QuarantineStatus
from storage.database.tables import QuarantineRow, ReplyRow, VoteEventRow
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import DatabaseSettings, Settings, VoteSettings
from storage.votes import votes
from storage.votes.votes import (
    Tally,
    Thumb,
    Vote,
    VoteEvent,
    append_events,
    current_thumbs,
    meanings,
    read_emoji_weights,
    votes_on,
)
from tests.past import add_version, quarantine
from tests.seeding import ALICE, BOB, CAROL, add_reply, message_of
from tests.storage.conftest import Undone
from tests.storage.together import together

pytestmark = pytest.mark.both_databases

UPS = ("👍", "👍🏻", "👍🏿", "❤️", "❤", "😂")
DOWNS = ("👎", "👎🏽", "🥱")
NEITHER = ("🎉",)


@pytest.fixture
def reply_id(database: Database) -> int:
    return database.call(add_reply)


def set_thumb(reply_id: int, user_id: int, emoji: str, *, message: int = 0, burst: bool = False) -> VoteEvent:
    return VoteEvent(reply_id, Thumb(message_of(reply_id) + message, user_id, emoji, burst), added=True)


def take(event: VoteEvent) -> VoteEvent:
    """Return the event that removes the thumb."""
    return VoteEvent(event.reply_id, event.thumb, added=False)


def append(database: Database, *events: VoteEvent) -> int:
    with database.transaction() as session:
        return len(append_events(session, events))


def votes_of(database: Database, reply_id: int) -> dict[int, Vote]:
    return database.fetch(votes_on, reply_id)


# Emoji


@pytest.mark.parametrize("emoji", [*UPS, "👍🏼", "👍🏽", "👍🏾", "👍\ufe0f", "⭐", "🔥"])
def test_likes_in_every_spelling(session: Session, emoji: str) -> None:
    assert meanings(session)[emoji] is Vote.UP


@pytest.mark.parametrize("emoji", [*DOWNS, "👎🏻", "👎🏼", "👎🏾", "👎🏿", "💩", "😡"])
def test_dislikes_in_every_spelling(session: Session, emoji: str) -> None:
    assert meanings(session)[emoji] is Vote.DOWN


def test_the_strongest_emoji_of_a_member_counts(database: Database, reply_id: int) -> None:
    heart, laugh, up = (set_thumb(reply_id, ALICE, emoji) for emoji in ("❤️", "😂", "👍🏿"))
    bored = set_thumb(reply_id, BOB, "🥱")

    def counting() -> dict[int, float]:
        with database.snapshot() as session:
            return {user: weight for (_, user), weight in read_emoji_weights(session, [reply_id]).items()}

    append(database, up, laugh, heart, bored)
    assert counting() == {ALICE: 1.5, BOB: 0.5}
    append(database, take(heart), set_thumb(reply_id, BOB, "👎"))
    assert counting() == {ALICE: 1.0, BOB: 1.0}  # both have a thumb that says more than 😂 and 🥱 do
    append(database, take(up), take(bored))
    assert counting() == {ALICE: 0.5, BOB: 1.0}
    assert votes_of(database, reply_id) == {ALICE: Vote.UP, BOB: Vote.DOWN}


def test_what_an_emoji_says_is_decided_when_votes_are_read(tmp_path: Path, on_sqlite: Database) -> None:
    """A mistake in the settings is mended by mending it, and no reaction is lost by it."""
    on_sqlite.call(add_reply)
    own = "<:party:12345678901234567890>"

    def read(emoji: dict[str, float], *events: VoteEvent) -> dict[int, Vote]:
        url = DatabaseSettings(url=f"sqlite:///{tmp_path / 'reactune.db'}")
        with closing(open_database(Settings(database=url, votes=VoteSettings(emoji=emoji)))) as opened:
            append(opened, *events)
            return votes_of(opened, 1)

    votes = (set_thumb(1, ALICE, "😂"), set_thumb(1, BOB, "12345678901234567890"))
    assert read({"😂": 1.0, own: 1.0}, *votes) == {ALICE: Vote.UP, BOB: Vote.UP}
    assert read({"😂": -0.5}) == {ALICE: Vote.DOWN}
    assert read({own: -1.0}) == {BOB: Vote.DOWN}
    assert read({}) == {}


# One member and one reply


def test_a_servers_own_emoji_has_an_id_of_up_to_20_digits(database: Database, reply_id: int) -> None:
    append(database, set_thumb(reply_id, ALICE, "1" * 20))
    with database.snapshot() as session:
        assert {thumb.emoji for thumb in current_thumbs(session, [reply_id])} == {"1" * 20}


@pytest.mark.parametrize(("emoji", "vote"), [("👍", Vote.UP), ("👎🏿", Vote.DOWN)])
def test_a_thumb_is_a_vote(database: Database, reply_id: int, emoji: str, vote: Vote) -> None:
    assert append(database, set_thumb(reply_id, ALICE, emoji)) == 1
    assert votes_of(database, reply_id) == {ALICE: vote}


def test_a_removed_thumb_is_not_a_vote(database: Database, reply_id: int) -> None:
    up = set_thumb(reply_id, ALICE, "👍")
    append(database, up)
    append(database, take(up))
    assert votes_of(database, reply_id) == {}


def test_both_thumbs_cancel_out_until_one_goes(database: Database, reply_id: int) -> None:
    up, down = set_thumb(reply_id, ALICE, "👍"), set_thumb(reply_id, ALICE, "👎")
    append(database, up, down)
    assert votes_of(database, reply_id) == {}
    append(database, take(up))
    assert votes_of(database, reply_id) == {ALICE: Vote.DOWN}


def test_two_skin_tones_and_a_super_reaction_are_one_vote(database: Database, reply_id: int) -> None:
    plain, dark = set_thumb(reply_id, ALICE, "👍"), set_thumb(reply_id, ALICE, "👍🏿")
    super_ = set_thumb(reply_id, ALICE, "👍", burst=True)
    append(database, plain, dark, super_)
    assert votes_of(database, reply_id) == {ALICE: Vote.UP}
    append(database, take(plain), take(dark))
    assert votes_of(database, reply_id) == {ALICE: Vote.UP}
    append(database, take(super_))
    assert votes_of(database, reply_id) == {}


def test_thumbs_on_two_messages_of_one_reply_are_one_vote(database: Database, reply_id: int) -> None:
    append(database, set_thumb(reply_id, ALICE, "👍"), set_thumb(reply_id, ALICE, "👍", message=1))
    assert votes_of(database, reply_id) == {ALICE: Vote.UP}
    append(database, set_thumb(reply_id, ALICE, "👎", message=1))
    assert votes_of(database, reply_id) == {}


# The log


def test_an_event_that_arrives_twice_is_stored_once(database: Database, reply_id: int) -> None:
    up = set_thumb(reply_id, ALICE, "👍")
    assert append(database, up, up) == 1
    assert append(database, up) == 0
    assert append(database, take(up), take(up)) == 1
    assert append(database, take(up)) == 0


def test_the_log_keeps_what_was_withdrawn(database: Database, reply_id: int) -> None:
    up = set_thumb(reply_id, ALICE, "👍")
    for event in (up, take(up), up, take(up)):
        append(database, event)
    with database.snapshot() as session:
        assert session.scalars(select(VoteEventRow.added).order_by(VoteEventRow.id)).all() == [True, False] * 2


def test_no_events_are_no_work(database: Database) -> None:
    assert append(database) == 0


def test_a_vote_on_a_deleted_reply_is_skipped_and_blocks_no_other(database: Database, reply_id: int) -> None:
    with database.transaction() as session:
        gone = add_reply(session)
        session.delete(session.get_one(ReplyRow, gone))
    assert append(database, set_thumb(gone, ALICE, "👍"), set_thumb(reply_id, ALICE, "👍")) == 1
    assert votes_of(database, reply_id) == {ALICE: Vote.UP}


# Many replies and members


def test_votes_on_versions(database: Database, personality_id: int) -> None:
    with database.transaction() as session:
        version = add_version(session, personality_id=personality_id)
        base, tuned = add_reply(session), add_reply(session, version_id=version.id)
        also_tuned, _silent = add_reply(session, version_id=version.id), add_reply(session)
    append(database, set_thumb(base, ALICE, "👎"), set_thumb(base, BOB, "👎"), set_thumb(base, CAROL, "👍"))
    append(database, set_thumb(tuned, ALICE, "👍"), set_thumb(also_tuned, ALICE, "👍"), set_thumb(tuned, BOB, "👎"))
    with database.transaction() as session:
        other = add_reply(session, personality_id=ensure_personality(session, "pirate"))
    append(database, set_thumb(other, ALICE, "👍"))
    with database.snapshot() as session:
        found = votes.read_version_votes(session, personality_id)
        assert found.by_version == {None: Tally(1, 2), version.id: Tally(2, 1)}
        assert (found.given, found.left_out) == (6, {})


@pytest.mark.parametrize(
    ("status", "tally"),
    [
        (QuarantineStatus.OPEN, Tally(0, 1)),
        (QuarantineStatus.EXCLUDED, Tally(0, 1)),
        (QuarantineStatus.COUNTED, Tally(2, 1)),
    ],
)
def test_quarantined_votes_are_in_no_tally(
    database: Database, personality_id: int, reply_id: int, status: QuarantineStatus, tally: Tally
) -> None:
    append(database, *(set_thumb(reply_id, *said) for said in ((ALICE, "👍"), (BOB, "👍"), (CAROL, "👎"))))
    with database.transaction() as session:
        quarantine(session, 0, [(reply_id, ALICE), (reply_id, BOB)])  # a vote may be in two
        quarantine(session, 0, [(reply_id, ALICE), (reply_id, BOB)], status=status)
        session.execute(update(QuarantineRow).where(QuarantineRow.id == 1).values(status=status))
        found = votes.read_version_votes(session, personality_id)
        assert (found.by_version, found.given) == ({None: tally}, 3)


def test_votes_at_another_strength_are_not_the_versions(session: Session, personality_id: int) -> None:
    version = add_version(session)
    half, whole = (add_reply(session, version_id=version.id, strength=strength) for strength in (0.5, 1.0))
    append_events(session, [set_thumb(half, ALICE, "👎"), set_thumb(whole, ALICE, "👍")])
    assert votes.read_version_votes(session, personality_id).by_version == {version.id: Tally(up=1, down=0)}


def test_cancelled_and_withdrawn_votes_are_in_no_tally(database: Database, personality_id: int, reply_id: int) -> None:
    up, dark, down = (set_thumb(reply_id, ALICE, emoji) for emoji in ("👍", "👍🏿", "👎🏽"))
    super_ = set_thumb(reply_id, ALICE, "👎", message=1, burst=True)

    def tally() -> Tally | None:
        with database.snapshot() as session:
            return votes.read_version_votes(session, personality_id).by_version.get(None)

    append(database, up, dark)
    assert tally() == Tally(1, 0)
    append(database, down, super_)
    assert tally() is None
    append(database, take(up), take(dark))
    assert tally() == Tally(0, 1)
    append(database, take(down), up, take(super_))
    assert tally() == Tally(1, 0)
    append(database, take(up))
    assert tally() is None


def test_standing_thumbs_of_some_users(database: Database, reply_id: int) -> None:
    alice, bob = set_thumb(reply_id, ALICE, "👍"), set_thumb(reply_id, BOB, "👎")
    append(database, alice, bob)
    with database.snapshot() as session:
        assert current_thumbs(session, [reply_id]) == {alice.thumb, bob.thumb}
        assert current_thumbs(session, []) == set()


# Any order


def expected_votes(current: set[Thumb]) -> dict[int, Vote]:
    """Return each user's vote by the rule in the design, from their current thumbs."""
    result = {}
    for user in {t.user_id for t in current}:
        up = any(t.emoji in UPS for t in current if t.user_id == user)
        down = any(t.emoji in DOWNS for t in current if t.user_id == user)
        if up != down:
            result[user] = Vote.UP if up else Vote.DOWN
    return result


thumbs = st.builds(
    Thumb,
    message_id=st.integers(0, 2),
    user_id=st.sampled_from([ALICE, BOB]),
    emoji=st.sampled_from(UPS + DOWNS + NEITHER),
    burst=st.booleans(),
)


@given(
    heard=st.lists(st.tuples(thumbs, st.booleans()), max_size=30),
    cuts=st.sets(st.integers(0, 30)),
    repeats=st.sets(st.integers(0, 29)),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_votes_depend_only_on_which_reactions_stand(
    undone: Undone, heard: list[tuple[Thumb, bool]], cuts: set[int], repeats: set[int]
) -> None:
    """With any transactions (`cuts`) and any repeated events (`repeats`)."""
    current: set[Thumb] = set()
    for thumb_, added in heard:
        (current.add if added else current.discard)(thumb_)
    with undone() as session:
        reply_id = add_reply(session)
        events = [VoteEvent(reply_id, *pair) for i, pair in enumerate(heard) for _ in range(1 + (i in repeats))]
        stored = [len(append_events(session, batch)) for batch in split(events, sorted(cuts))]
        assert votes_on(session, reply_id) == expected_votes(current)
        tallies = votes.read_version_votes(session, ensure_personality(session)).by_version
        assert tallies.get(None, Tally()) == votes.tally(expected_votes(current).values())
        assert current_thumbs(session, [reply_id]) == current
        assert session.query(VoteEventRow).count() == sum(stored) <= len(heard)


@given(current=st.sets(thumbs), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_thumbs_that_stand_count_the_same_in_any_order(
    undone: Undone, current: set[Thumb], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(sorted(current, key=repr)))
    with undone() as session:
        reply_id = add_reply(session)
        append_events(session, [VoteEvent(reply_id, thumb_, added=True) for thumb_ in order])
        assert votes_on(session, reply_id) == expected_votes(current)


def split(events: Sequence[VoteEvent], cuts: Sequence[int]) -> list[Sequence[VoteEvent]]:
    edges = [0, *(cut for cut in cuts if cut < len(events)), len(events)]
    return [events[a:b] for a, b in pairwise(edges)]


# Many writers


def test_eight_writers_lose_nothing(database: Database) -> None:
    with database.transaction() as session:
        replies = [add_reply(session) for _ in range(5)]

    def write(writer: int) -> None:
        for round_ in range(6):
            append(database, set_thumb(replies[(writer + round_) % 5], 1_000 * writer + round_, "👍"))

    together(8, write)
    with database.snapshot() as session:
        assert sum(len(votes_on(session, reply_id)) for reply_id in replies) == 8 * 6
        assert session.query(VoteEventRow).count() == 8 * 6


def test_writers_of_the_same_thumb_store_it_once(database: Database, reply_id: int) -> None:
    thumbs = set_thumb(reply_id, ALICE, "👍"), set_thumb(reply_id, BOB, "👎")
    stored = together(8, lambda _: append(database, *thumbs))
    with database.snapshot() as session:
        assert sum(stored) == session.query(VoteEventRow).count() == 2
    assert votes_of(database, reply_id) == {ALICE: Vote.UP, BOB: Vote.DOWN}


def test_of_several_events_those_that_were_stored_are_returned(database: Database, reply_id: int) -> None:
    """The log, the metrics and the thanks for a first vote name them."""
    standing, new = set_thumb(reply_id, ALICE, "👍"), set_thumb(reply_id, BOB, "👎")
    append(database, standing)
    assert database.call(append_events, [standing, new]) == [new]


def test_a_writer_that_takes_a_thumb_away_waits_for_the_one_that_sets_it(database: Database, reply_id: int) -> None:
    up = set_thumb(reply_id, ALICE, "👍")
    taken: list[int] = []
    taker = threading.Thread(target=lambda: taken.append(append(database, take(up))))
    with database.transaction() as session:
        append_events(session, [up])
        taker.start()
        taker.join(timeout=0.3)
        assert taken == []
    taker.join()
    assert taken == [1]
    assert votes_of(database, reply_id) == {}


def test_readers_do_not_wait_while_votes_are_written(database: Database, reply_id: int) -> None:
    with database.transaction() as session:
        append_events(session, [set_thumb(reply_id, ALICE, "👍")])
        with database.snapshot() as reader:
            assert find_reply_ids(reader, [message_of(reply_id)]) == {message_of(reply_id): reply_id}
