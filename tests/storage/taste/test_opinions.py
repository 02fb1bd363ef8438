"""What counts as an opinion about an answer: votes, picks in arenas, suggestions, and requests for another answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.database.enums import NOBODY, Cause, Origin, Outcome, QuarantineStatus
from storage.database.tables import CorrectionRow, ReplyRow
from storage.members import Pseudonym
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import give_consent, withdraw_consent
from storage.privacy.erasure import delete_member
from storage.settings.sections import PrivacySettings, Settings
from storage.taste.opinions import REPLACED_WEIGHT, Opinion, Preference, TasteOpinions, read_taste_opinions
from storage.votes.arenas import PickGesture, open_arena, pick, read_arena_answers
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import give_cause, withdraw
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events
from tests.past import quarantine
from tests.seeding import ALICE, BOB, CAROL, account, add_correction, add_reply, message_of, pseudonyms_of, vote
from tests.storage.votes.test_arenas import opened, prepare, rows_of
from tests.storage.votes.test_weights import NO_RULES, NOON, vote_at

QUESTION = 4_711
EVERYONE = Settings(votes=NO_RULES)
"""Every vote counts in full."""
NOTHING = TasteOpinions((), ())


def read(session: Session, personality_id: int, settings: Settings = EVERYONE) -> TasteOpinions:
    session.flush()
    session.expire_all()
    return read_taste_opinions(session, personality_id, settings)


def opinions(
    session: Session, personality_id: int, settings: Settings = EVERYONE
) -> dict[tuple[int, int], tuple[bool, float]]:
    """Return {(reply, voter): (liked, weight)}, and fail if somebody has two opinions on one answer."""
    found = read(session, personality_id, settings).opinions
    by_whom = {(one.reply_id, one.voter): (one.liked, one.weight) for one in found}
    assert len(by_whom) == len(found)
    return by_whom


def answer_to_question(session: Session, author_id: int = ALICE, **more: Any) -> int:
    """Answer ALICE's question, again if `author_id` asks for it."""
    return add_reply(session, author_id=author_id, **({"source_message_id": QUESTION} | more))


def pick_in_arena(session: Session, arena_id: int, user_id: int, position: int) -> None:
    pick(session, arena_id, user_id, position, PickGesture.PRESSED)


# Votes


def test_thumbs_are_opinions_under_pseudonyms(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    vote(session, reply_id, BOB, Vote.UP)
    vote(session, reply_id, CAROL, Vote.DOWN)
    bob, carol = pseudonyms_of(session, BOB, CAROL)
    assert opinions(session, personality_id) == {(reply_id, bob): (True, 1.0), (reply_id, carol): (False, 1.0)}
    assert {bob, carol}.isdisjoint({BOB, CAROL})


@pytest.mark.parametrize(("emoji", "said"), [("❤️", (True, 1.5)), ("😂", (True, 0.5)), ("💩", (False, 1.5))])
def test_an_emoji_counts_as_many_thumbs_as_the_settings_say(
    session: Session, personality_id: int, emoji: str, said: tuple[bool, float]
) -> None:
    reply_id = add_reply(session)
    append_events(session, [VoteEvent(reply_id, Thumb(message_of(reply_id), BOB, emoji), added=True)])
    assert list(opinions(session, personality_id).values()) == [said]


def test_a_personality_without_answers_has_no_evidence(session: Session, personality_id: int) -> None:
    assert read(session, personality_id) == NOTHING


def test_votes_on_another_personalitys_answers_are_not_read(session: Session, personality_id: int) -> None:
    other = ensure_personality(session, "other")
    reply_id = add_reply(session, personality_id=other)
    vote(session, reply_id, BOB, Vote.UP)
    add_correction(session, reply_id, "better", author_id=CAROL)
    assert read(session, personality_id) == NOTHING
    assert len(opinions(session, other)) == 2


def test_opinions_are_sorted_by_time(session: Session, personality_id: int) -> None:
    first, second, third = (add_reply(session, prompt=str(i)) for i in range(3))
    vote_at(session, third, BOB, Vote.UP, NOON)
    vote_at(session, first, BOB, Vote.DOWN, NOON + timedelta(hours=2))
    correction = add_correction(session, second, "better")
    an_hour_later = NOON + timedelta(hours=1)
    session.execute(update(CorrectionRow).where(CorrectionRow.id == correction).values(created_at=an_hour_later))
    (bob,) = pseudonyms_of(session, BOB)
    assert read(session, personality_id).opinions == (
        Opinion(third, bob, True, 1.0, NOON),
        Opinion(second, bob, False, 1.0, an_hour_later, is_vote=False),
        Opinion(first, bob, False, 1.0, NOON + timedelta(hours=2)),
    )


def test_a_withdrawn_vote_and_both_thumbs_are_no_opinion(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    vote(session, reply_id, BOB, Vote.UP)
    vote(session, reply_id, BOB, Vote.UP, added=False)
    vote(session, reply_id, CAROL, Vote.UP)
    vote(session, reply_id, CAROL, Vote.DOWN)
    assert read(session, personality_id) == NOTHING


@pytest.mark.parametrize("votes", [True, False], ids=["votes", "suggestions"])
def test_votes_and_suggestions_of_young_accounts_count_less_and_those_of_new_ones_not_at_all(
    session: Session, personality_id: int, *, votes: bool
) -> None:
    reply_id = add_reply(session)
    for user_id in (account(15.01), account(0)):
        if votes:
            vote(session, reply_id, user_id, Vote.UP)
        else:
            add_correction(session, reply_id, "better", author_id=user_id)
    assert list(opinions(session, personality_id, Settings()).values()) == [(votes, pytest.approx(0.5, abs=0.01))]


@pytest.mark.parametrize(
    ("status", "counts"),
    [(QuarantineStatus.OPEN, False), (QuarantineStatus.EXCLUDED, False), (QuarantineStatus.COUNTED, True)],
)
@pytest.mark.threat("T44")
def test_votes_in_quarantine_do_not_count_until_an_admin_counts_them(
    session: Session, personality_id: int, status: QuarantineStatus, counts: bool
) -> None:
    reply_id = add_reply(session)
    vote(session, reply_id, BOB, Vote.UP)
    quarantine(session, 0, [(reply_id, BOB)], status=status)
    assert bool(opinions(session, personality_id)) is counts


def test_a_dislike_of_a_wrong_fact_says_nothing_about_style_but_one_of_the_tone_does(
    session: Session, personality_id: int
) -> None:
    reply_id = add_reply(session)
    for user_id, cause in ((BOB, Cause.WRONG_FACT), (CAROL, Cause.WRONG_TONE)):
        vote(session, reply_id, user_id, Vote.DOWN)
        give_cause(session, reply_id, user_id, cause)
    (carol,) = pseudonyms_of(session, CAROL)
    assert opinions(session, personality_id) == {(reply_id, carol): (False, 1.0)}


# People who do not want it


def speak_in_every_way(session: Session, personality_id: int, user_id: int) -> None:
    """Let the member vote, suggest, ask for another answer and pick in an arena."""
    vote(session, add_reply(session, prompt="voted on"), user_id, Vote.UP)
    add_correction(session, add_reply(session, prompt="corrected"), "better", author_id=user_id)
    answer_to_question(session)
    answer_to_question(session, user_id)
    pick_in_arena(session, opened(session, personality_id).id, user_id, 1)


def test_a_member_who_opts_out_is_not_learned_from_until_they_opt_in(session: Session, personality_id: int) -> None:
    speak_in_every_way(session, personality_id, BOB)
    before = read(session, personality_id)
    assert (len(before.opinions), len(before.choices)) == (3, 1)
    withdraw_consent(session, BOB)
    assert read(session, personality_id) == NOTHING
    give_consent(session, BOB)
    assert read(session, personality_id) == before


def test_opting_out_leaves_what_others_said(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    for user_id in (BOB, CAROL):
        vote(session, reply_id, user_id, Vote.UP)
    withdraw_consent(session, BOB)
    assert list(opinions(session, personality_id)) == [(reply_id, *pseudonyms_of(session, CAROL))]


def test_nothing_is_learned_from_a_member_who_deleted_their_data(session: Session, personality_id: int) -> None:
    speak_in_every_way(session, personality_id, BOB)
    delete_member(session, BOB)
    assert read(session, personality_id) == NOTHING


def test_nothing_is_learned_if_the_operator_switches_it_off(session: Session, personality_id: int) -> None:
    speak_in_every_way(session, personality_id, BOB)
    off = Settings(votes=NO_RULES, privacy=PrivacySettings(learn_from_reactions=False))
    assert read(session, personality_id, off) == NOTHING


# Arenas


def test_a_pick_is_a_choice_among_all_answers_and_no_opinion(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id, ["tea", "coffee", "both"])
    first, second, third = (answer.reply_id for answer in read_arena_answers(session, arena.id))
    for user_id, position in ((BOB, 2), (CAROL, 1), (BOB, 3)):
        pick_in_arena(session, arena.id, user_id, position)
    found = read(session, personality_id)
    bob, carol = pseudonyms_of(session, BOB, CAROL)
    assert found.opinions == ()
    assert {(choice.reply_ids, choice.chosen, choice.voter, choice.weight) for choice in found.choices} == {
        ((first, second, third), third, bob, 1.0),
        ((first, second, third), first, carol, 1.0),
    }
    assert len(found.choices) == 2
    assert [choice.given_at for choice in found.choices] == sorted(choice.given_at for choice in found.choices)


def test_a_pick_that_was_taken_back_is_no_choice(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    for _ in range(2):
        pick_in_arena(session, arena.id, BOB, 1)
    assert read(session, personality_id) == NOTHING


def test_a_pick_in_quarantine_does_not_count(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id)
    for user_id in (BOB, CAROL):
        pick_in_arena(session, arena.id, user_id, 1)
    picked = read_arena_answers(session, arena.id)[0].reply_id
    quarantine(session, 0, [(picked, BOB)])
    assert [choice.voter for choice in read(session, personality_id).choices] == pseudonyms_of(session, CAROL)


def test_choices_in_several_arenas_are_kept_apart(session: Session, personality_id: int) -> None:
    for channel_id, texts in enumerate((["tea", "coffee"], ["cat", "dog", "bird"]), start=1):
        arena = prepare(session, personality_id, channel_id=channel_id)
        open_arena(session, arena.id, rows_of(personality_id, texts), arena.closes_at)
        pick_in_arena(session, arena.id, BOB, 1)
    first, second = read(session, personality_id).choices
    assert (len(first.reply_ids), len(second.reply_ids)) == (2, 3)
    assert set(first.reply_ids).isdisjoint(second.reply_ids)
    assert (first.chosen, second.chosen) == (first.reply_ids[0], second.reply_ids[0])


def test_one_answer_alone_is_no_choice(session: Session, personality_id: int) -> None:
    pick_in_arena(session, opened(session, personality_id, ["tea"]).id, BOB, 1)
    assert read(session, personality_id) == NOTHING


def test_about_the_same_shares_the_win() -> None:
    same = Preference((1, 2, 3, 4), None, Pseudonym(5), 1.0, NOON)
    assert same.shares == [0.25] * 4
    assert same._replace(chosen=3).shares == [0, 0, 1, 0]


# Blind second answers


def add_comparison(session: Session, user_id: int, better: Better) -> tuple[int, int]:
    """Let the member compare two answers; return these."""
    first, second = add_reply(session), add_reply(session, origin=Origin.ALTERNATIVE)
    compare(session, first, second, user_id, better)
    return first, second


def test_what_a_member_says_of_two_blind_answers_is_a_choice(session: Session, personality_id: int) -> None:
    pair = add_comparison(session, BOB, Better.SECOND)
    same = add_comparison(session, BOB, Better.SAME)
    found = read(session, personality_id)
    assert [(one.reply_ids, one.chosen, one.weight) for one in found.choices] == [(pair, pair[1], 1), (same, None, 1)]
    assert [one.voter for one in found.choices] == pseudonyms_of(session, BOB, BOB)
    withdraw_consent(session, BOB)
    assert read(session, personality_id) == NOTHING


def test_a_choice_of_a_young_account_counts_less_and_of_a_new_one_not_at_all(
    session: Session, personality_id: int
) -> None:
    for user_id in (account(15.01), account(0)):
        add_comparison(session, user_id, Better.FIRST)
    (choice,) = read(session, personality_id, Settings()).choices
    assert choice.weight == pytest.approx(0.5, abs=0.01)


# Suggestions


def test_a_suggestion_is_a_dislike_of_what_it_would_replace(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    add_correction(session, reply_id, "better")
    add_correction(session, reply_id, "even better")
    (bob,) = pseudonyms_of(session, BOB)
    assert opinions(session, personality_id) == {(reply_id, bob): (False, 1.0)}


def test_a_withdrawn_suggestion_is_no_opinion(session: Session, personality_id: int) -> None:
    withdraw(session, add_correction(session, add_reply(session), "better"), BOB)
    assert read(session, personality_id) == NOTHING


@pytest.mark.parametrize("value", Vote)
def test_a_member_who_voted_said_what_they_think_whatever_they_suggest_or_ask_for(
    session: Session, personality_id: int, value: Vote
) -> None:
    reply_id = answer_to_question(session)
    add_correction(session, reply_id, "better")
    answer_to_question(session, BOB)
    vote(session, reply_id, BOB, value)
    (bob,) = pseudonyms_of(session, BOB)
    assert opinions(session, personality_id) == {(reply_id, bob): (value is Vote.UP, 1.0)}


def test_a_member_who_takes_the_vote_back_still_has_the_suggestion(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    add_correction(session, reply_id, "better")
    vote(session, reply_id, BOB, Vote.UP)
    vote(session, reply_id, BOB, Vote.UP, added=False)
    assert list(opinions(session, personality_id).values()) == [(False, 1.0)]


def test_whoever_corrects_a_wrong_fact_does_not_dislike_the_style(session: Session, personality_id: int) -> None:
    reply_id = answer_to_question(session)
    vote(session, reply_id, BOB, Vote.DOWN)
    give_cause(session, reply_id, BOB, Cause.WRONG_FACT)
    add_correction(session, reply_id, "the right fact")
    answer_to_question(session, BOB)
    assert read(session, personality_id) == NOTHING


def test_a_vote_in_quarantine_does_not_come_back_as_a_suggestion(session: Session, personality_id: int) -> None:
    reply_id = answer_to_question(session)
    vote(session, reply_id, BOB, Vote.DOWN)
    add_correction(session, reply_id, "better")
    answer_to_question(session, BOB)
    quarantine(session, 0, [(reply_id, BOB)])
    assert read(session, personality_id) == NOTHING


# Asking for another answer


def test_asking_for_another_answer_is_a_light_dislike_of_the_one_before(session: Session, personality_id: int) -> None:
    first = answer_to_question(session)
    again = answer_to_question(session, BOB)
    (bob,) = pseudonyms_of(session, BOB)
    assert opinions(session, personality_id) == {(first, bob): (False, REPLACED_WEIGHT)}
    assert read(session, personality_id).opinions[0].given_at == session.get_one(ReplyRow, again).created_at
    assert REPLACED_WEIGHT == 0.3


@pytest.mark.threat("T45")
def test_a_young_account_that_asks_for_another_answer_counts_less_and_a_new_one_not_at_all(
    session: Session, personality_id: int
) -> None:
    first = answer_to_question(session)
    half = account(15.01)
    for user_id in (half, account(0)):
        answer_to_question(session, user_id)
    ((whose, (liked, weight)),) = opinions(session, personality_id, Settings()).items()
    assert whose == (first, *pseudonyms_of(session, half))
    assert not liked
    assert weight == pytest.approx(0.5 * REPLACED_WEIGHT, abs=0.01)


def test_a_member_who_asks_twice_dislikes_both_answers_once(session: Session, personality_id: int) -> None:
    first, second, third = (answer_to_question(session, BOB) for _ in range(3))
    (bob,) = pseudonyms_of(session, BOB)
    asked_at = {reply_id: session.get_one(ReplyRow, reply_id).created_at for reply_id in (second, third)}
    assert read(session, personality_id).opinions == (
        Opinion(first, bob, False, 0.3, asked_at[second], is_vote=False),
        Opinion(second, bob, False, 0.3, asked_at[third], is_vote=False),
    )


def test_a_suggestion_weighs_more_than_asking_for_another_answer(session: Session, personality_id: int) -> None:
    reply_id = answer_to_question(session)
    answer_to_question(session, BOB)
    add_correction(session, reply_id, "better")
    assert list(opinions(session, personality_id).values()) == [(False, 1.0)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"origin": Origin.ALTERNATIVE}),
        ({"origin": Origin.ALTERNATIVE}, {}),
        ({}, {"origin": Origin.SAMPLE}),
        ({}, {"prompt": "the question after an edit"}),
        ({}, {"source_message_id": QUESTION + 1}),
        ({"source_message_id": None}, {"source_message_id": None}),
        ({"outcome": Outcome.INTERRUPTED}, {}),
        ({}, {"author_id": NOBODY}),
    ],
    ids=[
        "a blind second answer",
        "an answer after a blind second one",
        "a sample of a round",
        "another prompt",
        "the same words in another message",
        "no message",
        "an answer in place of a broken one",
        "an answer that nobody known asked for",
    ],
)
def test_not_every_later_answer_replaces_an_earlier_one(
    session: Session, personality_id: int, first: dict[str, Any], second: dict[str, Any]
) -> None:
    answer_to_question(session, **first)
    answer_to_question(session, **({"author_id": BOB} | second))
    assert read(session, personality_id) == NOTHING
