"""Nobody's messages are trained on without a basis, and a deletion reaches everything made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.replies import add_message
from storage.database.database import Database
from storage.database.enums import NOBODY, Basis, QuarantineStatus, RoundStatus
from storage.database.tables import (
    CorrectionRow,
    QuarantinedVoteRow,
    ReplyMessageRow,
    ReplyRow,
    VoteEventRow,
)
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import (
    basis_of_chat,
    consenting,
    describe_bases,
    give_consent,
    open_bases,
    read_agreement,
    withdraw_consent,
)
from storage.privacy.erasure import Deletion, delete_member
from storage.releases.versions import Version, list_versions
from storage.settings.sections import PrivacySettings
from storage.training.rounds import claim_round, find_round, request_round
from storage.training.samples import AskedPrompt, DrawnSample, record_samples
from storage.votes.corrections import suggest, withdraw
from storage.votes.decisions import decide_quarantine
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events, votes_on
from tests.past import add_round, add_version, pair, quarantine
from tests.seeding import (
    ALICE,
    BASE_REVISION,
    BOB,
    CAROL,
    CHANNEL,
    add_correction,
    add_reply,
    add_siblings,
    message_of,
    read_manifest,
    tiny_settings,
    vote,
)
from tests.storage.together import race
from trainer.base import RoundBase
from trainer.data.plan import make_plan
from trainer.data.prepare import write_plan
from trainer.data.survey import survey_votes
from trainer.round_context import Learner


def train_on(
    session: Session,
    pairs: Iterable[tuple[int | None, int | None, int | None]],
    *,
    parent: Version | None = None,
) -> Version:
    """Publish a version from a round of (chosen reply, rejected reply, correction) pairs."""
    manifest = [pair(chosen, rejected, correction_id=correction) for chosen, rejected, correction in pairs]
    return add_version(session, add_round(session, 0, manifest), parent)


def marked(session: Session) -> set[str]:
    versions = list_versions(session, ensure_personality(session))
    return {version.name for version in versions if version.trained_on_deleted_data}


# Basis


def test_live_chat_is_open_only_with_discords_permission() -> None:
    closed, granted = PrivacySettings(), PrivacySettings(discord_training_permission=True)
    assert open_bases(closed) == (Basis.LOCAL, Basis.PROMPT_BANK)
    assert open_bases(granted) == (Basis.LOCAL, Basis.PROMPT_BANK, Basis.LIVE_CHAT)
    assert "privacy.discord_training_permission = false" in describe_bases(closed)
    assert "Messages of members who allow it" in describe_bases(granted)


def test_chat_has_a_basis_once_everybody_quoted_agreed(session: Session) -> None:
    assert basis_of_chat(session, [ALICE, BOB]) is None
    give_consent(session, ALICE)
    assert basis_of_chat(session, [ALICE]) is Basis.LIVE_CHAT
    assert basis_of_chat(session, [ALICE, BOB]) is None
    give_consent(session, BOB)
    assert basis_of_chat(session, [ALICE, BOB, ALICE]) is Basis.LIVE_CHAT
    assert basis_of_chat(session, []) is None, "of nobody"


def test_consent_is_given_once_and_taken_back(session: Session) -> None:
    give_consent(session, ALICE)
    give_consent(session, ALICE)
    give_consent(session, BOB)
    assert consenting(session, [ALICE, BOB, CAROL]) == {ALICE, BOB}
    withdraw_consent(session, ALICE)
    withdraw_consent(session, ALICE)
    assert consenting(session, [ALICE, BOB, CAROL]) == {BOB}
    assert basis_of_chat(session, [ALICE]) is None


# Deletion


def test_deleting_a_member_removes_their_words_votes_corrections_and_consent(session: Session) -> None:
    own = add_reply(session, speakers=[ALICE])
    shared = add_reply(session, speakers=[ALICE, BOB])
    others = add_reply(session, speakers=[BOB])
    for reply_id in (own, shared, others):
        vote(session, reply_id, ALICE, Vote.UP)
        vote(session, reply_id, BOB, Vote.DOWN)
    add_correction(session, others, "better", author_id=ALICE)
    kept = add_correction(session, others, "best", author_id=BOB)
    add_correction(session, own, "of an answer that goes", author_id=BOB)
    give_consent(session, ALICE)
    give_consent(session, BOB)

    assert delete_member(session, ALICE) == Deletion(
        replies=2, votes=3, corrections=1, notes=0, summaries=0, documents=0
    )

    session.expire_all()
    assert session.scalars(select(ReplyRow.id)).all() == [others]
    assert votes_on(session, others) == {BOB: Vote.DOWN}
    assert session.query(VoteEventRow).count() == 1
    assert session.scalars(select(CorrectionRow.id)).all() == [kept]
    assert session.query(ReplyMessageRow).count() == 1
    assert consenting(session, [ALICE, BOB]) == {BOB}


def test_deleting_a_stranger_changes_nothing(session: Session) -> None:
    add_reply(session)
    assert delete_member(session, CAROL) == Deletion()
    assert session.query(ReplyRow).count() == 1


@pytest.mark.parametrize("link", ["chosen", "rejected", "vote", "withdrawn vote", "correction", "correction of"])
def test_versions_trained_on_a_member_are_marked(session: Session, link: str) -> None:
    """By any link between the member and a pair: their messages, their vote or their correction."""
    touched = add_reply(session, speakers=[ALICE] if link in ("chosen", "rejected", "correction of") else [BOB])
    good, bad = add_reply(session, speakers=[BOB]), add_reply(session, speakers=[BOB])
    if link.endswith("vote"):
        vote(session, touched, ALICE, Vote.UP)
    if link == "withdrawn vote":
        vote(session, touched, ALICE, Vote.UP, added=False)
    correction = add_correction(session, touched, "better", author_id=ALICE if link == "correction" else BOB)
    named = {
        "rejected": (good, touched, None),
        "correction": (None, touched, correction),
        "correction of": (None, touched, correction),
    }.get(link, (touched, bad, None))
    train_on(session, [(good, bad, None)])
    train_on(session, [(good, bad, None), named])
    assert delete_member(session, ALICE).marked == ("v2",)
    session.expire_all()
    assert marked(session) == {"v2"}


def test_versions_that_continue_a_marked_one_are_marked_too(session: Session) -> None:
    """A version starts from its parent's weights, not from a sibling's."""
    hers = add_reply(session, speakers=[ALICE])
    good, bad = add_reply(session, speakers=[BOB]), add_reply(session, speakers=[BOB])
    first = train_on(session, [(good, bad, None)])
    second = train_on(session, [(hers, bad, None)], parent=first)
    third = train_on(session, [(good, bad, None)], parent=second)
    train_on(session, [(good, bad, None)], parent=third)
    train_on(session, [(good, bad, None)], parent=first)
    assert delete_member(session, ALICE).marked == ("v2", "v3", "v4")
    session.expire_all()
    assert marked(session) == {"v2", "v3", "v4"}


def test_a_kept_answer_forgets_who_requested_it_again(session: Session) -> None:
    """A member who presses 🔁 is the author of an answer to another member's messages."""
    asked_again = add_reply(session, speakers=[BOB], author_id=ALICE)
    others = add_reply(session, speakers=[BOB], author_id=CAROL)
    assert delete_member(session, ALICE).replies == 0
    session.expire_all()
    authors = select(ReplyRow.author_id).order_by(ReplyRow.id)
    assert asked_again < others
    assert session.scalars(authors).all() == [NOBODY, CAROL]


def test_manifests_forget_deleted_rows(session: Session) -> None:
    hers, good = add_reply(session, speakers=[ALICE]), add_reply(session, speakers=[BOB])
    correction = add_correction(session, good, "better", author_id=ALICE)
    version = train_on(session, [(good, hers, None), (None, good, correction)])
    delete_member(session, ALICE)
    session.expire_all()
    first, second = read_manifest(session, version.round_id)
    assert (first.chosen_reply_id, first.rejected_reply_id) == (good, None)
    assert (second.correction_id, second.rejected_reply_id) == (None, good)


def test_a_mark_stays_and_a_version_made_later_from_a_marked_one_is_marked_at_once(session: Session) -> None:
    hers, bad = add_reply(session, speakers=[ALICE]), add_reply(session, speakers=[BOB])
    parent = train_on(session, [(hers, bad, None)])
    delete_member(session, ALICE)
    assert delete_member(session, ALICE).marked == ()
    session.expire_all()
    assert marked(session) == {"v1"}
    train_on(session, [(bad, add_reply(session, speakers=[BOB]), None)], parent=parent)
    assert marked(session) == {"v1", "v2"}


# Agreements


def open_quarantine(session: Session, reply_ids: Iterable[int]) -> int:
    """Quarantine BOB's likes of the replies, and return the quarantine's id."""
    return quarantine(session, 0, [(reply_id, BOB) for reply_id in reply_ids])


@pytest.fixture
def replies(session: Session) -> list[int]:
    """Two answers, both with BOB's like; ALICE consents, and CAROL wrote a better one for the first."""
    found = [add_reply(session, prompt=f"p{i}", speakers=[ALICE]) for i in range(2)]
    for reply_id in found:
        vote(session, reply_id, BOB, Vote.UP)
    give_consent(session, ALICE)
    add_correction(session, found[0], "better", author_id=CAROL)
    return found


TAKING_BACK: dict[str, Callable[[Session, list[int]], object]] = {
    "consent": lambda session, _: withdraw_consent(session, ALICE),
    "data": lambda session, _: delete_member(session, BOB),
    "suggestion": lambda session, _: withdraw(session, 1, CAROL),
    "suggestion replaced": lambda session, replies: suggest(session, replies[0], CAROL, "best", None),
    "votes": open_quarantine,
}
ADDING: dict[str, Callable[[Session, list[int]], object]] = {
    "consent": lambda session, _: give_consent(session, BOB),
    "suggestion": lambda session, replies: add_correction(session, replies[1], "better", author_id=CAROL),
    "vote": lambda session, replies: vote(session, replies[0], CAROL, Vote.DOWN),
}


@pytest.mark.parametrize("what", TAKING_BACK)
def test_a_withdrawal_ends_an_agreement(session: Session, replies: list[int], what: str) -> None:
    personality_id = ensure_personality(session)
    agreed = read_agreement(session, personality_id)
    assert agreed.still_holds(read_agreement(session, personality_id))
    TAKING_BACK[what](session, replies)
    session.flush()
    assert not agreed.still_holds(read_agreement(session, personality_id))


@pytest.mark.parametrize("what", ADDING)
def test_an_addition_leaves_an_agreement_as_it_was(session: Session, replies: list[int], what: str) -> None:
    personality_id = ensure_personality(session)
    agreed = read_agreement(session, personality_id)
    ADDING[what](session, replies)
    assert agreed.still_holds(read_agreement(session, personality_id))


def test_a_second_deletion_ends_an_agreement_too(session: Session) -> None:
    personality_id = ensure_personality(session)
    delete_member(session, BOB)
    agreed = read_agreement(session, personality_id)
    delete_member(session, BOB)
    session.expire_all()
    assert not agreed.still_holds(read_agreement(session, personality_id))


def test_a_quarantine_that_grows_ends_an_agreement_and_one_that_counts_does_not(
    session: Session, replies: list[int]
) -> None:
    personality_id = ensure_personality(session)
    id_ = open_quarantine(session, replies[:1])
    before = read_agreement(session, personality_id)
    session.add(QuarantinedVoteRow(quarantine_id=id_, reply_id=replies[1], user_id=BOB))
    session.flush()
    grown = read_agreement(session, personality_id)
    assert not before.still_holds(grown)
    decide_quarantine(session, id_, QuarantineStatus.COUNTED, "admin", "they are friends")
    assert grown.still_holds(read_agreement(session, personality_id))


def test_an_agreement_ignores_other_personalities(session: Session, replies: list[int]) -> None:
    other = ensure_personality(session, "other")
    agreed = read_agreement(session, other)
    withdraw(session, 1, CAROL)
    open_quarantine(session, replies)
    assert agreed.still_holds(read_agreement(session, other))


# Deletions and rounds that are planned at the same time


def planner(database: Database) -> Callable[[Session], object]:
    """Claim and plan a round that BOB's votes give pairs, and return the transaction that writes its manifest."""
    with database.transaction() as session:
        add_siblings(session, 2)
        request_round(session, ensure_personality(session), "test")
        round_ = claim_round(session, "here")
    base = BaseModel("tiny", Path("unused"), BASE_REVISION, "LlamaForCausalLM")
    settings = tiny_settings(Path("unused"))
    with database.snapshot() as session:
        agreed = read_agreement(session, round_.personality_id)
        survey = survey_votes(session, Learner(round_.personality_id, RoundBase(base, settings.model), settings))
        plan = make_plan(survey, settings, lambda _pair: True)
    assert plan.manifest
    return lambda session: write_plan(session, round_, plan, {}, agreed)


def deletion_of(user_id: int) -> Callable[[Session], Deletion]:
    return lambda session: delete_member(session, user_id)


def test_a_plan_under_which_nothing_was_taken_back_is_written(database: Database) -> None:
    write = planner(database)
    with database.transaction() as session:
        give_consent(session, CAROL)
        assert write(session) is True
    assert len(database.fetch(read_manifest, 1)) == 2


def test_a_deletion_reaches_a_round_whose_plan_is_not_committed_yet(database: Database) -> None:
    race(database, planner(database), deletion_of(BOB))
    ended = database.fetch(find_round, 1)
    assert (ended.status, ended.manifest_digest is None) == (RoundStatus.INTERRUPTED, False)


def test_a_plan_that_a_deletion_overtakes_is_not_written(database: Database) -> None:
    assert race(database, deletion_of(BOB), planner(database)) is False
    assert database.fetch(read_manifest, 1) == []


def sample_of(reply_id: int) -> Callable[[Session], int]:
    drawn = [DrawnSample(AskedPrompt("", "", reply_id), "a sample", is_cut=False)]
    rows = {"personality_id": 1, "base_revision": BASE_REVISION, "version_id": None, "sampling": {}, "seed": 17}
    return lambda session: record_samples(session, drawn, **rows)


def test_samples_drawn_during_a_deletion_do_not_bring_words_back(database: Database) -> None:
    with database.transaction() as session:
        hers, his = add_reply(session, speakers=[ALICE]), add_reply(session, speakers=[BOB])
    race(database, deletion_of(ALICE), sample_of(hers))
    race(database, sample_of(his), deletion_of(BOB))
    with database.snapshot() as session:
        assert session.scalars(select(ReplyRow.id)).all() == []


def test_messages_of_an_answer_that_was_just_deleted_are_not_stored(database: Database) -> None:
    with database.transaction() as session:
        hers, his = add_reply(session, speakers=[ALICE]), add_reply(session, speakers=[BOB])
    race(database, deletion_of(ALICE), lambda session: add_message(session, hers, 501, CHANNEL, 1))
    race(database, lambda session: add_message(session, his, 502, CHANNEL, 1), deletion_of(BOB))
    with database.snapshot() as session:
        assert session.query(ReplyRow).count() == session.query(ReplyMessageRow).count() == 0


# Reactions that are still on Discord after a deletion


def stand(reply_id: int, user_id: int, *, reread: bool) -> VoteEvent:
    return VoteEvent(reply_id, Thumb(message_of(reply_id), user_id, "👍"), added=True, reread=reread)


def test_votes_deleted_do_not_come_back_when_reactions_are_read_again(session: Session) -> None:
    reply = add_reply(session, speakers=[CAROL])
    events = [stand(reply, user, reread=True) for user in (ALICE, BOB)]
    assert len(append_events(session, events)) == 2
    delete_member(session, ALICE)
    session.expire_all()
    assert len(append_events(session, events)) == 0
    assert votes_on(session, reply) == {BOB: Vote.UP}


def test_a_member_who_deleted_their_data_may_vote_again(session: Session) -> None:
    old = add_reply(session, speakers=[CAROL])
    delete_member(session, ALICE)
    later = add_reply(session, speakers=[CAROL])
    session.expire_all()
    assert len(append_events(session, [stand(old, ALICE, reread=False)])) == 1
    assert len(append_events(session, [stand(later, ALICE, reread=True)])) == 1
    assert votes_on(session, old) == votes_on(session, later) == {ALICE: Vote.UP}
    gone = VoteEvent(old, Thumb(message_of(old), ALICE, "👍"), added=False, reread=True)
    assert len(append_events(session, [gone])) == 1
    assert votes_on(session, old) == {}


def test_a_second_deletion_counts_from_its_own_moment(session: Session) -> None:
    delete_member(session, ALICE)
    reply = add_reply(session, speakers=[CAROL])
    delete_member(session, ALICE)
    session.expire_all()
    assert len(append_events(session, [stand(reply, ALICE, reread=True)])) == 0


def test_reactions_read_again_during_a_deletion_do_not_bring_votes_back(database: Database) -> None:
    reply = database.call(add_reply, speakers=[CAROL])
    race(database, deletion_of(BOB), lambda session: append_events(session, [stand(reply, BOB, reread=True)]))
    race(database, lambda session: append_events(session, [stand(reply, ALICE, reread=True)]), deletion_of(ALICE))
    assert database.fetch(votes_on, reply) == {}
