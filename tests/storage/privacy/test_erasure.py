"""Data deleted on Discord or left behind is deleted, and marks the versions that were trained on it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from storage.conversations.replies import NO_SOURCES, Sources, find_reply
from storage.conversations.summaries import Memory, read_memory, write_summary
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import NOBODY, Basis, Origin, RoundStatus, Scope
from storage.database.tables import DepartureRow, MemberRow, ReplyRow, VoteEventRow
from storage.members import greet, note_members, take_back_greeting
from storage.memory import add_note, list_notes
from storage.personalities.bindings import BindingPlace, bind
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality, ensure_personality, read_personality
from storage.personalities.pictures import read_picture, set_picture
from storage.personalities.webhooks import OwnWebhook, list_webhook_ids, record_webhook
from storage.privacy.consent import consenting, give_consent, read_agreement, withdraw_consent
from storage.privacy.erasure import (
    delete_member,
    erase_channel,
    erase_guild,
    erase_member_in,
    erase_messages,
    is_kept,
    lock_erasures,
    note_edit,
)
from storage.privacy.member_data import export_member
from storage.privacy.ownership import known_guilds, known_members
from storage.privacy.retention import (
    cancel_departures,
    complete_departure,
    departed_before,
    note_departure,
)
from storage.releases.versions import Version
from storage.settings.sections import Settings
from storage.taste.opinions import read_taste_opinions
from storage.training.rounds import (
    find_round,
    names_deleted,
)
from storage.training.samples import AskedPrompt, DrawnSample, record_samples
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import suggest
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events, votes_on
from tests.past import add_round, add_version, pair
from tests.seeding import ALICE, BASE_REVISION, BOB, CAROL, CHANNEL, add_reply, message_of, read_manifest, vote
from tests.storage.privacy.test_consent import marked, train_on

pytestmark = pytest.mark.both_databases

HOME, ELSEWHERE = 71, 72
QUESTION, LATER = 5_000, 5_001


def add_answer(session: Session, sources: Sources = NO_SOURCES, **more: Any) -> int:
    """Add an answer to a prompt that holds the Discord messages; to ALICE in HOME, unless said otherwise."""
    defaults = {"guild_id": HOME, "author_id": more.get("speakers", (ALICE,))[0]}
    return add_reply(session, sources=sources, basis=Basis.LIVE_CHAT, **defaults | more)


def kept(session: Session) -> set[int]:
    session.expire_all()
    return set(session.scalars(select(ReplyRow.id)))


# Messages


def test_an_answer_is_deleted_with_every_message_behind_it(session: Session) -> None:
    asked = add_answer(session, Sources({QUESTION: ALICE}))
    as_history = add_answer(session, Sources({QUESTION: ALICE, LATER: BOB}))
    told = add_answer(session, Sources({LATER + 9: BOB}, summary=(QUESTION - 5, QUESTION + 5)))
    other_place = add_answer(session, Sources(summary=(QUESTION - 5, QUESTION + 5)), channel_id=CHANNEL + 1)
    others = add_answer(session, Sources({LATER: BOB}))
    assert is_kept(session, CHANNEL, {QUESTION})
    erased = erase_messages(session, CHANNEL, {QUESTION})
    assert (erased.replies, erased.marked) == (3, ())
    assert kept(session) == {other_place, others}
    assert not {asked, as_history, told} & kept(session)
    assert not is_kept(session, CHANNEL, {QUESTION})


def test_the_id_of_a_deleted_answer_is_never_reused(session: Session) -> None:
    """The deleted answer may still be in progress."""
    add_answer(session)
    newest = add_answer(session, Sources({QUESTION: ALICE}))
    erase_messages(session, CHANNEL, {QUESTION})
    assert add_answer(session) > newest


def test_an_answer_is_deleted_with_its_own_message(session: Session) -> None:
    gone, stays = add_reply(session), add_reply(session)
    assert erase_messages(session, CHANNEL, {message_of(gone), 42}).replies == 1
    assert kept(session) == {stays}


def test_samples_of_a_prompt_are_deleted_with_it(session: Session) -> None:
    asked = add_answer(session, Sources({QUESTION: ALICE}, summary=(1, 9)))
    rows = {"personality_id": 1, "base_revision": BASE_REVISION, "version_id": None, "sampling": {}, "seed": 1}
    record_samples(session, [DrawnSample(AskedPrompt("", "", asked), "drawn", is_cut=False)], **rows)
    assert find_reply(session, asked + 1).sources == Sources({QUESTION: ALICE}, (1, 9))
    erase_messages(session, CHANNEL, {QUESTION})
    assert kept(session) == set()


def test_versions_that_learned_from_it_are_marked_and_named(session: Session) -> None:
    asked, other = add_answer(session, Sources({QUESTION: ALICE})), add_reply(session)
    first = train_on(session, [(asked, other, None)])
    train_on(session, [(other, add_reply(session), None)], parent=first)
    train_on(session, [(other, add_reply(session), None)])
    assert erase_messages(session, CHANNEL, {QUESTION}).marked == ("v1", "v2")
    session.expire_all()
    assert marked(session) == {"v1", "v2"}


def test_a_round_that_learns_from_it_is_ended_and_a_plan_that_names_it_is_not_written(session: Session) -> None:
    asked, other = add_answer(session, Sources({QUESTION: ALICE})), add_reply(session)
    round_id = add_round(session, 0, [pair(asked, other)], status=RoundStatus.RUNNING)
    manifest = read_manifest(session, round_id)
    assert not names_deleted(session, manifest)
    erase_messages(session, CHANNEL, {QUESTION})
    assert names_deleted(session, manifest)
    ended = find_round(session, round_id)
    assert (ended.status, "a member deleted data" in ended.reason) == (RoundStatus.INTERRUPTED, True)


def summarise(session: Session, channel_id: int, first: int, last: int, *speakers: int) -> None:
    after = Memory("they spoke", last, 0, frozenset(speakers), first)
    assert write_summary(session, channel_id, Memory(), after)


def test_a_summary_of_it_is_deleted(session: Session) -> None:
    summarise(session, CHANNEL, 100, 200, ALICE)
    assert erase_messages(session, CHANNEL, {99, 201}).summaries == 0
    assert erase_messages(session, CHANNEL, {150}).summaries == 1
    session.expire_all()
    assert read_memory(session, CHANNEL) == Memory(forgotten_to=200)


def test_a_summary_of_a_thread_covers_the_message_that_it_was_made_from(session: Session) -> None:
    thread = 100  # the ID of that message, which is in another channel
    summarise(session, thread, thread, 200, ALICE)
    told = add_answer(session, Sources(summary=(thread, 200)), channel_id=thread)
    assert is_kept(session, CHANNEL, {thread})
    erased = erase_messages(session, CHANNEL, {thread})
    assert (erased.summaries, erased.replies) == (1, 1)
    assert find_reply(session, told) is None


def test_an_edit_keeps_the_answer_but_excludes_it_from_training(session: Session) -> None:
    before = add_answer(session, Sources({QUESTION: ALICE}))
    summarise(session, CHANNEL, QUESTION, LATER, ALICE)
    edited_at = utc_now() + timedelta(seconds=1)
    assert note_edit(session, CHANNEL, QUESTION, edited_at) == 1
    assert note_edit(session, CHANNEL, QUESTION, edited_at) == 0
    session.expire_all()
    found = find_reply(session, before)
    assert (found.basis, found.edited_at) == (None, edited_at)
    assert read_memory(session, CHANNEL).summary == ""


def test_answers_after_an_edit_are_not_affected(session: Session) -> None:
    add_answer(session, Sources({QUESTION: ALICE}))
    summarise(session, CHANNEL, QUESTION, LATER, ALICE)
    assert note_edit(session, CHANNEL, QUESTION, utc_now() - timedelta(minutes=1)) == 0
    assert read_memory(session, CHANNEL).summary == "they spoke"


def test_a_channel_is_deleted_except_its_arenas(session: Session) -> None:
    add_answer(session)
    arena = add_answer(session, origin=Origin.ARENA)
    elsewhere = add_answer(session, channel_id=CHANNEL + 1)
    summarise(session, CHANNEL, 1, 2, ALICE)
    assert erase_channel(session, CHANNEL).summaries == 1
    assert kept(session) == {arena, elsewhere}


# Departures


def test_a_server_is_deleted_and_others_are_kept(session: Session) -> None:
    add_answer(session)
    elsewhere = add_answer(session, guild_id=ELSEWHERE, channel_id=CHANNEL + 1)
    summarise(session, CHANNEL, 1, 2, ALICE)
    summarise(session, CHANNEL + 1, 1, 2, ALICE)
    note_members(session, HOME, {ALICE: utc_now()})
    assert erase_guild(session, HOME).summaries == 1
    assert kept(session) == {elsewhere}
    assert read_memory(session, CHANNEL + 1).summary == "they spoke"
    assert session.query(MemberRow).count() == 0


def test_a_servers_pictures_and_webhooks_are_deleted_with_it(session: Session) -> None:
    shared = ensure_personality(session)
    own, others = (
        create_personality(session, name, Card(system_prompt="x"), by="test", guild_id=guild_id).id
        for name, guild_id in (("keeper", HOME), ("owl", ELSEWHERE))
    )
    for personality_id in (shared, own, others):
        set_picture(session, personality_id, b"png")
    add_answer(session)
    add_answer(session, guild_id=ELSEWHERE, channel_id=CHANNEL + 1)
    bound = BindingPlace(Scope.CHANNEL, CHANNEL + 2)
    bind(session, bound, read_personality(session, shared), guild_id=HOME, strength=1.0, by="test")
    placed = ((1, CHANNEL, shared), (2, CHANNEL + 1, shared), (3, CHANNEL + 1, others), (4, CHANNEL + 2, shared))
    for webhook_id, channel_id, personality_id in (*placed, (5, CHANNEL + 3, own)):
        record_webhook(session, OwnWebhook(webhook_id, channel_id, personality_id, None))
    erase_guild(session, HOME)
    session.expire_all()
    assert list_webhook_ids(session) == {2, 3}
    assert [read_picture(session, id_) for id_ in (shared, own, others)] == [b"png", None, b"png"]
    assert [read_personality(session, id_).has_appearance for id_ in (shared, own, others)] == [True, False, True]


def test_a_member_is_deleted_from_one_server_only(session: Session) -> None:
    hers = add_answer(session)
    shared = add_answer(session, speakers=(BOB, ALICE))
    his = add_answer(session, speakers=(BOB,))
    elsewhere = add_answer(session, guild_id=ELSEWHERE, channel_id=CHANNEL + 1)
    asked_again = add_answer(session, speakers=(BOB,))
    session.execute(update(ReplyRow).where(ReplyRow.id == asked_again).values(author_id=ALICE))
    for reply_id in (his, elsewhere):
        vote(session, reply_id, ALICE, Vote.UP)
        vote(session, reply_id, BOB, Vote.UP)
    suggest(session, his, ALICE, "better", None)
    train_on(session, [(his, asked_again, None)])
    give_consent(session, ALICE)
    erased = erase_member_in(session, HOME, ALICE, left_at=utc_now())
    assert (erased.replies, erased.marked) == (2, ("v1",))
    assert kept(session) == {his, elsewhere, asked_again}
    assert not {hers, shared} & kept(session)
    assert session.get_one(ReplyRow, asked_again).author_id == NOBODY
    assert votes_on(session, his) == {BOB: Vote.UP}
    assert votes_on(session, elsewhere) == {ALICE: Vote.UP, BOB: Vote.UP}
    assert consenting(session, [ALICE]) == {ALICE}


def learn_from(session: Session, guild_id: int, user_id: int) -> Version:
    """Let the server have a personality with a version that learned from the member's vote there."""
    own = create_personality(session, f"own-{guild_id}", Card(), by="test", guild_id=guild_id).id
    voted = add_answer(session, guild_id=guild_id, channel_id=guild_id, speakers=(CAROL,), personality_id=own)
    vote(session, voted, user_id, Vote.UP)
    round_id = add_round(session, 0, personality_id=own, voters={user_id: (1.0, 0.5)})
    return add_version(session, round_id, personality_id=own)


def test_whoever_leaves_a_server_marks_no_version_that_learned_from_them_in_another_one(session: Session) -> None:
    for guild_id in (HOME, ELSEWHERE):
        learn_from(session, guild_id, ALICE)
    assert erase_member_in(session, HOME, ALICE, left_at=utc_now()).marked == (f"own-{HOME} v1",)
    assert f"own-{ELSEWHERE} v1" in erase_member_in(session, ELSEWHERE, ALICE, left_at=utc_now()).marked


def test_whoever_leaves_their_last_server_is_forgotten_in_direct_messages_too(session: Session) -> None:
    add_answer(session)
    add_answer(session, guild_id=None, channel_id=CHANNEL + 1)
    for place in (HOME, None):
        add_note(session, ALICE, place, "I am ill")
    give_consent(session, ALICE)
    note_departure(session, HOME, ALICE)
    (departure,) = departed_before(session, utc_now())
    complete_departure(session, departure)
    session.expire_all()
    assert kept(session) == set()
    assert [list_notes(session, ALICE, place) for place in (HOME, None)] == [[], []]
    assert consenting(session, [ALICE]) == set()


def test_whoever_wrote_in_direct_messages_after_leaving_is_still_reachable_and_not_forgotten(session: Session) -> None:
    """She shares another server with the bot, where she never wrote."""
    add_answer(session)
    note_departure(session, HOME, ALICE)
    session.execute(update(DepartureRow).values(left_at=utc_now() - timedelta(days=1)))
    direct = add_answer(session, guild_id=None, channel_id=CHANNEL + 1)
    add_note(session, ALICE, None, "I am ill")
    give_consent(session, ALICE)
    (departure,) = departed_before(session, utc_now())
    complete_departure(session, departure)
    assert kept(session) == {direct}
    assert [note.text for note in list_notes(session, ALICE, None)] == ["I am ill"]
    assert consenting(session, [ALICE]) == {ALICE}


def test_choices_of_a_member_who_left_are_deleted(session: Session) -> None:
    """Also of one who did nothing else there."""
    for guild_id in (HOME, ELSEWHERE):
        compare(session, *(add_answer(session, guild_id=guild_id, speakers=(BOB,)) for _ in "12"), ALICE, Better.FIRST)
    assert note_departure(session, HOME, ALICE)
    (departure,) = departed_before(session, utc_now())
    complete_departure(session, departure)
    assert (known_members(session, HOME), known_members(session, ELSEWHERE)) == ({BOB}, {ALICE, BOB})


def test_a_departure_does_not_deadlock_with_the_members_own_deletion(on_postgres: Database) -> None:
    with on_postgres.transaction() as session:
        add_answer(session)
        note_departure(session, HOME, ALICE)
    (departure,) = on_postgres.fetch(departed_before, utc_now())
    results: list[object] = []

    def complete() -> None:
        with on_postgres.transaction() as session:
            results.append(complete_departure(session, departure))

    thread = threading.Thread(target=complete)
    with on_postgres.transaction() as session:
        lock_erasures(session)
        thread.start()
        while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            thread.join(timeout=0.01)
        delete_member(session, ALICE)
    thread.join()
    assert results == [None], "the member had deleted it"


def test_a_departure_waits_and_a_return_cancels_it(session: Session) -> None:
    add_answer(session)
    assert known_guilds(session) == {HOME}
    assert known_members(session, HOME) == {ALICE}
    assert not note_departure(session, HOME, CAROL)  # nothing is stored about her
    assert not note_departure(session, ELSEWHERE)
    assert note_departure(session, HOME, ALICE)
    assert not note_departure(session, HOME, ALICE)
    assert note_departure(session, HOME)
    assert departed_before(session, utc_now() - timedelta(days=1)) == []
    departed = departed_before(session, utc_now())
    assert [(found.user_id, found.is_of_server) for found in departed] == [(ALICE, False), (NOBODY, True)]
    assert cancel_departures(session, HOME, {ALICE}) == 1
    assert cancel_departures(session, HOME) == 1
    assert departed_before(session, utc_now()) == []
    assert len(kept(session)) == 1


def test_a_departure_is_completed_once_and_not_after_a_return(session: Session) -> None:
    add_answer(session)
    note_departure(session, HOME, ALICE)
    note_departure(session, HOME)
    of_member, of_server = departed_before(session, utc_now())
    cancel_departures(session, HOME, {ALICE})
    assert complete_departure(session, of_member) is None
    assert complete_departure(session, of_server).replies == 1
    assert complete_departure(session, of_server) is None


def test_deleting_a_departed_members_data_ends_an_agreement(session: Session) -> None:
    add_answer(session, speakers=(BOB,))
    vote(session, 1, ALICE, Vote.UP)
    note_departure(session, HOME, ALICE)
    agreed = read_agreement(session, ensure_personality(session))
    (departure,) = departed_before(session, utc_now())
    complete_departure(session, departure)
    session.expire_all()
    assert session.query(VoteEventRow).count() == 0
    assert not agreed.still_holds(read_agreement(session, ensure_personality(session)))


def test_votes_by_emoji_are_exported_taken_out_and_deleted_like_others(session: Session) -> None:
    whose, settings = ensure_personality(session), Settings()
    reply_id = add_reply(session, answer="a heart for this", author_id=ALICE)
    append_events(session, [VoteEvent(reply_id, Thumb(message_of(reply_id), BOB, "❤️"), added=True)])
    assert [vote["emoji"] for vote in export_member(session, BOB)["votes"]] == ["❤️"]
    assert [one.weight for one in read_taste_opinions(session, whose, settings).opinions] == [1.5]
    withdraw_consent(session, BOB)
    assert read_taste_opinions(session, whose, settings).opinions == ()
    assert delete_member(session, BOB).votes == 1
    assert export_member(session, BOB)["votes"] == []


# The first notice


def test_a_member_is_greeted_once(database: Database) -> None:
    assert database.call(greet, ALICE)
    with database.transaction() as session:
        assert not greet(session, ALICE)
        take_back_greeting(session, ALICE)
        session.expire_all()
        assert greet(session, ALICE)
