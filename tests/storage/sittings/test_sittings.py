"""What somebody says of pairs in a sitting counts like any other choice of people, once, and can be taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from storage.conversations.replies import FinishedReply, NewReply
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import NOBODY, OPERATOR, GateVerdict, Label, Origin, Outcome, PairChoice
from storage.database.tables import ComparisonRow, ReplyRow, SittingPairRow, SittingRow, VersionRow
from storage.errors import SittingConflict
from storage.members import DIRECT
from storage.personalities.cards import Card
from storage.personalities.personalities import change_card, ensure_personality, read_personality
from storage.privacy.erasure import delete_member
from storage.privacy.retention import past_replies, prune_rest, read_expiry
from storage.releases.base_change import begin_base
from storage.releases.bases import ConfiguredBase
from storage.releases.contests import read_contest
from storage.settings.sections import PrivacySettings, Settings
from storage.sittings.agreement import measure_agreement, read_rater_agreement
from storage.sittings.sittings import (
    SHARED_AMONG,
    Sitting,
    add_pair,
    add_shared_pair,
    asked_prompts,
    begin_sitting,
    count_drawn_ahead,
    drop_outdated,
    end_sitting,
    label_pair,
    last_sitting,
    next_pair,
    open_sitting,
    read_progress,
    take_spare,
    undo_label,
)
from storage.taste.opinions import read_taste_opinions
from storage.votes.votes import Vote, read_version_votes, votes_on
from storage.votes.weights import DISCORD_EPOCH
from tests.past import add_version
from tests.seeding import ALICE, BASE_REVISION, BOB, new_reply
from tests.storage.together import at_once

HOME = (DIRECT, DISCORD_EPOCH)


def answer(text: str, origin: Origin = Origin.SITTING, prompt: str = "tea?") -> tuple[NewReply, FinishedReply]:
    new = new_reply(prompt, channel_id=NOBODY, origin=origin)
    return new, FinishedReply(answer=text, outcome=Outcome.COMPLETE)


@pytest.fixture
def sitting(session: Session, personality_id: int) -> Sitting:
    return begin_sitting(session, personality_id, OPERATOR)


def card_of(session: Session) -> Card:
    return read_personality(session, 1).card


def draw(session: Session, sitting: Sitting, *prompts: str) -> None:
    for prompt in prompts:
        pair = answer(f"{prompt} yes", prompt=prompt), answer(f"{prompt} no", prompt=prompt)
        add_pair(session, sitting, prompt, pair, card=card_of(session), chosen_by=PairChoice.CHANCE)
    session.flush()


def edit_card(session: Session) -> None:
    change_card(session, read_personality(session, 1), Card(system_prompt="Be brief."), by="grace")


def label(session: Session, sitting: Sitting, said: Label) -> int:
    """Label the pair that comes next, and return its id."""
    pair = next_pair(session, sitting)
    label_pair(session, sitting, pair.id, said, HOME)
    session.flush()
    return pair.id


def test_a_person_has_one_open_sitting_with_a_personality(session: Session, sitting: Sitting) -> None:
    assert begin_sitting(session, 1, OPERATOR) == sitting == open_sitting(session, 1, OPERATOR)
    assert begin_sitting(session, 1, BOB) != sitting
    end_sitting(session, sitting.id)
    assert open_sitting(session, 1, OPERATOR) is None
    assert last_sitting(session, 1, OPERATOR).id == sitting.id
    assert begin_sitting(session, 1, OPERATOR).id != sitting.id


def test_pairs_come_in_the_order_in_which_they_were_drawn(session: Session, sitting: Sitting) -> None:
    assert next_pair(session, sitting) is None
    draw(session, sitting, "tea?", "rain?")
    assert count_drawn_ahead(session, sitting.id) == 2
    pair = next_pair(session, sitting)
    assert (pair.prompt, pair.first.text, pair.second.text) == ("tea?", "tea? yes", "tea? no")
    label(session, sitting, Label.FIRST)
    assert next_pair(session, sitting).prompt == "rain?"


@pytest.mark.parametrize(("said", "chosen"), [(Label.FIRST, 0), (Label.SECOND, 1), (Label.BOTH_GOOD, None)])
def test_a_label_is_a_choice_that_counts_in_full(
    session: Session, sitting: Sitting, said: Label, chosen: int | None
) -> None:
    draw(session, sitting, "tea?")
    label(session, sitting, said)
    (choice,) = read_taste_opinions(session, 1, Settings()).choices
    assert choice.weight == 1.0
    assert choice.chosen == (None if chosen is None else choice.reply_ids[chosen])


def test_the_nightly_clean_up_leaves_the_weight_of_a_label_and_its_answers(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "tea?", "rain?")
    label(session, sitting, Label.FIRST)
    session.execute(update(ReplyRow).values(created_at=utc_now() - timedelta(days=900)))
    prune_rest(session, utc_now())
    assert [choice.weight for choice in read_taste_opinions(session, 1, Settings()).choices] == [1.0]
    expiry = read_expiry(PrivacySettings())
    assert len(past_replies(session, expiry)) == 2, "those of the pair without a label"


@pytest.mark.parametrize(("said", "vote"), [(Label.BOTH_GOOD, Vote.UP), (Label.BOTH_BAD, Vote.DOWN)])
def test_both_good_and_both_bad_are_votes_too_but_no_approval_in_chat(
    session: Session, sitting: Sitting, said: Label, vote: Vote
) -> None:
    draw(session, sitting, "tea?")
    label(session, sitting, said)
    pair = session.scalars(select(SittingPairRow)).one()
    assert [votes_on(session, id_) for id_ in (pair.first_id, pair.second_id)] == [{OPERATOR: vote}] * 2
    assert read_version_votes(session, 1).by_version == {}


def test_a_skipped_pair_says_nothing(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "tea?")
    label(session, sitting, Label.SKIPPED)
    read = read_taste_opinions(session, 1, Settings())
    assert (read.choices, read.opinions) == ((), ())
    assert (read_progress(session, sitting.id).labelled, read_progress(session, sitting.id).useful) == (1, 0)


def test_two_windows_cannot_label_the_same_pair(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "tea?")
    pair_id = label(session, sitting, Label.FIRST)
    with pytest.raises(SittingConflict, match="compared already"):
        label_pair(session, sitting, pair_id, Label.SECOND, HOME)
    assert read_taste_opinions(session, 1, Settings()).choices[0].shares == [1.0, 0.0]


def test_nobody_labels_in_the_sitting_of_somebody_else(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "tea?")
    pair_id = next_pair(session, sitting).id
    with pytest.raises(SittingConflict):
        label_pair(session, begin_sitting(session, 1, BOB), pair_id, Label.FIRST, HOME)


@pytest.mark.parametrize("said", list(Label))
def test_the_last_label_can_be_taken_back(session: Session, sitting: Sitting, said: Label) -> None:
    draw(session, sitting, "tea?", "rain?")
    label(session, sitting, Label.FIRST)
    pair_id = label(session, sitting, said)
    undo_label(session, sitting)
    session.flush()
    assert next_pair(session, sitting).id == pair_id
    read = read_taste_opinions(session, 1, Settings())
    assert (len(read.choices), read.opinions) == (1, ())
    label(session, sitting, Label.SECOND)
    assert [choice.shares for choice in read_taste_opinions(session, 1, Settings()).choices] == [[1, 0], [0, 1]]


def test_the_last_label_is_taken_back_after_the_clock_was_set_back(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "tea?", "rain?")
    first = label(session, sitting, Label.FIRST)
    ahead = utc_now() + timedelta(hours=3)
    session.execute(update(SittingPairRow).where(SittingPairRow.id == first).values(labelled_at=ahead))
    second = label(session, sitting, Label.FIRST)
    undo_label(session, sitting)
    assert next_pair(session, sitting).id == second


def test_without_a_label_there_is_nothing_to_undo(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "tea?")
    with pytest.raises(SittingConflict, match="nothing to undo"):
        undo_label(session, sitting)


def repeat_last_pair(session: Session, times: int) -> None:
    last = session.scalars(select(SittingPairRow).order_by(SittingPairRow.id.desc()).limit(1)).one()
    columns = [column.key for column in SittingPairRow.__table__.columns if column.key != "id"]
    session.execute(insert(SittingPairRow), [{key: getattr(last, key) for key in columns}] * times)


def test_what_was_drawn_and_not_shown_stays_as_samples(session: Session, sitting: Sitting) -> None:
    unshown = [answer("maybe", Origin.SAMPLE)]
    two, how = (answer("yes"), answer("no")), PairChoice.LESSON
    add_pair(session, sitting, "tea?", two, card=card_of(session), chosen_by=how, unshown=unshown)
    session.flush()
    found = session.execute(select(ReplyRow.answer, ReplyRow.origin).order_by(ReplyRow.id)).all()
    assert found == [("yes", Origin.SITTING), ("no", Origin.SITTING), ("maybe", Origin.SAMPLE)]


def test_progress_counts_what_was_said_without_what_was_skipped(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, *"abcd")
    for said in (Label.FIRST, Label.SKIPPED, Label.FIRST):
        label(session, sitting, said)
    progress = read_progress(session, sitting.id)
    assert progress.counts == {Label.FIRST: 2, Label.SKIPPED: 1}
    assert (progress.labelled, progress.useful) == (3, 2)


class TestAgreement:
    def test_nobody_else_means_no_agreement_and_no_shared_pair(self, session: Session, sitting: Sitting) -> None:
        draw(session, sitting, "tea?")
        label(session, sitting, Label.FIRST)
        assert read_rater_agreement(session, 1) is None
        assert not add_shared_pair(session, sitting)

    def test_a_pair_is_shared_once_and_without_what_was_skipped(self, session: Session, sitting: Sitting) -> None:
        draw(session, sitting, "tea?", "rain?")
        label(session, sitting, Label.FIRST)
        label(session, sitting, Label.SKIPPED)
        other = begin_sitting(session, 1, BOB)
        assert add_shared_pair(session, other)
        assert not add_shared_pair(session, other)
        pair = next_pair(session, other)
        assert (pair.prompt, pair.chosen_by) == ("tea?", PairChoice.SHARED)
        label(session, other, Label.SECOND)
        assert len(read_taste_opinions(session, 1, Settings()).choices) == 2
        found = read_rater_agreement(session, 1)
        assert (found.pairs, found.share) == (1, 0.0)

    def test_pairs_of_another_base_are_not_shared_nor_any_while_a_version_waits(
        self, session: Session, sitting: Sitting
    ) -> None:
        draw(session, sitting, "tea?", "rain?")
        for _ in range(2):
            label(session, sitting, Label.FIRST)
        other = begin_sitting(session, 1, BOB)
        assert add_shared_pair(session, other)
        version = add_version(session, None, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
        assert not add_shared_pair(session, other), "its own pairs come first"
        session.execute(update(VersionRow).where(VersionRow.id == version.id).values(verdict=GateVerdict.FAIL))
        begin_base(session, ConfiguredBase(setting="another", name="another", revision="f" * 64), by="grace")
        assert not add_shared_pair(session, other)

    def test_a_pair_from_before_the_card_was_edited_is_not_shared(self, session: Session, sitting: Sitting) -> None:
        draw(session, sitting, "tea?")
        label(session, sitting, Label.FIRST)
        edit_card(session)
        assert not add_shared_pair(session, begin_sitting(session, 1, BOB))

    def test_a_pair_from_before_many_others_is_not_searched(self, session: Session, sitting: Sitting) -> None:
        begin_base(session, ConfiguredBase(setting="one", name="one", revision=BASE_REVISION), by="grace")
        draw(session, sitting, "tea?", "rain?")
        for _ in range(2):
            label(session, sitting, Label.FIRST)
        session.execute(update(ReplyRow).where(ReplyRow.answer.like("rain?%")).values(base_revision="f" * 64))
        repeat_last_pair(session, SHARED_AMONG)
        assert not add_shared_pair(session, begin_sitting(session, 1, BOB))

    def test_kappa_is_one_where_people_agree_and_zero_at_chance(self) -> None:
        agreed = measure_agreement([("first", "first"), ("second", "second"), ("same", "same")])
        assert (agreed.pairs, agreed.share, agreed.kappa) == (3, 1.0, 1.0)
        by_chance = measure_agreement([(one, other) for one in ("first", "second") for other in ("first", "second")])
        assert (by_chance.share, by_chance.kappa) == (0.5, 0.0)

    def test_kappa_is_not_defined_if_everybody_always_says_the_same(self) -> None:
        assert measure_agreement([("first", "first")] * 5).kappa is None


def test_deleting_an_admin_deletes_their_sittings_and_choices(session: Session, personality_id: int) -> None:
    sitting = begin_sitting(session, personality_id, ALICE)
    draw(session, sitting, "tea?")
    label(session, sitting, Label.FIRST)
    delete_member(session, ALICE)
    for table in (SittingRow, SittingPairRow, ComparisonRow):
        assert session.scalars(select(table)).all() == []


# Pairs that are drawn for whoever comes next


def test_two_people_at_once_take_two_pairs(database: Database) -> None:
    with database.transaction() as session:
        personality_id = ensure_personality(session)
        draw(session, begin_sitting(session, personality_id, NOBODY), "a", "b", "c", "d")
        sittings = [begin_sitting(session, personality_id, user) for user in (ALICE, BOB)]
    taken = at_once(database, 4, lambda session, number: take_spare(session, sittings[number % 2]))
    with database.snapshot() as session:
        assert taken == [True] * 4
        assert [count_drawn_ahead(session, sitting.id) for sitting in sittings] == [2, 2]


def test_nobody_gets_a_prompt_twice(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "a")
    label(session, sitting, Label.FIRST)
    end_sitting(session, sitting.id)
    again = begin_sitting(session, 1, OPERATOR)
    draw(session, begin_sitting(session, 1, NOBODY), "a", "b")
    assert take_spare(session, again)
    assert not take_spare(session, again)
    assert asked_prompts(session, again) == {"a", "b"}
    assert next_pair(session, again).prompt == "b"


def test_pairs_that_no_longer_ask_what_matters_are_dropped(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "a")
    label(session, sitting, Label.FIRST)
    draw(session, sitting, "b", "c")
    drop_outdated(session, sitting)
    assert count_drawn_ahead(session, sitting.id) == 2
    add_version(session, None, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
    drop_outdated(session, sitting)
    assert count_drawn_ahead(session, sitting.id) == 0, "they are from before it waits"
    assert read_progress(session, sitting.id).labelled == 1
    draw(session, sitting, "d")
    drop_outdated(session, sitting)
    assert count_drawn_ahead(session, sitting.id) == 1
    begin_base(session, ConfiguredBase(setting="another", name="another", revision="f" * 64), by="grace")
    assert next_pair(session, sitting) is None, "another base gave the answers"
    drop_outdated(session, sitting)
    assert count_drawn_ahead(session, sitting.id) == 0


def test_a_person_who_saw_an_outdated_pair_never_gets_its_prompt_again(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "a")
    choice = label(session, sitting, Label.FIRST)
    draw(session, sitting, "b")
    assert next_pair(session, sitting) is not None, "the person sees it"
    edit_card(session)
    drop_outdated(session, sitting)
    draw(session, begin_sitting(session, 1, NOBODY), "b")
    assert not take_spare(session, sitting)
    assert asked_prompts(session, sitting) == {"a", "b"}
    progress = read_progress(session, sitting.id)
    assert (progress.labelled, progress.counts) == (1, {Label.FIRST: 1}), "the person skipped none"
    undo_label(session, sitting)
    assert session.get_one(SittingPairRow, choice).label is None


def test_outdated_pairs_that_nobody_saw_leave_their_prompts_free(session: Session, sitting: Sitting) -> None:
    spares = begin_sitting(session, 1, NOBODY)
    draw(session, spares, "a")
    edit_card(session)
    drop_outdated(session, spares)
    assert asked_prompts(session, spares) == set()


def test_answers_from_before_the_card_was_edited_are_not_compared(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "a")
    edit_card(session)
    draw(session, sitting, "b")
    assert next_pair(session, sitting).prompt == "b"
    drop_outdated(session, sitting)
    assert count_drawn_ahead(session, sitting.id) == 1


def test_answers_that_were_drawn_while_the_card_was_edited_are_dropped(session: Session, sitting: Sitting) -> None:
    before = card_of(session)
    edit_card(session)
    add_pair(session, sitting, "a", (answer("yes"), answer("no")), card=before, chosen_by=PairChoice.CHANCE)
    assert count_drawn_ahead(session, sitting.id) == 0


def test_a_clock_that_was_set_back_loses_no_pair_of_the_waiting_version(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "a")
    version = add_version(session, None, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
    pair = session.scalars(select(SittingPairRow)).one()
    session.execute(update(ReplyRow).where(ReplyRow.id == pair.second_id).values(version_id=version.id))
    session.execute(update(ReplyRow).values(created_at=utc_now() - timedelta(hours=3)))
    assert next_pair(session, sitting) is not None
    drop_outdated(session, sitting)
    assert label(session, sitting, Label.SECOND) == pair.id
    assert len(read_contest(session, 1, Settings().votes).members.bets) == 1


def test_what_was_chosen_of_one_base_teaches_and_is_no_verdict_on_another(session: Session, sitting: Sitting) -> None:
    begin_base(session, ConfiguredBase(setting="tiny", name="tiny", revision=BASE_REVISION), by="grace")
    version = add_version(session, None, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
    draw(session, sitting, "a")
    session.execute(update(ReplyRow).where(ReplyRow.answer == "a no").values(version_id=version.id))
    label(session, sitting, Label.SECOND)
    begin_base(session, ConfiguredBase(setting="another", name="another", revision="f" * 64), by="grace")
    assert read_contest(session, 1, Settings().votes) is None
    assert len(read_taste_opinions(session, 1, Settings()).choices) == 1
    begin_base(session, ConfiguredBase(setting="tiny", name="tiny", revision=BASE_REVISION), by="grace")
    assert read_contest(session, 1, Settings().votes).members.wins == 1, "it waits again, with what was chosen"


def test_about_the_same_is_a_choice_without_thumbs(session: Session, sitting: Sitting) -> None:
    draw(session, sitting, "a")
    label(session, sitting, Label.SAME)
    (chosen,) = session.scalars(select(ComparisonRow))
    assert (chosen.better_id, chosen.by_admin) == (None, False)
    assert votes_on(session, chosen.first_id) == {}
