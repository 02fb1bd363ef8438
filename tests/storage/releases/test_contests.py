"""Which choices count as evidence for a version, what they weigh, and what they decide."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from bot.text.contests import what_decides
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import ArenaStatus, GateVerdict, Origin
from storage.database.tables import (
    ArenaRow,
    ComparisonRow,
    OptOutRow,
    ReplyRow,
    ReplySourceRow,
    VersionRow,
)
from storage.errors import AliasConflict, GateNotPassed
from storage.releases.contests import (
    AS_GOOD,
    Contest,
    LeftOut,
    Standing,
    contest_between,
    find_rival,
    normalized,
    read_contest,
)
from storage.releases.promotion import conclude
from storage.releases.versions import Version, ask_gate, find_version, id_of, read_alias
from storage.settings.sections import ReleaseSettings, VoteSettings
from storage.sittings.sittings import choose_two
from storage.statistics import e_value
from storage.votes.comparisons import Better, compare
from storage.votes.votes import Vote
from tests import past
from tests.past import add_version, go_back, lead
from tests.seeding import ALICE, BOB, CAROL, account, add_reply, ask_twice, choose, vote
from tests.storage.together import at_once
from tests.storage.trail import trail_of

VOTES = VoteSettings()
RELEASE, AUTOMATIC = ReleaseSettings(), ReleaseSettings(auto_promote=True)
NEW, OLD, SAME = Better.FIRST, Better.SECOND, Better.SAME
"""What a member says where the new version answers first."""


def add(
    session: Session, personality_id: int, verdict: GateVerdict = GateVerdict.NOT_ENOUGH_EVIDENCE, digit: str = "d"
) -> Version:
    return add_version(session, personality_id=personality_id, digest=digit * 64, verdict=verdict)


@pytest.fixture
def v1(session: Session, personality_id: int) -> Version:
    """A version that waits for people's choices."""
    return add(session, personality_id)


def members_of(session: Session, version: Version, champion: Version | None = None) -> Standing:
    return contest_between(session, version, champion, VOTES).members


def score(session: Session, version: Version) -> tuple[int, int, int, int]:
    found = members_of(session, version)
    return found.wins, found.losses, found.ties, found.people


def contest_of(session: Session, version: Version) -> Contest:
    return read_contest(session, version.personality_id, VOTES)


def decide(session: Session, version: Version, settings: ReleaseSettings = RELEASE) -> bool:
    contest = contest_of(session, version)
    return conclude(session, contest, contest.decision, settings)


# Second answers


@pytest.mark.parametrize("is_first", [True, False])
def test_a_choice_between_both_is_a_bet(session: Session, v1: Version, is_first: bool) -> None:
    for better, user in ((NEW, ALICE), (OLD, BOB), (SAME, CAROL)):
        pair = ask_twice(session, v1, None) if is_first else ask_twice(session, None, v1)
        said = better if is_first or better is SAME else {NEW: OLD, OLD: NEW}[better]
        compare(session, *pair, user, said)
    found = members_of(session, v1)
    assert (found.wins, found.losses, found.ties, found.people) == (1, 1, 1, 2)
    assert found.better == pytest.approx(e_value([1, -1]))
    assert found.worse == pytest.approx(e_value([-1, 1]))
    assert found.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE


def test_only_pairs_of_exactly_these_two_count(session: Session, personality_id: int, v1: Version) -> None:
    other = add(session, personality_id)
    for pair in ((v1, other), (other, None), (v1, v1), (None, None)):
        compare(session, *ask_twice(session, *pair), ALICE, NEW)
    early = ask_twice(session, v1, None, at=utc_now() - timedelta(days=2))
    weak = ask_twice(session, v1, None)
    session.get_one(ReplyRow, weak[1]).strength = 0.5
    for found in (early, weak):
        compare(session, *found, ALICE, NEW)
    assert members_of(session, v1) == Standing(left_out={LeftOut.OTHER_STRENGTH: 1})


def test_a_withdrawn_choice_does_not_count(session: Session, v1: Version) -> None:
    pair = ask_twice(session, v1, None)
    compare(session, *pair, ALICE, NEW)
    compare(session, *pair, ALICE, OLD)
    assert score(session, v1) == (0, 1, 0, 1)
    compare(session, *pair, ALICE, OLD)
    assert score(session, v1) == (0, 0, 0, 0)


def test_people_who_opted_out_do_not_count(session: Session, v1: Version) -> None:
    compare(session, *ask_twice(session, v1, None), ALICE, NEW)
    compare(session, *ask_twice(session, v1, None), BOB, OLD)
    session.add(OptOutRow(user_id=ALICE, since=utc_now()))
    assert score(session, v1) == (0, 1, 0, 1)
    assert members_of(session, v1).left_out == {LeftOut.OPTED_OUT: 1}


def test_new_accounts_stake_less_and_the_newest_nothing(session: Session, v1: Version) -> None:
    compare(session, *ask_twice(session, v1, None), account(days_old=15), NEW)
    compare(session, *ask_twice(session, v1, None), account(days_old=0), NEW)
    found = members_of(session, v1)
    assert found.wins == 1
    assert found.better == pytest.approx(e_value([0.5]), abs=1e-3)
    assert found.left_out == {LeftOut.NEW: 1}


def test_about_the_same_is_not_called_left_out(session: Session, v1: Version) -> None:
    pair = ask_twice(session, v1, None)
    for user, better in ((ALICE, NEW), (BOB, SAME), (account(days_old=0), SAME)):
        compare(session, *pair, user, better)
    assert members_of(session, v1).left_out == {}


# Units


@pytest.mark.parametrize("words", [("Hi there!", "hi  THERE"), ("???", "???")])
def test_prompts_with_the_same_last_words_are_one_unit(session: Session, v1: Version, words: tuple[str, str]) -> None:
    for prompt, user, better in zip((*words, "something else"), (ALICE, BOB, CAROL), (NEW, OLD, OLD), strict=True):
        compare(session, *ask_twice(session, v1, None, prompt=prompt), user, better)
    assert score(session, v1) == (1, 1, 0, 2)


def test_the_same_words_are_another_question_a_week_later(session: Session, v1: Version) -> None:
    for days, better in ((9, NEW), (8, OLD), (1, OLD), (0, NEW)):
        first, second = ask_twice(session, v1, None, prompt="hi")
        compare(session, first, second, ALICE, better)
        said_at = utc_now() - timedelta(days=days)
        session.execute(update(ComparisonRow).where(ComparisonRow.first_id == first).values(created_at=said_at))
    assert score(session, v1) == (1, 1, 0, 1), "one bet in each week, the first of it"
    assert members_of(session, v1).left_out == {LeftOut.REPEATED: 2}


def test_of_several_people_at_one_question_the_first_who_decides_counts(session: Session, v1: Version) -> None:
    pair = ask_twice(session, v1, None)
    for user, better in ((ALICE, SAME), (BOB, NEW), (CAROL, OLD)):
        compare(session, *pair, user, better)
    assert score(session, v1) == (1, 0, 0, 1)
    assert members_of(session, v1).left_out == {LeftOut.REPEATED: 1}


def test_prompts_of_one_conversation_are_one_unit(session: Session, v1: Version) -> None:
    """The second and third question quote the first; the fourth quotes only the third, so it begins anew."""
    quoted = {1: [501], 2: [501, 502], 3: [501, 503], 4: [503, 504]}
    for number, messages in quoted.items():
        pair = ask_twice(session, v1, None, source_message_id=500 + number)
        for reply_id in pair:
            session.add_all(ReplySourceRow(reply_id=reply_id, message_id=message) for message in messages)
        session.flush()
        compare(session, *pair, 1_000 + number, NEW)
    assert score(session, v1) == (2, 0, 0, 2)


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert normalized("  What's UP, Doc?\n") == normalized("what s up doc") == "what s up doc"
    assert normalized("?!") != normalized("...")
    assert normalized("grüße") == normalized("GRÜSSE")


# One person's share


def test_one_person_holds_at_most_their_share_of_what_is_at_stake(session: Session, v1: Version) -> None:
    for person in range(1, 20):
        choose_one(session, v1, 1_000 + person, OLD)
    before = members_of(session, v1).better
    for _ in range(30):
        choose_one(session, v1, ALICE, NEW)
    found = members_of(session, v1)
    assert found.losses == 19
    assert found.wins < 4  # a tenth of 19, in bets of at most 1
    assert found.left_out == {LeftOut.BEYOND_SHARE: 30 - found.wins}
    assert found.better == pytest.approx(before * e_value([-1] * 19 + [1] * 2) / e_value([-1] * 19), rel=0.2)


def test_two_people_may_decide_where_nobody_else_does(session: Session, v1: Version) -> None:
    for number in range(10):
        choose_one(session, v1, (ALICE, BOB)[number % 2], NEW)
    assert members_of(session, v1).verdict is GateVerdict.PASS
    assert members_of(session, v1).score == "10 to 0 in blind comparisons, by 2 members"


def test_who_chose_first_changes_nothing(session: Session, personality_id: int) -> None:
    """The lonely first one used to be decisive, and their choices were dropped where others had been faster."""
    members = [(1_000 + number % 9, NEW if number % 3 else OLD) for number in range(13)]
    eager = [(ALICE, NEW if number % 3 else OLD) for number in range(60)]
    for voter in {user for user, _ in members}:
        vote(session, add_reply(session), voter, Vote.UP)
    found = []
    for order in (members + eager, eager + members, [*eager[:30], *members, *eager[30:]]):
        version = add(session, personality_id)
        for user, better in order:
            choose_one(session, version, user, better)
        found.append(members_of(session, version))
    assert {(one.people, one.wins + one.losses) for one in found} == {(10, 16)}
    assert {one.verdict for one in found} == {GateVerdict.NOT_ENOUGH_EVIDENCE}
    assert {one.left_out[LeftOut.BEYOND_SHARE] for one in found} == {57}


def test_everybodys_first_choice_counts_however_small_the_share_is(session: Session, personality_id: int) -> None:
    for voter in range(30):
        vote(session, add_reply(session), 1_000 + voter, Vote.UP)
    version = add(session, personality_id)
    for _ in range(2):
        choose_one(session, version, 1_000, NEW)
    small = VOTES.model_copy(update={"max_voter_share": 0.01})
    found = contest_between(session, version, None, small).members
    assert (found.wins, found.left_out) == (1, {LeftOut.BEYOND_SHARE: 1})


def test_what_waits_counts_once_others_have_chosen(session: Session, personality_id: int) -> None:
    for voter in range(9):
        vote(session, add_reply(session), 1_000 + voter, Vote.UP)
    v1, counted = add(session, personality_id), []
    for _ in range(20):
        choose_one(session, v1, ALICE, NEW)
    for number in range(36):
        if number % 9 == 0:
            counted.append(members_of(session, v1).wins)
        choose_one(session, v1, 1_000 + number % 9, OLD)
    assert counted == [2, 2, 4, 6], "a fifth, one of ten people"


@pytest.mark.parametrize(("better", "verdict"), [(NEW, GateVerdict.PASS), (OLD, GateVerdict.FAIL)])
def test_the_most_eager_member_does_not_decide_for_everybody(
    session: Session, personality_id: int, better: Better, verdict: GateVerdict
) -> None:
    voters = [BOB, CAROL, *(1_000 + number for number in range(3))]
    for voter in voters:
        vote(session, add_reply(session), voter, Vote.UP)
    v1 = add(session, personality_id)
    for _ in range(9):
        choose_one(session, v1, ALICE, better)
    found = contest_of(session, v1)
    assert found.members.wins + found.members.losses == 4, "two fifths of the first ten stakes"
    assert found.members.left_out == {LeftOut.BEYOND_SHARE: 5}
    assert found.decision is None
    for voter in voters[:2] * 2:
        choose_one(session, v1, voter, better)
    assert contest_of(session, v1).decision.verdict is verdict


def test_new_accounts_are_not_the_other_people(session: Session, personality_id: int, v1: Version) -> None:
    for voter in (BOB, CAROL, 1_000):
        vote(session, add_reply(session), voter, Vote.UP)
    people = ALICE, account(4), account(5)
    for number in range(27):
        choose_one(session, v1, people[number % 3], NEW)
    found = members_of(session, v1)
    assert found.people == 3
    assert found.weighed_people < 2
    assert found.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE


def test_people_who_voted_long_ago_are_not_waited_for(session: Session, personality_id: int, v1: Version) -> None:
    for voter in (BOB, CAROL, 1_000):
        vote(session, add_reply(session, at=utc_now() - timedelta(days=40)), voter, Vote.UP)
    for _ in range(9):
        choose_one(session, v1, ALICE, NEW)
    assert members_of(session, v1).verdict is GateVerdict.PASS


def test_equally_active_people_are_not_capped(session: Session, v1: Version) -> None:
    for number in range(60):
        choose_one(session, v1, 1_000 + number % 12, NEW if number % 3 else OLD)
    found = members_of(session, v1)
    assert (found.wins, found.losses) == (40, 20)
    assert found.better == pytest.approx(e_value([1, 1, -1] * 20), rel=0.05)


def choose_one(session: Session, version: Version, user_id: int, better: Better) -> None:
    compare(session, *ask_twice(session, version, None), user_id, better)


@pytest.mark.threat("T50")
def test_two_who_always_contradict_each_other_decide_nothing(session: Session, v1: Version) -> None:
    for _ in range(40):
        choose_one(session, v1, ALICE, NEW)
        choose_one(session, v1, BOB, OLD)
    found = members_of(session, v1)
    assert (found.wins, found.losses) == (40, 40)
    assert found.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE
    together = ask_twice(session, v1, None)
    compare(session, *together, ALICE, NEW)
    compare(session, *together, BOB, OLD)
    assert members_of(session, v1).left_out == {LeftOut.REPEATED: 1}, "of one pair the first choice counts"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.threat("T50")
def test_whoever_always_presses_one_button_decides_nothing(session: Session, v1: Version, seed: int) -> None:
    """Which of the two answers stands left is chosen by chance."""
    rng = random.Random(seed)
    for number in range(60):
        (left, _), _ = choose_two(["Tea.", "Rain."], None, rng)
        choose_one(session, v1, ALICE, OLD if left else NEW)
        compare(session, *ask_twice(session, v1, None, prompt=f"same {number}"), BOB, SAME)
    found = members_of(session, v1)
    assert min(found.wins, found.losses) > 15
    assert found.ties == 60
    assert found.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE


# Arenas


def add_arena(session: Session, personality_id: int, *versions: Version | None) -> list[int]:
    """Add a closed arena with an answer of each version, and return their ids."""
    asked = {"personality_id": personality_id, "prompt": f"arena {utc_now()}"}
    found = [add_reply(session, version_id=id_of(version), origin=Origin.ARENA, **asked) for version in versions]
    past.add_arena(session, found, status=ArenaStatus.CLOSED, closed_at=utc_now(), **asked)
    return found


def test_a_pick_between_both_is_a_bet(session: Session, personality_id: int, v1: Version) -> None:
    for versions, picked in (((None, v1), 1), ((v1, None), 1), ((v1, None, v1, None), 2)):
        answers = add_arena(session, personality_id, *versions)
        vote(session, answers[picked], ALICE, Vote.UP)
        vote(session, answers[0 if picked else 1], ALICE, Vote.DOWN)
    assert score(session, v1) == (2, 1, 0, 1)


def test_an_arena_bets_the_mean_of_its_picks_once_it_closed(session: Session, personality_id: int, v1: Version) -> None:
    new, old = add_arena(session, personality_id, v1, None)
    session.execute(update(ArenaRow).values(closed_at=None))
    for voter in range(5):
        vote(session, new if voter < 4 else old, 1_000 + voter, Vote.UP)
    assert members_of(session, v1) == Standing()
    session.execute(update(ArenaRow).values(closed_at=utc_now()))
    found = members_of(session, v1)
    assert (found.wins, found.losses, found.people) == (1, 0, 5)
    assert found.better == pytest.approx(e_value([0.6]))
    for voter in range(3):
        vote(session, old, 2_000 + voter, Vote.UP)
    found = members_of(session, v1)
    assert (found.wins, found.losses, found.ties, found.better) == (0, 0, 1, 1.0)


def test_nobody_decides_an_arena_beyond_their_share(session: Session, personality_id: int, v1: Version) -> None:
    for number in range(20):
        choose_one(session, v1, 1_000 + number, OLD)
    for _ in range(10):
        vote(session, add_arena(session, personality_id, v1, None)[0], ALICE, Vote.UP)
    found = members_of(session, v1)
    assert found.wins < 4
    assert found.left_out == {LeftOut.BEYOND_SHARE: 10 - found.wins}


# An admin's own verdict


def choose_as_admin(session: Session, version: Version, better: Better, admin: int = ALICE) -> None:
    compare(session, *ask_twice(session, version, None), admin, better, by_admin=True)


@pytest.mark.parametrize("admin_first", [True, False])
def test_an_admins_choices_are_a_verdict_of_their_own_whoever_chose_first(
    session: Session, v1: Version, admin_first: bool
) -> None:
    def of_members() -> None:
        choose(session, v1, None, wins=4, losses=9)

    def of_admin() -> None:
        for number in range(60):
            choose_as_admin(session, v1, NEW if number % 5 else OLD)

    for act in (of_admin, of_members) if admin_first else (of_members, of_admin):
        act()
    contest = contest_of(session, v1)
    own = contest.admins[ALICE]
    assert (own.wins, own.losses, own.left_out) == (48, 12, {})
    assert own.better == pytest.approx(e_value([-1] * 12 + [1] * 48), rel=1e-6)
    assert own.verdict is GateVerdict.PASS
    assert (contest.members.wins, contest.members.losses) == (4, 9)
    assert (contest.has_few_members, contest.decision) == (False, None), "members decide"


def test_where_too_few_members_vote_an_admin_decides(session: Session, v1: Version) -> None:
    compare(session, *ask_twice(session, v1, None), BOB, OLD)
    for _ in range(9):
        choose_as_admin(session, v1, NEW)
    contest = contest_of(session, v1)
    assert contest.has_few_members
    assert contest.decision.reason == "people prefer v1 to base: 9 to 0 in blind comparisons, by 1 member"
    assert decide(session, v1)
    for _ in range(9):
        choose_as_admin(session, v1, OLD, CAROL)
    assert contest_between(session, v1, None, VOTES).decision is None, "two admins who disagree decide nothing"


def test_an_admins_picks_in_arenas_are_part_of_their_verdict(
    session: Session, personality_id: int, v1: Version
) -> None:
    choose_as_admin(session, v1, NEW)
    new, old = add_arena(session, personality_id, v1, None)
    vote(session, new, ALICE, Vote.UP)
    vote(session, old, BOB, Vote.UP)
    contest = contest_of(session, v1)
    assert (contest.admins[ALICE].wins, contest.members.wins, contest.members.losses) == (2, 0, 1)
    session.add(OptOutRow(user_id=ALICE, since=utc_now()))
    session.flush()
    assert contest_of(session, v1).admins == {}


def test_with_a_third_version_or_unequal_parts_a_pick_says_nothing(
    session: Session, personality_id: int, v1: Version
) -> None:
    other = add(session, personality_id)
    for versions in ((v1, None, other), (v1, other), (v1, None, None), (v1, v1)):
        vote(session, add_arena(session, personality_id, *versions)[0], ALICE, Vote.UP)
    assert score(session, v1) == (0, 0, 0, 0)


def test_picks_in_quarantine_do_not_count(session: Session, personality_id: int, v1: Version) -> None:
    (picked, _) = add_arena(session, personality_id, v1, None)
    vote(session, picked, ALICE, Vote.UP)
    past.quarantine(session, 0, [(picked, ALICE)])
    assert members_of(session, v1) == Standing(left_out={LeftOut.QUARANTINED: 1})


# Who is compared


def test_the_newest_version_that_waits_is_compared(session: Session, personality_id: int, v1: Version) -> None:
    second = add(session, personality_id)
    add(session, personality_id, GateVerdict.FAIL)
    add(session, personality_id, GateVerdict.PASS)
    assert find_rival(session, personality_id) == second
    session.execute(update(VersionRow).where(VersionRow.id == second.id).values(withdrawn_at=utc_now()))
    assert find_rival(session, personality_id) == v1


def test_while_people_prefer_a_newer_version_no_older_one_is_compared(
    session: Session, personality_id: int, v1: Version
) -> None:
    second = add(session, personality_id)
    choose(session, second, None, wins=9)
    assert decide(session, second)
    assert find_rival(session, personality_id) is None
    lead(session, find_version(session, second.id))
    go_back(session)
    assert find_rival(session, personality_id) == v1


def test_versions_before_the_champion_are_not_compared(session: Session, personality_id: int, v1: Version) -> None:
    second = add(session, personality_id)
    lead(session, second, reason="I know", override=True)
    assert find_rival(session, personality_id) is None


def test_evidence_against_another_champion_counts_anew(session: Session, personality_id: int, v1: Version) -> None:
    choose(session, v1, None, wins=9)
    contest = contest_of(session, v1)
    other = add(session, personality_id, GateVerdict.PASS)
    lead(session, other)
    assert contest.decision is not None
    assert not conclude(session, contest, contest.decision, RELEASE)
    assert members_of(session, v1, other) == Standing()
    assert find_version(session, v1.id) == v1


# When nothing left could decide


def contest_after(session: Session, version: Version, passed: float) -> Contest:
    """Return how it stands if the version was made that many days ago."""
    made = utc_now() - timedelta(days=passed)
    session.execute(update(VersionRow).where(VersionRow.id == version.id).values(created_at=made))
    session.execute(update(ReplyRow).values(created_at=utc_now()))
    return contest_of(session, version)


@pytest.mark.parametrize(
    ("sides", "passed", "reason"),
    [
        ({}, 2.9, ""),
        ({}, 7, ""),
        ({}, 21, "at 0 choices a day, the 7 days left will not be enough to decide"),
        ({"wins": 4}, 22, ""),
        ({"wins": 4, "losses": 4}, 10, ""),
        ({"wins": 4, "losses": 4}, 23.5, "at 0.3 choices a day, the 5 days left will not be enough to decide"),
        ({"wins": 40, "losses": 38}, 3.1, ""),
        ({"wins": 40, "losses": 38}, 26.5, "at 2.9 choices a day, the 2 days left will not be enough to decide"),
        ({"ties": 40}, 20, ""),
        ({"ties": 4}, 24, "at 0.2 choices a day, the 4 days left will not be enough to decide"),
    ],
    ids=str,
)
def test_it_is_said_when_the_days_left_cannot_decide(
    session: Session, v1: Version, sides: dict[str, int], passed: float, reason: str
) -> None:
    choose(session, v1, None, **sides)
    contest = contest_after(session, v1, passed)
    assert (contest.dead_end, contest.decision) == (reason, None)


# What they decide


def test_a_version_that_people_prefer_is_ready_and_needs_no_override(
    session: Session, personality_id: int, v1: Version
) -> None:
    choose(session, v1, None, wins=4)
    assert contest_of(session, v1).decision is None
    choose(session, v1, None, wins=5)
    assert decide(session, v1)
    ready = find_version(session, v1.id)
    assert ready
    assert ready.verdict is GateVerdict.PASS
    assert ready.contest["reason"] == "people prefer v1 to base: 9 to 0 in blind comparisons, by 5 members"
    assert (ready.contest["wins"], ready.contest["champion"]) == (9, "base")
    assert ready.decided_at is not None
    assert not ask_gate(session, ready, override=False, reason="")
    assert read_alias(session, personality_id).target == "base"
    assert find_rival(session, personality_id) is None


@pytest.mark.parametrize("others", [(), (BOB, CAROL)], ids=["alone", "with two others"])
def test_one_member_who_finds_all_equal_does_not_prove_a_version_as_good(
    session: Session, personality_id: int, v1: Version, others: tuple[int, ...]
) -> None:
    for voter in (BOB, CAROL, 1_000):
        vote(session, add_reply(session), voter, Vote.UP)
    for number in range(60):
        choose_one(session, v1, ALICE, SAME)
        for other in others:
            choose_one(session, v1, other, SAME if number % 2 else OLD)
    found = contest_of(session, v1)
    assert found.members.needs_people is not others
    assert not found.is_as_good
    assert not found.leads


def test_new_accounts_that_find_all_equal_stake_as_little_as_when_they_choose(session: Session, v1: Version) -> None:
    choose_one(session, v1, account(days_old=15), SAME)
    found = members_of(session, v1)
    assert found.ties == 1
    assert found.as_good == pytest.approx(e_value([AS_GOOD * 0.5]), abs=1e-3)


@pytest.mark.parametrize(
    ("sides", "is_as_good"),
    [
        ({"wins": 1, "losses": 1, "ties": 70}, True),
        ({"wins": 1, "losses": 1, "ties": 30}, False),
        ({"wins": 3, "losses": 12, "ties": 70}, False),
    ],
    ids=str,
)
def test_a_version_may_be_as_good_as_a_base_that_people_nearly_always_like(
    session: Session, personality_id: int, v1: Version, sides: dict[str, int], *, is_as_good: bool
) -> None:
    choose(session, v1, None, **sides)
    contest = contest_of(session, v1)
    assert (contest.is_as_good, contest.decision) == (is_as_good, None), "it is never promoted by itself"
    assert ("as good as base, within ten points" in what_decides(contest, weekly=40)) is is_as_good
    with pytest.raises(GateNotPassed):
        lead(session, v1, reason="as good")
    lead(session, v1, reason="as good", override=True)


def test_only_a_first_version_may_be_as_good(session: Session, personality_id: int, v1: Version) -> None:
    lead(session, v1, reason="try it", override=True)
    v2 = add(session, personality_id, digit="e")
    choose(session, v2, v1, ties=80)
    assert not contest_of(session, v2).is_as_good


def test_a_version_that_people_like_less_is_dropped(session: Session, v1: Version) -> None:
    choose(session, v1, None, losses=9)
    assert decide(session, v1, AUTOMATIC)
    dropped = find_version(session, v1.id)
    assert dropped
    assert dropped.verdict is GateVerdict.FAIL
    with pytest.raises(GateNotPassed, match="people like v1 less than base: 0 to 9 in blind comparisons"):
        ask_gate(session, dropped, override=False, reason="")


def test_a_ready_version_is_promoted_if_the_operator_wants_it(
    session: Session, personality_id: int, v1: Version
) -> None:
    choose(session, v1, None, wins=9)
    assert decide(session, v1, AUTOMATIC)
    assert read_alias(session, personality_id).target == "v1"
    (move,) = trail_of(session, personality_id)
    assert (move.moved_by, move.overrides_gate) == ("people's choices", False)
    assert move.reason == "people prefer v1 to base: 9 to 0 in blind comparisons, by 9 members"


def test_a_version_that_was_taken_back_is_not_promoted_by_itself(
    session: Session, personality_id: int, v1: Version
) -> None:
    lead(session, v1, reason="I know", override=True)
    go_back(session)
    choose(session, v1, None, wins=9)
    assert decide(session, v1, AUTOMATIC)
    assert read_alias(session, personality_id).target == "base"
    ready = find_version(session, v1.id)
    assert ready
    assert ready.verdict is GateVerdict.PASS


@pytest.mark.parametrize("settings", [RELEASE, AUTOMATIC])
def test_one_of_several_bots_judges(database: Database, personality_id: int, settings: ReleaseSettings) -> None:
    with database.transaction() as session:
        version = add(session, personality_id)
        choose(session, version, None, wins=9)
        contest = contest_of(session, version)
    judged = at_once(
        database, 4, lambda session, _: conclude(session, contest, contest.decision, settings), AliasConflict
    )
    assert judged.count(True) == 1
    assert len(database.fetch(trail_of, personality_id)) == settings.auto_promote
