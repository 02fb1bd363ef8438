"""Causes of a 👎 count while the 👎 is there; wrong facts are not trained on."""

from __future__ import annotations

from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import Cause
from storage.insights.report import read_report
from storage.insights.vote_outcomes import VoteStatus, vote_outcomes
from storage.members import read_pseudonyms
from storage.personalities.personalities import read_personality
from storage.privacy.consent import read_agreement
from storage.privacy.erasure import delete_member
from storage.settings.sections import Settings, VoteSettings
from storage.votes.corrections import count_causes, give_cause, wrong_facts
from storage.votes.votes import Vote
from storage.votes.weights import QUARANTINE, WRONG_FACT, read_weighted_votes
from tests.seeding import ALICE, BASE_REVISION, BOB, CAROL, add_reply, vote

WEIGHTLESS_RULES = VoteSettings(account_age_days=0, membership_days=0)


def test_a_cause_counts_until_the_thumb_is_removed(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    assert give_cause(session, reply_id, BOB, Cause.TOO_LONG) is False
    assert count_causes(session, personality_id) == {}
    vote(session, reply_id, BOB, Vote.DOWN)
    assert count_causes(session, personality_id) == {Cause.TOO_LONG: 1}
    assert give_cause(session, reply_id, BOB, Cause.WRONG_TONE) is True
    assert count_causes(session, personality_id) == {Cause.WRONG_TONE: 1}
    vote(session, reply_id, BOB, Vote.DOWN, added=False)
    assert count_causes(session, personality_id) == {}


def test_a_deleted_answer_takes_no_cause(session: Session, personality_id: int) -> None:
    assert give_cause(session, 999, BOB, Cause.OTHER) is None


def test_a_wrong_fact_is_not_trained_on_but_other_causes_are(session: Session, personality_id: int) -> None:
    wrong, long = add_reply(session), add_reply(session)
    for reply_id in (wrong, long):
        for user in (BOB, CAROL):
            vote(session, reply_id, user, Vote.DOWN)
    give_cause(session, wrong, BOB, Cause.WRONG_FACT)
    give_cause(session, long, BOB, Cause.TOO_LONG)
    ballots, who = read_weighted_votes(session, personality_id, WEIGHTLESS_RULES), read_pseudonyms(session).of
    assert {r: {b.voter for b in found} for r, found in ballots.by_reply.items()} == {
        wrong: {who(CAROL)},
        long: {who(BOB), who(CAROL)},
    }
    assert (ballots.given, ballots.removed[WRONG_FACT], ballots.removed[QUARANTINE]) == (4, 1.0, 0.0)


def test_a_thumb_up_after_a_cause_counts(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    vote(session, reply_id, BOB, Vote.DOWN)
    give_cause(session, reply_id, BOB, Cause.WRONG_FACT)
    vote(session, reply_id, BOB, Vote.DOWN, added=False)
    vote(session, reply_id, BOB, Vote.UP)
    ballots = read_weighted_votes(session, personality_id, WEIGHTLESS_RULES)
    assert [ballot.vote for ballot in ballots.by_reply[reply_id]] == [Vote.UP]


def test_a_member_reads_what_became_of_it(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    vote(session, reply_id, BOB, Vote.DOWN)
    give_cause(session, reply_id, BOB, Cause.WRONG_FACT)
    settings = Settings(votes=WEIGHTLESS_RULES)
    whose = read_personality(session, personality_id)
    (of_bob,) = vote_outcomes(session, BOB, personality=whose, settings=settings, base_revision=BASE_REVISION)
    assert of_bob.status is VoteStatus.ABOUT_FACTS


def test_a_round_planned_before_the_cause_is_planned_again(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    vote(session, reply_id, BOB, Vote.DOWN)
    before = read_agreement(session, personality_id)
    give_cause(session, reply_id, BOB, Cause.TOO_LONG)
    assert before.still_holds(read_agreement(session, personality_id))
    give_cause(session, reply_id, BOB, Cause.WRONG_FACT)
    assert not before.still_holds(read_agreement(session, personality_id))


def test_the_report_has_the_split(session: Session, personality_id: int) -> None:
    for user, cause in ((ALICE, Cause.TOO_LONG), (BOB, Cause.WRONG_FACT), (CAROL, Cause.TOO_LONG)):
        reply_id = add_reply(session)
        vote(session, reply_id, user, Vote.DOWN)
        give_cause(session, reply_id, user, cause)
    report = read_report(session, personality_id, utc_now(), Settings())
    assert report.causes == {Cause.TOO_LONG: 2, Cause.WRONG_FACT: 1}


def test_deletion_takes_the_causes_that_a_member_gave(session: Session, personality_id: int) -> None:
    reply_id = add_reply(session)
    give_cause(session, reply_id, BOB, Cause.WRONG_FACT)
    delete_member(session, BOB)
    assert wrong_facts(session, personality_id) == set()
