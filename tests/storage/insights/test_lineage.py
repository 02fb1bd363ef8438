"""Which votes made a version, and what became of a vote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from storage.database.enums import Basis, Cause, GateVerdict, Outcome, PairSource, QuarantineStatus, RoundStatus, Split
from storage.database.tables import ComparisonRow, ReplyMessageRow, ReplyRow
from storage.errors import VersionNotFound
from storage.insights.lineage import read_lineage
from storage.insights.vote_outcomes import PairRole, TasteUse, VoteStatus, replies_on_message, vote_outcomes
from storage.members import note_members
from storage.personalities.personalities import read_personality
from storage.privacy.consent import give_consent, withdraw_consent
from storage.privacy.erasure import delete_member
from storage.settings.sections import PrivacySettings, Settings
from storage.taste.opinions import read_taste_opinions
from storage.training.feedback import read_replies
from storage.training.trainable import Obstacle, TrainingScope
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import give_cause
from storage.votes.votes import Tally, Vote, votes_on
from storage.votes.weights import DISCORD_EPOCH, ThumbEvent, VoteHistory
from tests.past import add_arena, add_round, add_version, day, lead, pair, quarantine, thumb_on
from tests.seeding import (
    ALICE,
    BASE_REVISION,
    BOB,
    CAROL,
    CHANNEL,
    OTHER_REVISION,
    add_correction,
    add_reply,
    message_of,
    vote,
)

UP, DOWN = Vote.UP, Vote.DOWN
CLOSED, OPEN = PrivacySettings(), PrivacySettings(discord_training_permission=True)


@pytest.fixture
def replies(session, personality_id):
    """Four answers to two prompts."""
    return [add_reply(session, prompt=f"<|user|>q{i // 2}<|bot|>", answer=f"answer {i}") for i in range(4)]


def outcomes(session, user_id, *, privacy=CLOSED, base_revision=BASE_REVISION, reply_ids=None):
    return vote_outcomes(
        session,
        user_id,
        personality=read_personality(session, 1),
        settings=Settings(privacy=privacy),
        base_revision=base_revision,
        reply_ids=reply_ids,
    )


class TestVotesBehind:
    def test_a_version_rests_on_the_rounds_of_its_whole_line_of_parents(self, session, replies):
        liked, disliked, better, worse = replies
        thumb_on(session, 0, liked, ALICE, UP)
        thumb_on(session, 0, disliked, BOB, DOWN)
        first = add_version(session, add_round(session, 1, [pair(liked, disliked)]))
        thumb_on(session, 2, better, ALICE, UP)
        second_round = add_round(
            session,
            3,
            [pair(better, worse, split=Split.VALIDATION), pair(liked, disliked, weight=0.25)],
            voters={ALICE: (0.6, 0.2), BOB: (0.4, 0.1)},
        )
        second = add_version(session, second_round, first)
        add_version(session, add_round(session, 4, [pair(worse, better)]), first)  # a sibling of v2, not a parent

        lineage = read_lineage(session, second.id)
        assert lineage.chain == ("v2", "v1", "base")
        assert [(r.version, r.parent, len(r.pairs)) for r in lineage.rounds] == [("v2", "v1", 2), ("v1", "base", 1)]
        assert (lineage.votes, lineage.people, lineage.corrections) == (Tally(up=2, down=1), 2, 0)
        newest = lineage.rounds[0]
        assert [(p.split, p.weight) for p in newest.pairs] == [
            (Split.VALIDATION, 0.5),
            (Split.TRAIN, 0.25),
        ]
        assert [(v.user_id, v.votes, v.share, v.influence) for v in newest.voters] == [
            (ALICE, Tally(up=2), 0.6, 0.2),
            (BOB, Tally(down=1), 0.4, 0.1),
        ]
        assert [v.share for v in lineage.rounds[1].voters] == [None, None]

    def test_only_votes_from_before_the_round_stand_behind_it(self, session, replies):
        liked, disliked, *_ = replies
        thumb_on(session, 0, liked, ALICE, UP)
        thumb_on(session, 0, liked, BOB, UP)
        thumb_on(session, 0.5, liked, BOB, UP, added=False)
        thumb_on(session, 0, disliked, CAROL, DOWN)
        version = add_version(session, add_round(session, 1, [pair(liked, disliked)]))
        thumb_on(session, 2, liked, CAROL, UP)
        thumb_on(session, 2, disliked, CAROL, DOWN, added=False)

        (only,) = read_lineage(session, version.id).rounds[0].pairs
        assert [(v.user_id, v.vote, v.unchanged) for v in only.chosen.votes] == [(ALICE, UP, True)]
        assert [(v.user_id, v.vote, v.unchanged) for v in only.rejected.votes] == [(CAROL, DOWN, False)]

    @pytest.mark.parametrize(
        ("opened", "status", "decided", "quarantined"),
        [
            (0, QuarantineStatus.OPEN, None, True),
            (1.01, QuarantineStatus.OPEN, None, True),  # the round itself found the burst
            (2, QuarantineStatus.OPEN, None, False),
            (0, QuarantineStatus.EXCLUDED, 0.5, True),
            (0, QuarantineStatus.COUNTED, 0.5, False),
            (0, QuarantineStatus.COUNTED, 2, True),
        ],
    )
    def test_votes_in_quarantine_at_the_time_are_marked_and_do_not_count(
        self, session, replies, opened, status, decided, quarantined
    ):
        thumb_on(session, 0, replies[0], ALICE, UP)
        version = add_version(session, add_round(session, 1, [pair(replies[0], replies[1])]))
        quarantine(session, opened, [(replies[0], ALICE)], status=status, decided=decided)
        lineage = read_lineage(session, version.id)
        assert lineage.rounds[0].pairs[0].chosen.votes[0].quarantined is quarantined
        assert lineage.votes.up == (0 if quarantined else 1)
        assert [use.round_id for outcome in outcomes(session, ALICE) for use in outcome.uses] == (
            [] if quarantined else [1]
        )

    def test_a_correction_names_its_author_and_counts_once(self, session, replies):
        correction = add_correction(session, replies[0], "better words", author_id=CAROL)
        pairs = [
            pair(None, replies[0], source=PairSource.CORRECTION, correction_id=correction),
            pair(None, replies[1], source=PairSource.CORRECTED_SAMPLE, correction_id=correction),
        ]
        lineage = read_lineage(session, add_version(session, add_round(session, 1, pairs)).id)
        assert [p.correction.author_id for p in lineage.rounds[0].pairs] == [CAROL, CAROL]
        assert not any(p.was_deleted for p in lineage.rounds[0].pairs)
        assert (lineage.corrections, lineage.people) == (1, 1)
        assert [(v.user_id, v.corrections) for v in lineage.rounds[0].voters] == [(CAROL, 1)]

    def test_choices_and_picks_stand_behind_a_pair_too(self, session, replies):
        compare(session, replies[0], replies[1], ALICE, Better.FIRST)
        compare(session, replies[0], replies[1], BOB, Better.SECOND)
        compare(session, replies[0], replies[1], CAROL, Better.SAME)
        add_arena(session, replies[2:])
        thumb_on(session, 0, replies[2], CAROL, UP)
        for choice in session.scalars(select(ComparisonRow)):
            choice.created_at = day(0)
        pairs = [pair(*replies[:2], source=PairSource.CHOICE), pair(*replies[2:], source=PairSource.CHOICE)]
        lineage = read_lineage(session, add_version(session, add_round(session, 1, pairs)).id)
        assert [p.choosers for p in lineage.rounds[0].pairs] == [(ALICE,), ()]
        assert (lineage.votes, lineage.choices, lineage.people) == (Tally(), 2, 2)
        assert [(v.user_id, v.choices) for v in lineage.rounds[0].voters] == [(ALICE, 1), (CAROL, 1)]

    def test_deleted_data_is_missing_from_the_lineage_and_reported(self, session, replies):
        thumb_on(session, 0, replies[0], BOB, UP)
        version = add_version(session, add_round(session, 1, [pair(*replies[:2]), pair(*replies[1:3])]))
        delete_member(session, ALICE)  # whose words are in every prompt
        session.expire_all()
        lineage = read_lineage(session, version.id)
        assert [p.was_deleted for p in lineage.rounds[0].pairs] == [True, True]
        assert lineage.trained_on_deleted_data
        assert lineage.votes == Tally()

    def test_links_lead_to_the_first_message_of_an_answer_and_to_its_arena(self, session, replies):
        session.add(ReplyMessageRow(message_id=99, reply_id=replies[0], channel_id=CHANNEL, position=1))
        session.get_one(ReplyRow, replies[0]).guild_id = 5
        for row in session.scalars(select(ReplyMessageRow).where(ReplyMessageRow.reply_id == replies[1])):
            session.delete(row)
        add_arena(session, [replies[1]], guild_id=5, channel_id=6, message_id=77)
        version = add_version(session, add_round(session, 1, [pair(*replies[:2]), pair(replies[2], replies[3])]))
        pairs = read_lineage(session, version.id).rounds[0].pairs
        assert pairs[0].chosen.link == f"https://discord.com/channels/5/{CHANNEL}/{message_of(replies[0])}"
        assert pairs[0].rejected.link == "https://discord.com/channels/5/6/77"
        assert pairs[1].chosen.link == f"https://discord.com/channels/@me/{CHANNEL}/{message_of(replies[2])}"
        assert replies_on_message(session, 77) == {replies[1]}
        assert replies_on_message(session, 99) == {replies[0]}
        assert replies_on_message(session, 1) == set()

    def test_a_version_without_a_round_has_none(self, session, personality_id):
        lineage = read_lineage(session, add_version(session, None).id)
        assert (lineage.chain, lineage.rounds, lineage.votes) == (("v1", "base"), (), Tally())

    def test_an_unknown_version_is_refused(self, session, personality_id):
        with pytest.raises(VersionNotFound):
            read_lineage(session, 9)


class TestVoteOutcomes:
    def test_a_vote_that_no_round_has_used_waits(self, session, replies):
        vote(session, replies[0], ALICE, UP)
        (outcome,) = outcomes(session, ALICE)
        assert (outcome.status, outcome.vote, outcome.answer, outcome.uses) == (VoteStatus.WAITING, UP, "answer 0", ())
        assert outcome.link is not None

    def test_the_newest_vote_comes_first_and_others_votes_not_at_all(self, session, replies):
        for when, reply_id in enumerate(replies):
            thumb_on(session, when, reply_id, ALICE, UP)
        thumb_on(session, 9, replies[0], ALICE, UP, added=False)
        thumb_on(session, 9, replies[1], BOB, DOWN)
        found = outcomes(session, ALICE)
        assert [(f.reply_id, f.voted_at) for f in found] == [
            (replies[0], day(9)),
            (replies[3], day(3)),
            (replies[2], day(2)),
            (replies[1], day(1)),
        ]
        assert [f.status for f in found] == [
            VoteStatus.WITHDRAWN,
            VoteStatus.WAITING,
            VoteStatus.WAITING,
            VoteStatus.WAITING,
        ]
        assert [f.reply_id for f in outcomes(session, ALICE, reply_ids=[replies[2]])] == [replies[2]]
        assert outcomes(session, CAROL) == []

    def test_a_use_names_round_side_version_and_whether_the_champion_has_it(self, session, replies):
        thumb_on(session, 0, replies[0], ALICE, UP)
        thumb_on(session, 0, replies[1], ALICE, DOWN)
        first_round = add_round(session, 1, [pair(*replies[:2])], voters={ALICE: (0.3, 0.1)})
        first = add_version(session, first_round, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
        second = add_version(session, add_round(session, 2, []), first)

        disliked, liked = outcomes(session, ALICE)
        assert (liked.status, disliked.status) == (VoteStatus.TRAINED, VoteStatus.TRAINED)
        (use,) = liked.uses
        assert (use.round_id, use.role, use.vote) == (first_round, PairRole.CHOSEN, UP)
        assert (use.version, use.verdict, use.champion) == ("v1", GateVerdict.NOT_ENOUGH_EVIDENCE, None)
        assert disliked.uses[0].role is PairRole.REJECTED
        lead(session, second)
        assert outcomes(session, ALICE)[0].uses[0].champion == "v2"

    def test_a_vote_given_after_the_round_was_not_in_it(self, session, replies):
        add_version(session, add_round(session, 1, [pair(*replies[:2])]))
        thumb_on(session, 2, replies[0], ALICE, UP)
        assert [f.status for f in outcomes(session, ALICE)] == [VoteStatus.WAITING]

    def test_a_vote_withdrawn_after_the_round_is_withdrawn_and_was_used(self, session, replies):
        thumb_on(session, 0, replies[0], ALICE, UP)
        add_version(session, add_round(session, 1, [pair(*replies[:2])]))
        thumb_on(session, 2, replies[0], ALICE, UP, added=False)
        (outcome,) = outcomes(session, ALICE)
        assert (outcome.status, outcome.vote, len(outcome.uses)) == (VoteStatus.WITHDRAWN, None, 1)

    @pytest.mark.parametrize(
        ("status", "split", "expected"),
        [
            (RoundStatus.PUBLISHED, Split.TRAIN, VoteStatus.TRAINED),
            (RoundStatus.REJECTED, Split.TRAIN, VoteStatus.TRAINED),
            (RoundStatus.PUBLISHED, Split.VALIDATION, VoteStatus.VALIDATED),
            (RoundStatus.RUNNING, Split.TRAIN, VoteStatus.IN_TRAINING),
            (RoundStatus.FAILED, Split.TRAIN, VoteStatus.WAITING),
            (RoundStatus.INTERRUPTED, Split.TRAIN, VoteStatus.WAITING),
        ],
    )
    def test_the_round_and_the_split_decide(self, session, replies, status, split, expected):
        thumb_on(session, 0, replies[0], ALICE, UP)
        add_round(session, 1, [pair(*replies[:2], split=split)], status=status)
        (outcome,) = outcomes(session, ALICE)
        assert (outcome.status, outcome.uses[0].status) == (expected, status)

    def test_an_answer_over_several_others_is_one_use_of_a_round(self, session, replies):
        thumb_on(session, 0, replies[0], ALICE, UP)
        add_round(session, 1, [pair(replies[0], other) for other in replies[1:]])
        add_round(session, 2, [pair(replies[0], replies[1])])
        assert [use.round_id for use in outcomes(session, ALICE)[0].uses] == [2, 1]

    def test_a_vote_in_the_taste_helps_to_rank_the_answers_of_a_round(self, session, replies):
        thumb_on(session, 0, replies[0], ALICE, UP)
        thumb_on(session, 2, replies[1], ALICE, UP)
        add_version(session, add_round(session, 1, [pair(*replies[2:], source=PairSource.TASTE)]))
        after, before = outcomes(session, ALICE)
        assert (after.status, after.uses) == (VoteStatus.WAITING, ())
        assert before.status is VoteStatus.RANKED
        assert [(use.role, use.round_id, use.version) for use in before.uses] == [(PairRole.RANKING, 1, "v1")]

    def test_a_vote_that_does_not_count_in_the_taste_ranks_nothing(self, session, replies):
        thumb_on(session, 0, replies[0], ALICE, DOWN)
        give_cause(session, replies[0], ALICE, Cause.WRONG_FACT)
        add_round(session, 1, [pair(*replies[2:], source=PairSource.TASTE)])
        assert [(f.status, f.uses) for f in outcomes(session, ALICE)] == [(VoteStatus.ABOUT_FACTS, ())]

    @pytest.mark.parametrize(
        ("age_days", "weight", "expected"), [(0, 0.0, VoteStatus.WEIGHTLESS), (15, 0.5, VoteStatus.TRAINED)]
    )
    def test_votes_of_a_new_account_count_little_or_nothing(self, session, replies, age_days, weight, expected):
        newcomer = int((day(-age_days) - DISCORD_EPOCH).total_seconds() * 1000) << 22
        thumb_on(session, 0, replies[0], newcomer, UP)
        add_round(session, 1, [pair(*replies[:2])])
        (outcome,) = outcomes(session, newcomer)
        assert (outcome.weight, outcome.status, len(outcome.uses)) == (pytest.approx(weight), expected, bool(weight))

    def test_votes_of_a_new_member_count_little(self, session, replies):
        session.get_one(ReplyRow, replies[0]).guild_id = 5
        note_members(session, 5, {ALICE: day(0)})
        thumb_on(session, 3.5, replies[0], ALICE, UP)
        assert outcomes(session, ALICE)[0].weight == pytest.approx(0.5)

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (QuarantineStatus.OPEN, VoteStatus.QUARANTINED),
            (QuarantineStatus.EXCLUDED, VoteStatus.EXCLUDED),
            (QuarantineStatus.COUNTED, VoteStatus.WAITING),
        ],
    )
    def test_quarantined_votes_say_so(self, session, replies, status, expected):
        thumb_on(session, 0, replies[0], ALICE, UP)
        quarantine(session, 1, [(replies[0], ALICE)], status=status, decided=2)
        assert [f.status for f in outcomes(session, ALICE)] == [expected]

    @pytest.mark.parametrize(
        ("row", "privacy", "obstacle"),
        [
            ({"basis": None}, CLOSED, Obstacle.LIVE_CHAT_CLOSED),
            ({"basis": Basis.LIVE_CHAT}, CLOSED, Obstacle.LIVE_CHAT_CLOSED),
            ({"basis": None}, OPEN, Obstacle.NO_CONSENT),
            ({"basis": Basis.LIVE_CHAT, "speakers": (ALICE, BOB)}, OPEN, Obstacle.NO_CONSENT),
            ({"basis": Basis.LIVE_CHAT, "speakers": ()}, OPEN, Obstacle.NO_CONSENT),
            ({"basis": Basis.LIVE_CHAT, "speakers": (ALICE,)}, OPEN, None),
            ({"basis": Basis.PROMPT_BANK}, CLOSED, None),
            ({"base_revision": OTHER_REVISION}, CLOSED, None),
            ({"base_revision": OTHER_REVISION, "messages": []}, CLOSED, Obstacle.OTHER_BASE),
            ({"outcome": Outcome.TIMEOUT}, CLOSED, Obstacle.UNFINISHED),
            ({"answer": ""}, CLOSED, Obstacle.UNFINISHED),
            ({"outcome": Outcome.LENGTH}, CLOSED, None),
        ],
    )
    def test_outcomes_and_evidence_agree_about_excluded_answers(self, session, personality_id, row, privacy, obstacle):
        give_consent(session, ALICE)
        note_members(session, 5, {CAROL: day(-30)})
        vote(session, add_reply(session, guild_id=5, **row), CAROL, UP)
        (outcome,) = outcomes(session, CAROL, privacy=privacy)
        assert (outcome.obstacle, outcome.status) == (
            obstacle,
            VoteStatus.WAITING,
        )
        without_taste = privacy.model_copy(update={"learn_from_reactions": False})
        (outcome,) = outcomes(session, CAROL, privacy=without_taste)
        assert outcome.status is (VoteStatus.NOT_TRAINABLE if obstacle else VoteStatus.WAITING)
        assert len(read_replies(session, TrainingScope(1, privacy, BASE_REVISION), {})) == (0 if obstacle else 1)

    def test_consent_withdrawn_later_keeps_the_vote_out(self, session, personality_id):
        give_consent(session, ALICE)
        note_members(session, 5, {BOB: day(-30)})
        vote(session, add_reply(session, guild_id=5, basis=Basis.LIVE_CHAT), BOB, UP)
        assert outcomes(session, BOB, privacy=OPEN)[0].status is VoteStatus.WAITING
        withdraw_consent(session, ALICE)
        assert outcomes(session, BOB, privacy=OPEN)[0].obstacle is Obstacle.NO_CONSENT

    @pytest.mark.parametrize("silence", [None, TasteUse.OPTED_OUT, TasteUse.SWITCHED_OFF])
    def test_outcomes_and_the_taste_agree_about_what_counts(self, session, personality_id, silence):
        liked, withdrawn, held, factual, picked, unpicked = (
            add_reply(session, prompt=f"{i}", answer="Yes.") for i in range(6)
        )
        add_arena(session, [picked, unpicked])
        said = {liked: UP, withdrawn: UP, held: UP, factual: DOWN, picked: UP, unpicked: DOWN}
        for reply_id, value in said.items():
            vote(session, reply_id, BOB, value)
        vote(session, withdrawn, BOB, UP, added=False)
        quarantine(session, 0, [(held, BOB)], status=QuarantineStatus.OPEN)
        give_cause(session, factual, BOB, Cause.WRONG_FACT)
        privacy = PrivacySettings(learn_from_reactions=silence is not TasteUse.SWITCHED_OFF)
        if silence is TasteUse.OPTED_OUT:
            withdraw_consent(session, BOB)
        session.flush()

        uses = {outcome.reply_id: outcome.taste for outcome in outcomes(session, BOB, privacy=privacy)}
        assert uses == {
            liked: silence or TasteUse.COUNTS,
            withdrawn: TasteUse.VOID,
            held: TasteUse.VOID,
            factual: silence or TasteUse.WRONG_FACT,
            picked: silence or TasteUse.COUNTS,
            unpicked: silence or TasteUse.NO_PICK,
        }
        read = read_taste_opinions(session, personality_id, Settings(privacy=privacy))
        counted = {opinion.reply_id for opinion in read.opinions} | {choice.chosen for choice in read.choices}
        assert counted == {reply_id for reply_id, use in uses.items() if use is TasteUse.COUNTS}

    def test_votes_on_deleted_answers_are_gone(self, session, replies):
        vote(session, replies[0], BOB, UP)
        delete_member(session, ALICE)
        assert outcomes(session, BOB) == []


SAID = {"👍": UP, "👎": DOWN, "👍🏽": UP, "❤️": UP, "🎉": None}
steps = st.lists(st.tuples(st.sampled_from(list(SAID)), st.booleans()), max_size=12)


class TestHistory:
    @given(steps)
    def test_it_says_at_every_moment_what_the_thumbs_said_then(self, steps):
        start = datetime(2026, 1, 1, tzinfo=UTC)
        events = tuple(
            ThumbEvent(1, emoji, burst=False, added=added, created_at=start + timedelta(minutes=i), vote=SAID[emoji])
            for i, (emoji, added) in enumerate(steps)
        )
        history = VoteHistory(events)
        for i in range(len(events) + 1):
            assert history.before(start + timedelta(minutes=i)) == VoteHistory(events[:i]).now
        if events:
            assert history.before(history.since + timedelta(seconds=1)) is history.now
            assert history.since == start or history.before(history.since) is not history.now

    def test_now_is_the_current_vote(self, session, replies):
        for user_id, moves in ((ALICE, [UP, DOWN]), (BOB, [DOWN]), (CAROL, [UP])):
            for said in moves:
                vote(session, replies[0], user_id, said)
        vote(session, replies[0], ALICE, UP, added=False)
        current = votes_on(session, replies[0])
        for user_id in (ALICE, BOB, CAROL):
            assert outcomes(session, user_id)[0].vote is current[user_id]
