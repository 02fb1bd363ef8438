"""What may be trained on: trainable answers with the votes that count, and standing corrections."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.conversations.replies import digest_prompt
from storage.database.columns import utc_now
from storage.database.enums import Basis, Origin, Outcome, QuarantineStatus
from storage.database.tables import QuarantineRow
from storage.members import note_members
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import give_consent, withdraw_consent
from storage.privacy.erasure import delete_member
from storage.settings.sections import PrivacySettings, Settings, VoteSettings
from storage.training.feedback import (
    RatedReply,
    Texts,
    WrittenCorrection,
    look_ahead,
    read_corrections,
    read_replies,
    read_texts,
)
from storage.training.trainable import TrainingScope
from storage.votes.corrections import withdraw
from storage.votes.votes import Vote
from storage.votes.weights import QUARANTINE, WeightedVote, read_weighted_votes
from tests.past import quarantine
from tests.seeding import (
    ALICE,
    BASE_REVISION,
    BOB,
    CAROL,
    OTHER_REVISION,
    account,
    add_correction,
    add_reply,
    pseudonyms_of,
    render_plainly,
    vote,
)

GUILD = 7
PROMPT = "<|user|>hello<|bot|>"
CLOSED = PrivacySettings()
PERMITTED = PrivacySettings(discord_training_permission=True)


def read(session: Session, personality_id: int, privacy: PrivacySettings = CLOSED) -> list[RatedReply]:
    counted = read_weighted_votes(session, personality_id, VoteSettings()).by_reply
    return read_replies(session, TrainingScope(personality_id, privacy, BASE_REVISION), counted)


def corrections(session: Session, personality_id: int, privacy: PrivacySettings = CLOSED) -> list[WrittenCorrection]:
    return read_corrections(session, TrainingScope(personality_id, privacy, BASE_REVISION), VoteSettings())


def texts_of(session: Session, personality_id: int, privacy: PrivacySettings = CLOSED, **wanted: list[int]) -> Texts:
    return read_texts(session, TrainingScope(personality_id, privacy, BASE_REVISION), render=render_plainly, **wanted)


def ballots(session: Session, votes: dict[int, Vote]) -> tuple[WeightedVote, ...]:
    """Return the votes, each of full weight, as a round sees them."""
    people = pseudonyms_of(session, *votes)
    return tuple(
        sorted((WeightedVote(p, v, 1.0) for p, v in zip(people, votes.values(), strict=True)), key=lambda b: b.voter)
    )


def ids(replies: list[RatedReply]) -> list[int]:
    return [reply.id for reply in replies]


def test_answers_come_with_the_votes_that_stand(session: Session, personality_id: int) -> None:
    liked = add_reply(session, answer="liked")
    sibling = add_reply(session, answer="sibling")
    add_reply(session, prompt="nobody voted here")
    vote(session, liked, ALICE, Vote.UP)
    vote(session, liked, BOB, Vote.DOWN)
    vote(session, liked, CAROL, Vote.UP)
    vote(session, liked, CAROL, Vote.UP, added=False)
    assert read(session, personality_id) == [
        RatedReply(liked, digest_prompt(PROMPT), votes=ballots(session, {ALICE: Vote.UP, BOB: Vote.DOWN})),
        RatedReply(sibling, digest_prompt(PROMPT)),
    ]
    texts = texts_of(session, personality_id, replies=[liked, sibling])
    assert texts == Texts({digest_prompt(PROMPT): PROMPT}, {liked: "liked", sibling: "sibling"})


def test_answers_without_a_basis_are_never_read(session: Session, personality_id: int) -> None:
    reply = add_reply(session, basis=None)
    vote(session, reply, ALICE, Vote.UP)
    correction = add_correction(session, reply, "better")
    for privacy in (CLOSED, PERMITTED):
        assert texts_of(session, personality_id, privacy, replies=[reply], corrections=[correction]) == Texts()
        assert read(session, personality_id, privacy) == []
        assert corrections(session, personality_id, privacy) == []


@pytest.mark.parametrize("outcome", [Outcome.STREAMING, Outcome.TIMEOUT, Outcome.CANCELLED, Outcome.FAILED])
def test_answers_that_were_cut_short_are_not_read(session: Session, personality_id: int, outcome: Outcome) -> None:
    vote(session, add_reply(session, outcome=outcome), ALICE, Vote.UP)
    assert read(session, personality_id) == []


def test_another_personality_keeps_its_own_evidence(session: Session, personality_id: int) -> None:
    other = ensure_personality(session, "other")
    reply = add_reply(session, personality_id=other)
    vote(session, reply, ALICE, Vote.UP)
    add_correction(session, reply, "better")
    assert read(session, personality_id) == []
    assert corrections(session, personality_id) == []
    assert ids(read(session, other)) == [reply]


def test_live_chat_needs_permission_and_everybodys_consent(session: Session, personality_id: int) -> None:
    reply = add_reply(session, basis=Basis.LIVE_CHAT, speakers=(ALICE, BOB))
    vote(session, reply, CAROL, Vote.UP)
    give_consent(session, ALICE)
    assert read(session, personality_id, PERMITTED) == []
    give_consent(session, BOB)
    session.flush()
    assert ids(read(session, personality_id, PERMITTED)) == [reply]
    assert read(session, personality_id) == []
    withdraw_consent(session, ALICE)
    assert read(session, personality_id, PERMITTED) == []


def test_live_chat_that_names_nobody_is_not_read(session: Session, personality_id: int) -> None:
    vote(session, add_reply(session, basis=Basis.LIVE_CHAT, speakers=()), CAROL, Vote.UP)
    assert read(session, personality_id, PERMITTED) == []


def test_prompts_of_the_operator_need_nobodys_consent(session: Session, personality_id: int) -> None:
    reply = add_reply(session, basis=Basis.PROMPT_BANK, speakers=())
    vote(session, reply, CAROL, Vote.UP)
    assert ids(read(session, personality_id)) == [reply]


def test_a_correction_needs_its_own_basis(session: Session, personality_id: int) -> None:
    reply = add_reply(session, basis=Basis.PROMPT_BANK)
    add_correction(session, reply, "no basis", author_id=ALICE, basis=None)
    live = add_correction(session, reply, "in live chat", author_id=BOB, basis=Basis.LIVE_CHAT)
    assert corrections(session, personality_id, PERMITTED) == []
    give_consent(session, BOB)
    session.flush()
    assert [correction.id for correction in corrections(session, personality_id, PERMITTED)] == [live]
    assert corrections(session, personality_id) == []


def test_a_withdrawn_correction_is_not_read(session: Session, personality_id: int) -> None:
    reply = add_reply(session)
    correction = add_correction(session, reply, "better", author_id=BOB)
    assert withdraw(session, correction, BOB)
    session.flush()
    assert corrections(session, personality_id) == []


def test_prompts_of_another_base_are_rendered_anew(session: Session, personality_id: int) -> None:
    said = [{"role": "user", "content": f"ask <@{ALICE}>"}]
    reply = add_reply(session, prompt=f"<|user|>ask <@{ALICE}><|bot|>", messages=said, base_revision=OTHER_REVISION)
    vote(session, reply, CAROL, Vote.UP)
    (read_back,) = read(session, personality_id)
    texts = texts_of(session, personality_id, replies=[reply])
    assert texts.prompts == {read_back.prompt: "[user] ask @somebody\n"}


def test_a_prompt_of_another_base_without_its_messages_cannot_be_rendered(
    session: Session, personality_id: int
) -> None:
    reply = add_reply(session, base_revision=OTHER_REVISION, messages=[])
    vote(session, reply, CAROL, Vote.UP)
    add_correction(session, reply, "better")
    assert read(session, personality_id) == []
    assert corrections(session, personality_id) == []


def test_votes_of_new_accounts_weigh_little_and_come_to_nothing_at_first(session: Session, personality_id: int) -> None:
    young, newborn = account(days_old=15), account(days_old=0)
    reply = add_reply(session)
    for user_id in (young, newborn):
        vote(session, reply, user_id, Vote.UP)
    (read_back,) = read(session, personality_id)
    assert [ballot.voter for ballot in read_back.votes if ballot.weight > 1e-4] == pseudonyms_of(session, young)
    assert read_back.up == pytest.approx(0.5, abs=1e-3)
    assert read_back.net == read_back.up


def test_an_answer_shows_its_version_its_end_and_its_round(session: Session, personality_id: int) -> None:
    vote(session, add_reply(session, outcome=Outcome.LENGTH), ALICE, Vote.UP)
    add_reply(session, origin=Origin.SAMPLE)
    add_reply(session, origin=Origin.ALTERNATIVE)
    assert [(reply.is_cut, reply.is_sample) for reply in read(session, personality_id)] == [
        (True, False),
        (False, True),
        (False, False),
    ]


def test_a_correction_names_its_author(session: Session, personality_id: int) -> None:
    correction = add_correction(session, add_reply(session), "better", author_id=CAROL)
    (found,) = corrections(session, personality_id)
    assert (found.id, found.text, found.weight) == (correction, None, 1.0)
    texts = texts_of(session, personality_id, corrections=[correction])
    assert texts.corrections == {correction: "better"}
    assert [found.author] == pseudonyms_of(session, CAROL)


def test_a_correction_weighs_what_a_vote_of_its_author_would(session: Session, personality_id: int) -> None:
    here, outside = add_reply(session, guild_id=GUILD), add_reply(session)
    young, newcomer, stranger = account(days_old=15), account(days_old=900), account(days_old=901)
    note_members(session, GUILD, {young: utc_now() - timedelta(days=8), newcomer: utc_now() - timedelta(days=3.5)})
    for reply, author_id in ((outside, young), (here, young), (here, newcomer), (here, stranger), (outside, stranger)):
        add_correction(session, reply, "better", author_id=author_id)
    weights = [found.weight for found in corrections(session, personality_id)]
    assert weights == pytest.approx([0.5, 0.5, 0.5, 0.0, 1.0], abs=1e-3)


def test_quarantined_votes_are_not_evidence_until_an_admin_counts_them(session: Session, personality_id: int) -> None:
    bought, mixed = add_reply(session), add_reply(session)
    for reply, user in ((bought, BOB), (mixed, BOB), (mixed, CAROL)):
        vote(session, reply, user, Vote.UP)
    quarantine(session, 0, [(bought, BOB), (mixed, BOB)])
    for status, counted, held in (
        (QuarantineStatus.OPEN, 1, 2),
        (QuarantineStatus.EXCLUDED, 1, 2),
        (QuarantineStatus.COUNTED, 3, 0),
    ):
        session.execute(update(QuarantineRow).values(status=status))
        votes = look_ahead(session, personality_id, Settings(), BASE_REVISION).votes
        assert (votes.given, sum(map(len, votes.by_reply.values())), votes.removed[QUARANTINE]) == (3, counted, held)


def test_deleted_data_is_not_evidence(session: Session, personality_id: int) -> None:
    reply = add_reply(session, speakers=(CAROL,), author_id=CAROL)
    vote(session, reply, ALICE, Vote.UP)
    vote(session, reply, BOB, Vote.DOWN)
    add_correction(session, reply, "better", author_id=BOB)
    delete_member(session, BOB)
    assert [reply.votes for reply in read(session, personality_id)] == [ballots(session, {ALICE: Vote.UP})]
    assert corrections(session, personality_id) == []
    delete_member(session, CAROL)
    assert read(session, personality_id) == []
