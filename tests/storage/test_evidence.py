from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from storage.corrections import withdraw
from storage.database import open_database
from storage.evidence import Evidence, RatedReply, count_evidence, read_corrections, read_replies
from storage.personalities import ensure_personality
from storage.privacy import give_consent, withdraw_consent
from storage.schema import Basis, Outcome
from storage.settings import DataSettings, PrivacySettings, Settings
from storage.votes import Tally, Vote
from tests.seeding import ALICE, BASE_REVISION, BOB, CAROL, add_correction, add_reply, vote

CLOSED = PrivacySettings()
PERMITTED = PrivacySettings(discord_training_permission=True)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = open_database(Settings(data=DataSettings(directory=tmp_path)))
    with database.transaction() as session:
        yield session
    database.close()


@pytest.fixture
def personality(session: Session) -> int:
    return ensure_personality(session)


def ids(replies: list[RatedReply]) -> list[int]:
    return [reply.id for reply in replies]


def test_answers_come_with_the_votes_that_stand(session: Session, personality: int) -> None:
    liked = add_reply(session, answer="liked")
    sibling = add_reply(session, answer="sibling")
    add_reply(session, prompt="nobody voted here")
    vote(session, liked, ALICE, Vote.UP)
    vote(session, liked, BOB, Vote.DOWN)
    vote(session, liked, CAROL, Vote.UP)
    vote(session, liked, CAROL, Vote.UP, standing=False)
    assert read_replies(session, personality, CLOSED, BASE_REVISION) == [
        RatedReply(liked, "<|user|>hello<|bot|>", "liked", Tally(up=1, down=1)),
        RatedReply(sibling, "<|user|>hello<|bot|>", "sibling", Tally()),
    ]
    assert count_evidence(session, personality, CLOSED, BASE_REVISION) == Evidence(replies=1, votes=2, corrections=0)


def test_answers_without_a_basis_are_never_read(session: Session, personality: int) -> None:
    reply = add_reply(session, basis=None)
    vote(session, reply, ALICE, Vote.UP)
    add_correction(session, reply, "better")
    for privacy in (CLOSED, PERMITTED):
        assert read_replies(session, personality, privacy, BASE_REVISION) == []
        assert read_corrections(session, personality, privacy, BASE_REVISION) == []
        assert count_evidence(session, personality, privacy, BASE_REVISION) == Evidence(0, 0, 0)


@pytest.mark.parametrize("outcome", [Outcome.STREAMING, Outcome.TIMEOUT, Outcome.CANCELLED, Outcome.FAILED])
def test_answers_that_were_cut_short_are_not_read(session: Session, personality: int, outcome: Outcome) -> None:
    vote(session, add_reply(session, outcome=outcome), ALICE, Vote.UP)
    assert read_replies(session, personality, CLOSED, BASE_REVISION) == []


def test_another_personality_keeps_its_own_evidence(session: Session, personality: int) -> None:
    other = ensure_personality(session, "other")
    reply = add_reply(session, personality_id=other)
    vote(session, reply, ALICE, Vote.UP)
    add_correction(session, reply, "better")
    assert read_replies(session, personality, CLOSED, BASE_REVISION) == []
    assert read_corrections(session, personality, CLOSED, BASE_REVISION) == []
    assert ids(read_replies(session, other, CLOSED, BASE_REVISION)) == [reply]


def test_live_chat_needs_permission_and_everybodys_consent(session: Session, personality: int) -> None:
    reply = add_reply(session, basis=Basis.LIVE_CHAT, speakers=(ALICE, BOB))
    vote(session, reply, CAROL, Vote.UP)
    give_consent(session, ALICE)
    assert read_replies(session, personality, PERMITTED, BASE_REVISION) == []
    give_consent(session, BOB)
    session.flush()
    assert ids(read_replies(session, personality, PERMITTED, BASE_REVISION)) == [reply]
    assert read_replies(session, personality, CLOSED, BASE_REVISION) == []
    withdraw_consent(session, ALICE)
    assert read_replies(session, personality, PERMITTED, BASE_REVISION) == []


def test_live_chat_that_names_nobody_is_not_read(session: Session, personality: int) -> None:
    vote(session, add_reply(session, basis=Basis.LIVE_CHAT, speakers=()), CAROL, Vote.UP)
    assert read_replies(session, personality, PERMITTED, BASE_REVISION) == []


def test_prompts_of_the_operator_need_nobodys_consent(session: Session, personality: int) -> None:
    reply = add_reply(session, basis=Basis.PROMPT_BANK, speakers=())
    vote(session, reply, CAROL, Vote.UP)
    assert ids(read_replies(session, personality, CLOSED, BASE_REVISION)) == [reply]


def test_a_correction_needs_a_basis_of_its_own(session: Session, personality: int) -> None:
    reply = add_reply(session, basis=Basis.PROMPT_BANK)
    add_correction(session, reply, "no basis", author_id=ALICE, basis=None)
    live = add_correction(session, reply, "in live chat", author_id=BOB, basis=Basis.LIVE_CHAT)
    assert read_corrections(session, personality, PERMITTED, BASE_REVISION) == []
    give_consent(session, BOB)
    session.flush()
    assert [correction.id for correction in read_corrections(session, personality, PERMITTED, BASE_REVISION)] == [live]
    assert read_corrections(session, personality, CLOSED, BASE_REVISION) == []


def test_a_withdrawn_correction_is_not_read(session: Session, personality: int) -> None:
    reply = add_reply(session)
    correction = add_correction(session, reply, "better", author_id=BOB)
    assert count_evidence(session, personality, CLOSED, BASE_REVISION) == Evidence(replies=0, votes=0, corrections=1)
    assert withdraw(session, correction, BOB)
    session.flush()
    assert read_corrections(session, personality, CLOSED, BASE_REVISION) == []
    assert count_evidence(session, personality, CLOSED, BASE_REVISION) == Evidence(0, 0, 0)


def test_answers_of_another_base_are_not_evidence_for_this_one(session: Session, personality: int) -> None:
    """Their prompts are rendered with another chat template."""
    reply = add_reply(session, base_revision="f" * 16)
    vote(session, reply, CAROL, Vote.UP)
    add_correction(session, reply, "better")
    assert read_replies(session, personality, CLOSED, BASE_REVISION) == []
    assert read_corrections(session, personality, CLOSED, BASE_REVISION) == []
    assert count_evidence(session, personality, CLOSED, BASE_REVISION) == Evidence(0, 0, 0)
    assert count_evidence(session, personality, CLOSED, "f" * 16) == Evidence(replies=1, votes=1, corrections=1)
