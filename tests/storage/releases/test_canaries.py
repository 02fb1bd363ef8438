"""Canaries: who answers where, which votes count, how it ends, and that it ends once."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Result, delete, event, update
from sqlalchemy.orm import ORMExecuteState, Session

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import (
    CHALLENGER,
    CHAMPION,
    LAST_GOOD,
    CanaryStatus,
    GateVerdict,
    Origin,
    Outcome,
    QuarantineRule,
    QuarantineStatus,
)
from storage.database.tables import (
    CanaryRow,
    QuarantinedVoteRow,
    QuarantineRow,
    ReplyMessageRow,
    ReplyRow,
    VoteEventRow,
)
from storage.errors import AliasConflict, AlreadyChampion, CanaryRefused, GateNotPassed, OverrideNeedsReason
from storage.members import note_members
from storage.releases.canaries import (
    Canary,
    answers_with_challenger,
    canary_in,
    end_canary,
    latest_canary,
    note_numbers,
    running_canary,
    start_canary,
    stop_canary,
)
from storage.releases.canary_votes import AnswerPlace, CanaryVotes, Trial, first_votes, read_canary, share_of_votes
from storage.releases.promotion import conclude_canary, promote, release_passed, roll_back
from storage.releases.versions import Version, move_alias, read_alias, register
from storage.settings.sections import ReleaseSettings, VoteSettings
from storage.votes.votes import Vote
from storage.votes.weights import weigh_votes
from tests.seeding import ALICE, BOB, CAROL, account, add_reply, vote
from tests.storage.together import together
from tests.storage.trail import trail_of

SETTINGS = ReleaseSettings(canary_alpha=0.05, canary_max_votes=400)
VOTES = VoteSettings(account_age_days=30, membership_days=7)
GUILD = 7
HERE, THERE = 11, 12


def add(
    session: Session, personality_id: int, verdict: GateVerdict = GateVerdict.PASS, parent: Version | None = None
) -> Version:
    return register(
        session,
        personality_id,
        digest="d" * 64,
        base_name="tiny",
        base_revision="r" * 64,
        parent_id=parent.id if parent else None,
        round_id=None,
        metrics={},
        verdict=verdict,
    )


def start(session: Session, personality_id: int, version: Version | None, **more: object) -> Canary:
    words = {"by": "alice", "reason": "let us see", "share": 0.5} | more
    return start_canary(session, personality_id, version, SETTINGS, **words)  # type: ignore[arg-type]


def reading_of(session: Session, personality_id: int) -> CanaryVotes:
    reading = read_canary(session, personality_id, VOTES)
    assert reading is not None
    return reading


def ask(session: Session, version: Version | None, conversation: int = HERE, **more: object) -> int:
    """Add an answer of the version and return its id."""
    version_id = version.id if version else None
    return add_reply(session, version_id=version_id, channel_id=conversation, **more)  # type: ignore[arg-type]


def give(session: Session, version: Version | None, *, up: int = 0, down: int = 0) -> None:
    """Let `up` and `down` members vote on an answer of the version, each once."""
    reply_id = ask(session, version)
    for user_id in range(up + down):
        vote(session, reply_id, 1_000 + user_id, Vote.UP if user_id < up else Vote.DOWN)


@pytest.fixture
def challenger(session: Session, personality_id: int) -> Version:
    return add(session, personality_id)


@pytest.fixture
def canary(session: Session, personality_id: int, challenger: Version) -> Canary:
    """One that compares v1 with the base."""
    return start(session, personality_id, challenger)


# Starting


def test_a_canary_names_its_challenger_and_keeps_its_limits(
    session: Session, personality_id: int, challenger: Version
) -> None:
    found = start_canary(session, personality_id, challenger, SETTINGS, by="alice", reason="let us see", share=0.25)
    assert running_canary(session, personality_id) == found
    assert (found.challenger_id, found.champion_id) == (challenger.id, None)
    assert (found.share, found.alpha, found.max_votes) == (0.25, 0.05, 400)
    assert read_alias(session, personality_id, CHALLENGER).version == challenger
    assert [(m.moved_by, m.reason) for m in trail_of(session, personality_id, CHALLENGER)] == [("alice", "let us see")]
    assert read_alias(session, personality_id, CHAMPION).target == "base"


@pytest.mark.parametrize(("configured", "share"), [(0.0, 0.1), (0.3, 0.3)])
def test_without_a_share_the_settings_say_it(
    session: Session, personality_id: int, challenger: Version, configured: float, share: float
) -> None:
    settings = ReleaseSettings(canary_share=configured)
    assert start_canary(session, personality_id, challenger, settings, by="alice", reason="").share == share


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0])
def test_a_share_of_none_or_all_is_refused(
    session: Session, personality_id: int, challenger: Version, share: float
) -> None:
    with pytest.raises(CanaryRefused, match="choose one between 0 and 1"):
        start(session, personality_id, challenger, share=share)
    assert running_canary(session, personality_id) is None


def test_one_canary_runs_at_a_time(session: Session, personality_id: int, canary: Canary) -> None:
    with pytest.raises(CanaryRefused, match="a canary of v1 is running: stop it first"):
        start(session, personality_id, add(session, personality_id))


def test_the_base_and_the_champion_are_not_challengers(
    session: Session, personality_id: int, challenger: Version
) -> None:
    with pytest.raises(CanaryRefused, match="promote base instead"):
        start(session, personality_id, None)
    promote(session, personality_id, challenger, expected_generation=0, by="alice", reason="")
    with pytest.raises(AlreadyChampion):
        start(session, personality_id, challenger)


@pytest.mark.parametrize("verdict", [GateVerdict.FAIL, GateVerdict.NOT_ENOUGH_EVIDENCE])
def test_a_version_that_did_not_pass_is_tried_only_with_override_and_reason(
    session: Session, personality_id: int, verdict: GateVerdict
) -> None:
    doubtful = add(session, personality_id, verdict)
    with pytest.raises(GateNotPassed):
        start(session, personality_id, doubtful)
    with pytest.raises(OverrideNeedsReason):
        start(session, personality_id, doubtful, override=True, reason="")
    assert start(session, personality_id, doubtful, override=True).overrides_gate
    (move,) = trail_of(session, personality_id, CHALLENGER)
    assert (move.overrides_gate, move.reason) == (True, "let us see")


@pytest.mark.parametrize("admins", [2, 5])
def test_one_of_several_simultaneous_canary_starts_wins(database: Database, personality_id: int, admins: int) -> None:
    with database.transaction() as session:
        versions = [add(session, personality_id) for _ in range(admins)]
    outcomes: list[str] = []

    def decide(admin: int) -> None:
        try:
            with database.transaction() as session:
                start(session, personality_id, versions[admin])
            outcomes.append("started")
        except (AliasConflict, CanaryRefused):
            outcomes.append("refused")

    together(admins, decide)
    assert Counter(outcomes) == {"started": 1, "refused": admins - 1}
    with database.snapshot() as session:
        found = running_canary(session, personality_id)
        challenger = read_alias(session, personality_id, CHALLENGER).version
        assert found
        assert challenger
        assert found.challenger_id == challenger.id


# Who answers where


@given(st.integers(1, 10**6), st.integers(0, 2**63), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_conversation_keeps_its_side_and_a_larger_share_only_adds(
    canary_id: int, conversation_id: int, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    answers = [answers_with_challenger(canary_id, conversation_id, share) for share in (small, small, large)]
    assert answers[0] == answers[1] <= answers[2]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_of_conversations_is_as_asked(share: float) -> None:
    discord_ids = range(1_200_000_000_000_000_000, 1_200_000_000_000_004_000)
    found = sum(answers_with_challenger(7, conversation_id, share) for conversation_id in discord_ids)
    assert found / len(discord_ids) == pytest.approx(share, abs=0.03)


def test_another_canary_draws_other_conversations() -> None:
    first, second = ({c for c in range(1_000) if answers_with_challenger(i, c, 0.5)} for i in (1, 2))
    assert 150 < len(first & second) < 350


def test_only_a_running_canary_answers(session: Session, personality_id: int, canary: Canary) -> None:
    mine = next(c for c in range(100) if answers_with_challenger(canary.id, c, canary.share))
    other = next(c for c in range(100) if not answers_with_challenger(canary.id, c, canary.share))
    assert canary_in(session, personality_id, mine) == canary
    assert canary_in(session, personality_id, other) is None
    stop_canary(session, personality_id, by="bob", reason="")
    assert canary_in(session, personality_id, mine) is None


# Which votes count


def counted(session: Session, personality_id: int) -> tuple[float, float, int]:
    tried = reading_of(session, personality_id).challenger_votes
    return tried.up, tried.down, tried.failures


def test_votes_on_both_sides_are_counted(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    give(session, challenger, up=3, down=1)
    give(session, None, up=2, down=5)
    reading = reading_of(session, personality_id)
    challengers, champions = reading.challenger_votes, reading.champion_votes
    assert (challengers.up, challengers.down, challengers.conversations) == (3, 1, 1)
    assert (champions.up, champions.down, champions.conversations) == (2, 5, 1)
    assert (reading.challenger, reading.champion, reading.decision) == (challenger, None, None)


def test_a_member_counts_once_in_a_conversation_with_their_first_vote(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    first, second = ask(session, challenger), ask(session, challenger)
    vote(session, second, ALICE, Vote.UP)
    vote(session, first, ALICE, Vote.DOWN)
    assert counted(session, personality_id) == (1, 0, 0)
    vote(session, ask(session, challenger, THERE), ALICE, Vote.DOWN)
    vote(session, first, BOB, Vote.UP)
    assert counted(session, personality_id) == (2, 1, 0)


def test_only_a_members_latest_vote_counts(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    first, second = ask(session, challenger), ask(session, challenger)
    vote(session, first, ALICE, Vote.UP)
    vote(session, second, ALICE, Vote.UP)
    vote(session, first, ALICE, Vote.UP, added=False)
    vote(session, first, ALICE, Vote.DOWN)
    assert counted(session, personality_id) == (0, 1, 0)
    vote(session, first, ALICE, Vote.UP)  # both thumbs say nothing: the next vote is the first
    assert counted(session, personality_id) == (1, 0, 0)


def test_votes_at_another_time_or_place_do_not_count(
    session: Session, personality_id: int, challenger: Version
) -> None:
    give(session, challenger, up=1)
    session.execute(update(ReplyRow).values(created_at=utc_now() - timedelta(minutes=1)))
    start(session, personality_id, challenger)
    give(session, add(session, personality_id), up=1)
    for origin in (Origin.ARENA, Origin.SAMPLE):
        reply_id = ask(session, challenger)
        vote(session, reply_id, BOB, Vote.UP)
        session.execute(update(ReplyRow).where(ReplyRow.id == reply_id).values(origin=origin))
    assert counted(session, personality_id) == (0, 0, 0)


def test_a_blind_second_answer_counts(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    give(session, challenger, up=1)
    session.execute(update(ReplyRow).values(origin=Origin.ALTERNATIVE))
    assert counted(session, personality_id) == (1, 0, 0)


@pytest.mark.parametrize(
    ("outcome", "answer", "failures"),
    [
        (Outcome.FAILED, "", 1),
        (Outcome.TIMEOUT, "half an ans", 1),
        (Outcome.COMPLETE, "", 1),
        (Outcome.LENGTH, "", 1),
        (Outcome.COMPLETE, "hello", 0),
        (Outcome.CANCELLED, "", 0),
        (Outcome.INTERRUPTED, "", 0),
        (Outcome.STREAMING, "", 0),
    ],
)
def test_errors_and_empty_answers_count_as_thumbs_down(
    session: Session,
    personality_id: int,
    canary: Canary,
    challenger: Version,
    outcome: Outcome,
    answer: str,
    failures: int,
) -> None:
    ask(session, challenger, outcome=outcome, answer=answer)
    assert counted(session, personality_id) == (0, 0, failures)
    assert reading_of(session, personality_id).challenger_votes.approval.down == failures


def test_a_failure_is_not_counted_again_by_who_votes_on_it(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    vote(session, ask(session, challenger, outcome=Outcome.FAILED, answer=""), ALICE, Vote.DOWN)
    assert counted(session, personality_id) == (0, 0, 1)


def test_an_answer_that_discord_did_not_take_is_nobodys_fault(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    ask(session, challenger, outcome=Outcome.FAILED, answer="")
    session.execute(delete(ReplyMessageRow))
    assert counted(session, personality_id) == (0, 0, 0)


@pytest.mark.parametrize(
    ("status", "votes"),
    [
        (QuarantineStatus.OPEN, (0, 1, 0)),
        (QuarantineStatus.EXCLUDED, (0, 1, 0)),
        (QuarantineStatus.COUNTED, (2, 1, 0)),
    ],
)
def test_a_voter_in_quarantine_does_not_count(
    session: Session,
    personality_id: int,
    canary: Canary,
    challenger: Version,
    status: QuarantineStatus,
    votes: tuple[int, int, int],
) -> None:
    here, there = ask(session, challenger), ask(session, challenger, THERE)
    for reply_id in (here, there):
        vote(session, reply_id, ALICE, Vote.UP)
    vote(session, here, BOB, Vote.DOWN)
    now = utc_now()
    row = QuarantineRow(
        personality_id=personality_id,
        rule=QuarantineRule.VERSION,
        subject_id=challenger.id,
        vote=Vote.UP,
        first_vote_at=now,
        last_vote_at=now,
        status=status,
    )
    session.add(row)
    session.flush()
    session.add(QuarantinedVoteRow(quarantine_id=row.id, reply_id=here, user_id=ALICE))
    session.flush()
    assert counted(session, personality_id) == votes


given_votes = st.dictionaries(
    st.tuples(st.integers(1, 6), st.sampled_from([ALICE, BOB, CAROL])), st.sampled_from([Vote.UP, Vote.DOWN, None])
)


def test_nobody_decides_a_canary_alone(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    """A member who opens many threads and votes down all of the challenger's answers there."""
    for thread in range(12):
        vote(session, ask(session, challenger, thread), ALICE, Vote.DOWN)
        vote(session, ask(session, None, 100 + thread), ALICE, Vote.UP)
    reading = reading_of(session, personality_id)
    assert (reading.challenger_votes.given, reading.champion_votes.given) == (3, 3)
    assert reading.decision is None


def test_votes_in_direct_messages_weigh_nothing_from_somebody_new(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    for number in range(20):
        voter = account(days_old=900 + number)
        reply_id = ask(session, challenger, 500 + number, basis=None)
        vote(session, reply_id, voter, Vote.DOWN)
        vote(session, ask(session, None, 600 + number, basis=None), voter, Vote.UP)
    reading = reading_of(session, personality_id)
    assert (reading.challenger_votes.down, reading.champion_votes.up, reading.decision) == (0, 0, None)


@given(given_votes, st.sets(st.sampled_from([ALICE, BOB, CAROL])))
def test_nobody_counts_twice_for_a_version_in_a_conversation(
    votes: dict[tuple[int, int], Vote | None], held_back: set[int]
) -> None:
    places = {reply_id: AnswerPlace(reply_id % 2, None if reply_id % 3 else 5, GUILD) for reply_id in range(1, 7)}
    counted_votes = first_votes(votes, places, held_back)
    standing = {(user, *places[reply]) for (reply, user), said in votes.items() if said and user not in held_back}
    assert {(user, *places[reply]) for reply, user in counted_votes} == standing
    assert len(counted_votes) == len(standing)
    assert all(votes[key] is said for key, said in counted_votes.items())


# What they weigh


def test_new_accounts_promote_nothing(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    reply_id = ask(session, challenger)
    for number in range(60):
        vote(session, reply_id, account(days_old=0) + number, Vote.UP)
    give(session, None, up=10, down=20)
    reading = reading_of(session, personality_id)
    assert (reading.challenger_votes.up, reading.challenger_votes.given) == (pytest.approx(0, abs=0.01), 60)
    assert reading.decision is None


@pytest.mark.parametrize(
    ("account_days", "member_days", "weight"),
    [(15, None, 0.5), (90, 3.5, 0.5), (15, 3.5, 0.25), (90, 90, 1), (90, 0, 0)],
)
def test_account_age_and_membership_weigh_as_in_rounds(
    session: Session,
    personality_id: int,
    canary: Canary,
    challenger: Version,
    account_days: float,
    member_days: float | None,
    weight: float,
) -> None:
    guild_id, user_id = (None if member_days is None else GUILD), account(account_days)
    if member_days is not None:
        note_members(session, GUILD, {user_id: utc_now() - timedelta(days=member_days)})
    vote(session, ask(session, challenger, guild_id=guild_id), user_id, Vote.DOWN)
    tried = reading_of(session, personality_id).challenger_votes
    assert (tried.up, tried.given) == (0, 1)
    assert tried.down == pytest.approx(weight, abs=1e-4)
    (ballot,) = weigh_votes(session, personality_id, VOTES)
    assert tried.down == ballot.weight


def test_a_first_vote_weighs_as_when_its_thumb_was_last_set(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    first, second = ask(session, challenger), ask(session, challenger)
    young = account(days_old=15)
    vote(session, first, young, Vote.UP)
    session.execute(update(VoteEventRow).values(created_at=utc_now() - timedelta(days=15)))
    vote(session, second, young, Vote.UP)
    assert counted(session, personality_id) == (pytest.approx(0, abs=1e-4), 0, 0)
    vote(session, first, young, Vote.UP, added=False)
    vote(session, first, young, Vote.UP)
    assert counted(session, personality_id) == (pytest.approx(0.5, abs=1e-4), 0, 0)


def test_a_failure_weighs_nearly_what_votes_do_and_the_sentence_says_what_they_are_worth(
    session: Session, personality_id: int, challenger: Version
) -> None:
    settings = ReleaseSettings(canary_max_votes=3)
    start_canary(session, personality_id, challenger, settings, by="alice", reason="")
    reply_id = ask(session, challenger)
    vote(session, reply_id, account(days_old=15), Vote.UP)
    ask(session, challenger, outcome=Outcome.FAILED, answer="")
    vote(session, ask(session, None), ALICE, Vote.UP)
    reading = reading_of(session, personality_id)
    assert reading.challenger_votes.approval.votes == pytest.approx(0.5 + 1.5 / 2, abs=1e-4)
    assert reading.decision is None
    vote(session, reply_id, BOB, Vote.UP)
    ending = reading_of(session, personality_id).decision
    assert ending is not None
    assert ending.status is CanaryStatus.INCONCLUSIVE
    assert ending.reason == (
        "no difference between v1 and base: "
        "64% of 3 votes worth 2.3 for v1, 1 failure among them against 100% of 1 vote for base"
    )


def test_failures_for_newcomers_do_not_separate_equal_versions(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    tried, kept = ask(session, challenger), ask(session, None)
    for number in range(180):
        said = Vote.DOWN if number % 10 == 0 else Vote.UP
        vote(session, tried, account(days_old=3) + number, said)
        vote(session, kept, 1_000 + number, said)
    for version in (challenger, None):
        for _ in range(20):
            ask(session, version, outcome=Outcome.FAILED, answer="")
    reading = reading_of(session, personality_id)
    assert reading.challenger_votes.approval.share == pytest.approx(reading.champion_votes.approval.share, abs=0.01)
    assert reading.decision is None


@pytest.mark.parametrize(
    ("trial", "weight"),
    [
        (Trial(failures=3), 1),
        (Trial(up=5, down=2, given=7, failures=3), 1),
        (Trial(up=0.5, given=1, failures=3), 0.75),
        (Trial(up=10, down=10, given=199, failures=3), 0.105),
        (Trial(given=9, failures=3), 0.1),  # who voted counts nothing, and cannot hide the failures
    ],
)
def test_a_failure_weighs_as_much_as_its_versions_votes_and_one_in_full(trial: Trial, weight: float) -> None:
    assert trial.failure_weight == pytest.approx(weight)
    assert trial.approval.down == pytest.approx(trial.down + 3 * weight)


def test_a_broken_challenger_goes_though_a_newcomer_voted(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    vote(session, ask(session, challenger), account(days_old=0), Vote.UP)
    give(session, None, up=50, down=10)
    for _ in range(24):
        ask(session, challenger, outcome=Outcome.FAILED, answer="")
    ending = reading_of(session, personality_id).decision
    assert ending is not None
    assert ending.status is CanaryStatus.ROLLED_BACK


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (Trial(), "no votes"),
        (Trial(up=0.04, given=60), "no votes with any weight"),
        (Trial(up=1, given=1), "100% of 1 vote"),
        (Trial(up=0.5, given=1), "100% of 1 vote worth 0.5"),
        (Trial(up=8, down=2, given=10), "80% of 10 votes"),
        (Trial(up=7, down=2, given=9, failures=1), "70% of 10 votes"),
        (Trial(up=2.5, down=1, given=6), "71% of 6 votes worth 3.5"),
    ],
)
def test_votes_are_shown_with_their_weight(trial: Trial, words: str) -> None:
    assert share_of_votes(trial) == words


def test_a_look_reads_the_memberships_of_its_voters_alone(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    reply_id = ask(session, challenger, guild_id=GUILD)
    vote(session, reply_id, ALICE, Vote.UP)
    vote(session, ask(session, add(session, personality_id), guild_id=GUILD), BOB, Vote.UP)
    note_members(session, GUILD + 1, {ALICE: utc_now()})
    note_members(session, GUILD, {BOB: utc_now(), CAROL: utc_now()})
    read: list[Any] = []

    def keep_parameters(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if "members.joined_at" in statement or "min(" in statement:
            read.append(set(parameters.values() if isinstance(parameters, dict) else parameters))

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", keep_parameters)
    reading_of(session, personality_id)
    event.remove(engine, "before_cursor_execute", keep_parameters)
    assert read == [{GUILD, ALICE}] * 5  # since when she is a member, and four kinds of signs of life


# How it ends


def test_a_challenger_that_members_like_better_becomes_champion(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    give(session, challenger, up=30)
    give(session, None, up=10, down=20)
    reading = reading_of(session, personality_id)
    assert reading.decision is not None
    assert reading.decision.status is CanaryStatus.PROMOTED
    assert reading.decision.reason == (
        "members like v1 better than base: 100% of 30 votes for v1 against 33% of 30 votes for base"
    )
    assert conclude_canary(session, reading, reading.decision)
    champion, last_good = read_alias(session, personality_id), read_alias(session, personality_id, LAST_GOOD)
    assert (champion.target, last_good.target) == ("v1", "base")
    (move,) = trail_of(session, personality_id)
    assert (move.moved_by, move.reason, move.overrides_gate) == ("the canary", reading.decision.reason, False)
    ended = latest_canary(session, personality_id)
    assert ended
    assert ended.status is CanaryStatus.PROMOTED
    assert ended.ended_at is not None
    assert ended.numbers["challenger"] == {"up": 30, "down": 0, "given": 30, "failures": 0, "conversations": 1}
    assert ended.numbers["better"] >= ended.numbers["needed"]
    assert read_alias(session, personality_id, CHALLENGER).version is None
    assert read_canary(session, personality_id, VOTES) is None


def test_a_challenger_that_members_like_less_goes(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    give(session, challenger, up=2, down=20)
    give(session, None, up=30, down=2)
    reading = reading_of(session, personality_id)
    assert reading.decision is not None
    assert reading.decision.status is CanaryStatus.ROLLED_BACK
    assert conclude_canary(session, reading, reading.decision)
    assert read_alias(session, personality_id).target == "base"
    assert trail_of(session, personality_id) == []
    assert running_canary(session, personality_id) is None


def test_a_challenger_that_only_fails_goes(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    give(session, None, up=50, down=10)
    for _ in range(12):
        ask(session, challenger, outcome=Outcome.FAILED, answer="")
    ending = reading_of(session, personality_id).decision
    assert ending is not None
    assert ending.status is CanaryStatus.ROLLED_BACK
    assert "0% of 12 votes for v1, 12 failures among them" in ending.reason


def test_at_the_cap_without_a_result_the_champion_stays(
    session: Session, personality_id: int, challenger: Version
) -> None:
    settings = ReleaseSettings(canary_max_votes=4)
    start_canary(session, personality_id, challenger, settings, by="alice", reason="")
    give(session, None, up=20, down=20)
    give(session, challenger, up=2, down=1)
    assert reading_of(session, personality_id).decision is None
    ask(session, challenger, outcome=Outcome.FAILED, answer="")
    reading = reading_of(session, personality_id)
    assert reading.decision is not None
    assert reading.decision.status is CanaryStatus.INCONCLUSIVE
    assert conclude_canary(session, reading, reading.decision)
    assert read_alias(session, personality_id).target == "base"


def test_votes_that_weigh_nothing_end_it_too(session: Session, personality_id: int, challenger: Version) -> None:
    settings = ReleaseSettings(canary_max_votes=5)
    start_canary(session, personality_id, challenger, settings, by="alice", reason="")
    give(session, None, up=2)
    reply_id = ask(session, challenger)
    for number in range(4):
        vote(session, reply_id, account(days_old=0) + number, Vote.UP)
    assert reading_of(session, personality_id).decision is None
    vote(session, reply_id, account(days_old=0) + 4, Vote.UP)
    ending = reading_of(session, personality_id).decision
    assert ending is not None
    assert ending.status is CanaryStatus.INCONCLUSIVE
    assert ending.reason == (
        "no difference between v1 and base: no votes with any weight for v1 against 100% of 2 votes for base"
    )


def test_an_override_at_the_start_is_kept_with_the_promotion(session: Session, personality_id: int) -> None:
    doubtful = add(session, personality_id, GateVerdict.NOT_ENOUGH_EVIDENCE)
    start(session, personality_id, doubtful, override=True)
    give(session, doubtful, up=30)
    give(session, None, up=10, down=20)
    reading = reading_of(session, personality_id)
    assert reading.decision is not None
    conclude_canary(session, reading, reading.decision)
    (move,) = trail_of(session, personality_id)
    assert move.overrides_gate
    assert move.reason.endswith("; alice overrode the gate: let us see")


def test_numbers_are_kept_while_a_canary_runs(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    give(session, challenger, up=1)
    reading = reading_of(session, personality_id)
    note_numbers(session, reading.canary.id, reading.numbers)
    found = running_canary(session, personality_id)
    assert found
    assert found.numbers == reading.numbers
    stop_canary(session, personality_id, by="bob", reason="enough")
    ended = latest_canary(session, personality_id)
    assert ended
    assert ended.numbers == reading.numbers
    assert (ended.status, ended.reason) == (CanaryStatus.STOPPED, "bob stopped it: enough")


def test_stopping_without_a_canary_is_a_sentence(session: Session, personality_id: int) -> None:
    with pytest.raises(CanaryRefused, match="no canary is running"):
        stop_canary(session, personality_id, by="bob", reason="")


def test_a_promotion_by_hand_stops_it(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    promote(session, personality_id, challenger, expected_generation=0, by="bob", reason="I know")
    ended = latest_canary(session, personality_id)
    assert ended
    assert (ended.status, ended.reason) == (CanaryStatus.STOPPED, "bob promoted v1")
    assert read_alias(session, personality_id, CHALLENGER).version is None


def test_a_roll_back_by_hand_stops_it(session: Session, personality_id: int, challenger: Version) -> None:
    promote(session, personality_id, challenger, expected_generation=0, by="bob", reason="")
    start(session, personality_id, add(session, personality_id))
    roll_back(session, personality_id, expected_generation=1, by="bob", reason="")
    ended = latest_canary(session, personality_id)
    assert ended
    assert (ended.status, ended.reason) == (CanaryStatus.STOPPED, "bob rolled back to base")


def test_without_its_champion_it_stops(
    session: Session, personality_id: int, canary: Canary, challenger: Version
) -> None:
    give(session, challenger, up=30)
    give(session, None, up=10, down=20)
    reading = reading_of(session, personality_id)
    other = add(session, personality_id)
    move_alias(
        session,
        personality_id,
        read_alias(session, personality_id, CHAMPION),
        other,
        by="somebody",
        reason="by other means",
    )
    assert reading.decision is not None
    with pytest.raises(CanaryRefused, match="the champion changed while v1 won"):
        conclude_canary(session, reading, reading.decision)
    ending = reading_of(session, personality_id).decision
    assert ending is not None
    assert ending.status is CanaryStatus.STOPPED
    assert read_alias(session, personality_id).version == other


# Two at once


def won(database: Database, personality_id: int) -> CanaryVotes:
    """Start a canary, let its challenger win, and return what the votes say."""
    with database.transaction() as session:
        challenger = add(session, personality_id)
        start(session, personality_id, challenger)
        give(session, challenger, up=30)
        give(session, None, up=10, down=20)
        return reading_of(session, personality_id)


@pytest.mark.parametrize("status", [CanaryStatus.PROMOTED, CanaryStatus.ROLLED_BACK])
def test_one_of_several_bots_ends_the_canary(database: Database, personality_id: int, status: CanaryStatus) -> None:
    reading = won(database, personality_id)
    assert reading.decision is not None
    ending = replace(reading.decision, status=status)
    ended = []

    def decide(_: int) -> None:
        try:
            with database.transaction() as session:
                if conclude_canary(session, reading, ending):
                    ended.append(True)
        except (AliasConflict, CanaryRefused):
            pass

    together(4, decide)
    assert ended == [True]
    with database.snapshot() as session:
        assert len(trail_of(session, personality_id)) == (status is CanaryStatus.PROMOTED)
        assert len(trail_of(session, personality_id, CHALLENGER)) == 2


def test_an_admin_and_the_canary_at_once_have_one_winner(database: Database, personality_id: int) -> None:
    reading = won(database, personality_id)
    with database.transaction() as session:
        other = add(session, personality_id)
    outcomes: list[str] = []
    seen = threading.Barrier(2)

    def decide(who: int) -> None:
        seen.wait()
        try:
            with database.transaction() as session:
                if who == 0:
                    promote(session, personality_id, other, expected_generation=0, by="bob", reason="")
                elif reading.decision is None or not conclude_canary(session, reading, reading.decision):
                    return
            outcomes.append("bob" if who == 0 else "canary")
        except (AliasConflict, CanaryRefused):
            pass

    together(2, decide)
    with database.snapshot() as session:
        champion, ended = read_alias(session, personality_id), latest_canary(session, personality_id)
        assert ended is not None
        assert (outcomes, champion.target, ended.status) in [
            (["bob"], "v2", CanaryStatus.STOPPED),
            (["canary"], "v1", CanaryStatus.PROMOTED),
        ]


def test_an_end_is_final(session: Session, personality_id: int, canary: Canary) -> None:
    assert end_canary(session, canary.id, CanaryStatus.INCONCLUSIVE, by="the canary", reason="enough")
    assert not end_canary(session, canary.id, CanaryStatus.ROLLED_BACK, by="the canary", reason="again")
    assert session.get_one(CanaryRow, canary.id).status is CanaryStatus.INCONCLUSIVE


# By itself


AUTOMATIC = ReleaseSettings(auto_promote=True)


def test_a_passed_version_is_promoted_if_the_operator_wants_it(
    session: Session, personality_id: int, challenger: Version
) -> None:
    assert release_passed(session, personality_id, challenger, AUTOMATIC) == "v1 answers from now on"
    assert read_alias(session, personality_id).version == challenger
    (move,) = trail_of(session, personality_id)
    assert (move.moved_by, move.reason) == ("the gate", "it passed the gate")


def test_with_a_share_it_is_tried_first(session: Session, personality_id: int, challenger: Version) -> None:
    settings = ReleaseSettings(auto_promote=True, canary_share=0.2)
    said = release_passed(session, personality_id, challenger, settings)
    assert said == "v1 answers 20% of conversations as a canary"
    found = running_canary(session, personality_id)
    assert found
    assert (found.share, found.started_by) == (0.2, "the gate")
    assert read_alias(session, personality_id).target == "base"


def test_by_default_it_waits_for_an_admin(session: Session, personality_id: int, challenger: Version) -> None:
    assert release_passed(session, personality_id, challenger, ReleaseSettings()) is None
    assert read_alias(session, personality_id).target == "base"


@pytest.mark.parametrize("verdict", [GateVerdict.FAIL, GateVerdict.NOT_ENOUGH_EVIDENCE])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_nothing_else_is_released_automatically(
    session: Session, personality_id: int, verdict: GateVerdict, share: float
) -> None:
    settings = ReleaseSettings(auto_promote=True, canary_share=share)
    assert release_passed(session, personality_id, add(session, personality_id, verdict), settings) is None
    assert read_alias(session, personality_id).target == "base"
    assert running_canary(session, personality_id) is None


def test_a_canary_that_runs_is_not_disturbed(session: Session, personality_id: int, canary: Canary) -> None:
    second = add(session, personality_id)
    said = release_passed(session, personality_id, second, AUTOMATIC)
    assert said == "v2 waits for an admin: a canary of v1 is running"
    assert running_canary(session, personality_id) == canary


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_a_version_whose_parent_was_taken_back_waits(
    session: Session, personality_id: int, challenger: Version, share: float
) -> None:
    second = add(session, personality_id, parent=challenger)
    settings = ReleaseSettings(auto_promote=True, canary_share=share)
    said = release_passed(session, personality_id, second, settings)
    assert running_canary(session, personality_id) is None
    assert said == "v2 waits for an admin: it was compared with its parent, but base answers now"
    assert read_alias(session, personality_id).target == "base"


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite lets one writer in at a time
def test_an_automatic_canary_waits_if_an_admin_starts_one_at_once(database: Database, personality_id: int) -> None:
    settings = ReleaseSettings(auto_promote=True, canary_share=0.2)
    with database.transaction() as session:
        new, rival = add(session, personality_id), add(session, personality_id)

    def start_rival(statement: ORMExecuteState) -> Result[Any]:
        found = statement.invoke_statement()
        with database.transaction() as other:
            start(other, personality_id, rival)
        return found

    with database.transaction() as session:
        event.listen(session, "do_orm_execute", start_rival, once=True)  # no canary was running when it looked
        said = release_passed(session, personality_id, new, settings)
    assert said == "v1 waits for an admin: somebody else moved an alias at the same moment"
    with database.snapshot() as session:
        found = running_canary(session, personality_id)
        assert found is not None
        assert (found.challenger_id, found.started_by) == (rival.id, "alice")
        assert read_alias(session, personality_id).target == "base"
