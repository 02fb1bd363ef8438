"""Rounds: asked for once, claimed by one worker, ended once, and never left running by a dead trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import PairSource, RoundStatus, Split, TrainingSource
from storage.database.rows import database_now
from storage.database.tables import RoundRow
from storage.errors import LeaseExpired, RoundConflict
from storage.personalities.personalities import ensure_personality
from storage.training.rounds import (
    ManifestPair,
    Round,
    RoundVoter,
    claim_round,
    digest_manifest,
    find_round,
    finish_round,
    interrupt_rounds,
    latest_round,
    renew_lease,
    report_progress,
    request_round,
    require_lease,
    require_round,
    set_manifest,
    show_progress_in,
    shown_rounds,
    stop_showing_progress,
)
from tests.seeding import ALICE, BOB, CAROL, add_correction, add_reply, read_manifest, read_voters
from tests.storage.together import at_once, race, together

pytestmark = pytest.mark.both_databases

ENDED = [RoundStatus.PUBLISHED, RoundStatus.SKIPPED, RoundStatus.REJECTED, RoundStatus.FAILED, RoundStatus.INTERRUPTED]
WORKER = "here:/data"


def running(session: Session, personality_id: int, worker: str = WORKER) -> Round:
    request_round(session, personality_id, "alice")
    return claim_round(session, worker)


def status(session: Session, round_id: int) -> RoundStatus:
    return find_round(session, round_id).status


def test_a_round_goes_from_the_request_to_its_end(session: Session, personality_id: int) -> None:
    asked, is_new = request_round(session, personality_id, "alice")
    assert (is_new, asked.status, asked.requested_by, asked.is_open) == (True, RoundStatus.REQUESTED, "alice", True)
    claimed = claim_round(session, WORKER)
    assert (claimed.id, claimed.status, claimed.worker) == (asked.id, RoundStatus.RUNNING, WORKER)
    report_progress(session, asked.id, {"step": 3, "steps": 9})
    finish_round(session, asked.id, RoundStatus.PUBLISHED, "v1 is ready", {"loss": 0.3})
    ended = latest_round(session, personality_id)
    assert (ended.status, ended.reason, ended.metrics) == (RoundStatus.PUBLISHED, "v1 is ready", {"loss": 0.3})
    assert (ended.progress, ended.is_open) == ({"step": 3, "steps": 9}, False)
    assert asked.requested_at <= ended.started_at <= ended.finished_at


def test_an_open_round_answers_a_second_request(session: Session, personality_id: int) -> None:
    first, _ = request_round(session, personality_id, "alice")
    again, is_new = request_round(session, personality_id, "bob")
    assert (again.id, again.requested_by, is_new) == (first.id, "alice", False)
    claim_round(session, WORKER)
    assert request_round(session, personality_id, "bob")[1] is False
    finish_round(session, first.id, RoundStatus.SKIPPED, "3 pairs, 8 needed")
    assert request_round(session, personality_id, "bob")[1] is True


def test_personalities_do_not_wait_for_each_other(session: Session, personality_id: int) -> None:
    running(session, personality_id)
    assert request_round(session, ensure_personality(session, "pirate"), "bob")[1] is True


def test_requests_at_once_make_one_round(database: Database, personality_id: int) -> None:
    answers = at_once(database, 4, lambda session, i: request_round(session, personality_id, f"admin {i}"))
    assert len({round_.id for round_, _ in answers}) == 1
    assert sorted(is_new for _, is_new in answers) == [False, False, False, True]


def test_workers_at_once_get_a_round_once(database: Database, personality_id: int) -> None:
    asked, _ = database.call(request_round, personality_id, "alice")
    claims = at_once(database, 4, lambda session, i: claim_round(session, f"worker {i}"))
    (winner,) = [claimed for claimed in claims if claimed is not None]
    assert (winner.id, database.fetch(find_round, asked.id).worker) == (asked.id, winner.worker)


def test_the_oldest_request_is_claimed_first(session: Session, personality_id: int) -> None:
    first, _ = request_round(session, personality_id, "alice")
    request_round(session, ensure_personality(session, "pirate"), "bob")
    assert claim_round(session, WORKER).id == first.id


def test_without_a_request_there_is_nothing_to_claim(session: Session, personality_id: int) -> None:
    assert claim_round(session, WORKER) is None
    running(session, personality_id)
    assert claim_round(session, WORKER) is None


# What is written down


def test_the_manifest_is_kept_in_order_with_its_digest(session: Session, personality_id: int) -> None:
    good, bad = add_reply(session), add_reply(session)
    pairs = [
        ManifestPair(PairSource.SIBLINGS, Split.TRAIN, 0.75, rejected_reply_id=bad, chosen_reply_id=good),
        ManifestPair(
            PairSource.CORRECTION,
            Split.VALIDATION,
            1.0,
            rejected_reply_id=bad,
            correction_id=add_correction(session, bad, "better"),
        ),
        ManifestPair(PairSource.TASTE, Split.TRAIN, 1 / 3, bad, good),
    ]
    round_ = running(session, personality_id)
    digest = set_manifest(session, round_.id, pairs, parent_version_id=None, settings={"beta": 0.3})
    session.expire_all()
    stored = require_round(session, round_.id)
    assert (stored.manifest_digest, stored.settings) == (digest, {"beta": 0.3})
    assert read_manifest(session, round_.id) == pairs
    assert digest_manifest(pairs) == digest != digest_manifest(pairs[::-1])


def test_the_digest_tells_every_part_of_a_pair() -> None:
    pair = ManifestPair(PairSource.SIBLINGS, Split.TRAIN, 0.5, 1, 2, 3)
    others = [
        replace(pair, source=PairSource.TASTE),
        replace(pair, split=Split.VALIDATION),
        replace(pair, weight=0.25),
        replace(pair, rejected_reply_id=9),
        replace(pair, chosen_reply_id=9),
        replace(pair, correction_id=9),
    ]
    assert len({digest_manifest([one]) for one in [pair, *others]}) == 7
    assert digest_manifest([pair])[:16] == "87dd8777bb483bd0", "it is the same everywhere and stays so"


def test_a_round_shows_its_evidence_its_voters_and_its_gate(session: Session, personality_id: int) -> None:
    round_ = running(session, personality_id)
    voters = [RoundVoter(ALICE, 0.3, 0.1), RoundVoter(BOB, 0.2, 0.4), RoundVoter(CAROL, 0.0, 0.4)]
    learned_from = {"votes": 12, "notes": ["few voters"]}
    set_manifest(session, round_.id, [], parent_version_id=None, settings={}, learned_from=learned_from, voters=voters)
    gate = {"verdict": "fail", "checks": [{"name": "numbers", "outcome": "fail", "sentence": "not a number"}]}
    finish_round(session, round_.id, RoundStatus.REJECTED, "broken", {"loss": None}, gate=gate)
    session.expire_all()
    stored = require_round(session, round_.id)
    assert (stored.learned_from, stored.gate, stored.metrics) == (learned_from, gate, {"loss": None})
    assert [voter.pseudonym for voter in read_voters(session, round_.id)] == [BOB, CAROL, ALICE]
    assert sorted(read_voters(session, round_.id), key=lambda voter: voter.pseudonym) == voters


def test_the_message_that_shows_a_round_is_remembered_until_it_shows_the_end(
    session: Session, personality_id: int
) -> None:
    round_ = running(session, personality_id)
    assert shown_rounds(session) == []
    show_progress_in(session, round_.id, channel_id=1 << 60, message_id=1 << 61)
    session.flush()
    assert [shown.id for shown in shown_rounds(session)] == [round_.id]
    stop_showing_progress(session, round_.id)
    session.flush()
    assert shown_rounds(session) == []


# What a round may not do


STEPS: list[Callable[[Session, int], object]] = [
    lambda session, id_: report_progress(session, id_, {"step": 1}),
    lambda session, id_: set_manifest(session, id_, [], parent_version_id=None, settings={}),
    lambda session, id_: finish_round(session, id_, RoundStatus.FAILED, "late"),
]


@pytest.mark.parametrize("end", ENDED)
def test_nothing_happens_to_a_round_that_ended(session: Session, personality_id: int, end: RoundStatus) -> None:
    round_ = running(session, personality_id)
    finish_round(session, round_.id, end, "the end")
    for step in STEPS:
        with pytest.raises(RoundConflict, match=f"round {round_.id} is no longer running"):
            step(session, round_.id)
        assert status(session, round_.id) is end


def test_an_unclaimed_round_cannot_continue(session: Session, personality_id: int) -> None:
    asked, _ = request_round(session, personality_id, "alice")
    for step in STEPS:
        with pytest.raises(RoundConflict):
            step(session, asked.id)
        assert status(session, asked.id) is RoundStatus.REQUESTED


def test_two_that_end_a_round_at_once_do_it_once(database: Database, personality_id: int) -> None:
    round_, ends = database.call(running, personality_id), [RoundStatus.PUBLISHED, RoundStatus.INTERRUPTED]
    outcomes = at_once(
        database, 2, lambda session, i: finish_round(session, round_.id, ends[i], f"by {i}"), RoundConflict
    )
    assert sorted(isinstance(one, RoundConflict) for one in outcomes) == [False, True]


# A trainer that died


def lapse(session: Session, round_id: int) -> None:
    session.get_one(RoundRow, round_id).lease_until = database_now(session) - timedelta(seconds=1)
    session.flush()


def test_a_restarted_trainer_interrupts_the_round_of_its_earlier_life(session: Session, personality_id: int) -> None:
    round_ = running(session, personality_id)
    assert [orphan.id for orphan in interrupt_rounds(session, WORKER)] == [round_.id]
    ended = find_round(session, round_.id)
    assert (ended.status, ended.is_open) == (RoundStatus.INTERRUPTED, False)
    assert "nothing was published: start a new round" in ended.reason
    assert ended.finished_at is not None


def test_a_round_whose_lease_ran_out_is_interrupted(session: Session, personality_id: int) -> None:
    round_ = running(session, personality_id, worker="elsewhere:/data")
    assert interrupt_rounds(session, WORKER) == []
    lapse(session, round_.id)
    assert interrupt_rounds(session, WORKER, others=False) == []
    assert [orphan.id for orphan in interrupt_rounds(session, WORKER)] == [round_.id]


def test_a_round_without_a_lease_is_interrupted(session: Session, personality_id: int) -> None:
    """As one that ran while the program was upgraded."""
    round_ = running(session, personality_id, worker="elsewhere:/data")
    session.get_one(RoundRow, round_.id).lease_until = None
    session.flush()
    assert [orphan.id for orphan in interrupt_rounds(session, WORKER)] == [round_.id]


def test_a_lease_that_is_renewed_holds_the_round(session: Session, personality_id: int) -> None:
    round_ = running(session, personality_id, worker="elsewhere:/data")
    lapse(session, round_.id)
    with pytest.raises(LeaseExpired, match=f"the lease of round {round_.id} has expired"):
        require_lease(session, round_.id)
    assert renew_lease(session, round_.id)
    require_lease(session, round_.id)
    assert interrupt_rounds(session, WORKER) == []
    assert status(session, round_.id) is RoundStatus.RUNNING


def test_a_trainer_that_wakes_after_its_round_was_ended_holds_nothing(session: Session, personality_id: int) -> None:
    round_ = running(session, personality_id, worker="elsewhere:/data")
    lapse(session, round_.id)
    interrupt_rounds(session, WORKER)
    assert not renew_lease(session, round_.id)
    with pytest.raises(RoundConflict, match="is no longer running"):
        require_lease(session, round_.id)


def test_a_round_is_either_renewed_or_ended(database: Database, personality_id: int) -> None:
    for _ in range(5):
        with database.transaction() as session:
            round_ = running(session, personality_id, worker="elsewhere:/data")
            lapse(session, round_.id)
        work = partial(interrupt_rounds, worker=WORKER), partial(renew_lease, round_id=round_.id)
        outcomes = at_once(database, 2, lambda session, i, work=work: bool(work[i](session)))
        assert sorted(outcomes) == [False, True]
        with database.transaction() as session:
            if status(session, round_.id) is RoundStatus.RUNNING:
                finish_round(session, round_.id, RoundStatus.SKIPPED, "the end")


def test_trainers_at_once_take_different_rounds(database: Database, personality_id: int) -> None:
    with database.transaction() as session:
        asked = {
            request_round(session, ensure_personality(session, name), "alice")[0].id
            for name in ("a1", "b2", "c3", "d4")
        }
    claims: list[tuple[str, int]] = []

    def trainer(i: int) -> None:
        while True:
            with database.transaction() as session:
                claimed = claim_round(session, f"worker {i}")
            if claimed is None:
                return
            claims.append((f"worker {i}", claimed.id))

    together(4, trainer)
    assert sorted(round_id for _, round_id in claims) == sorted(asked)
    with database.snapshot() as session:
        assert {(found.worker, id_) for id_ in asked if (found := find_round(session, id_))} == set(claims)


def test_requested_and_ended_rounds_are_left_alone(session: Session, personality_id: int) -> None:
    ended = running(session, personality_id)
    finish_round(session, ended.id, RoundStatus.REJECTED, "the gate said no")
    asked, _ = request_round(session, personality_id, "alice")
    assert interrupt_rounds(session, WORKER) == []
    assert (status(session, ended.id), status(session, asked.id)) == (RoundStatus.REJECTED, RoundStatus.REQUESTED)


def test_a_round_that_is_published_while_it_is_taken_for_orphaned_stays_published(
    database: Database, personality_id: int
) -> None:
    round_ = database.call(running, personality_id)
    publish = partial(finish_round, round_id=round_.id, status=RoundStatus.PUBLISHED, reason="v1 is ready")
    assert race(database, publish, lambda session: interrupt_rounds(session, WORKER)) == []
    assert database.fetch(status, round_.id) is RoundStatus.PUBLISHED


def test_a_round_on_examples_does_not_join_one_on_votes(session: Session, personality_id: int) -> None:
    round_, _ = request_round(session, personality_id, "grace")
    with pytest.raises(RoundConflict, match=f"round {round_.id}, which learns from votes, is not finished"):
        request_round(session, personality_id, "grace", TrainingSource.EXAMPLES)
