"""What `/taste` shows of the taste: shares, examples, and what is not known."""

from __future__ import annotations

from dataclasses import replace

from bot.text.taste import SWITCHED_OFF, describe_finding, describe_now, taste_text
from storage.database.enums import Basis, Origin
from storage.insights.taste_report import read_answering_now, read_taste_report
from storage.releases.bases import ConfiguredBase, record_base
from storage.settings.sections import GenerationSettings, PrivacySettings, Settings
from storage.taste.acting import switch_taste
from storage.taste.likings import Sureness
from storage.votes.votes import FeedbackCounts, Vote
from tests.past import add_arena, add_version, lead
from tests.seeding import ALICE, BASE_REVISION, BOB, CAROL, add_reply, add_taste, vote
from tests.storage.taste.test_orders import END, try_order

SETTINGS = Settings()
UP, DOWN = Vote.UP, Vote.DOWN


def test_nothing_is_known_before_the_first_vote(session, personality_id):
    add_reply(session)
    report = read_taste_report(session, personality_id, SETTINGS)
    assert report.is_empty
    assert (report.since, report.now.chooses) == (None, False)
    assert (report.effects, report.liked, report.disliked, report.open_questions) == ((), (), (), ())


def test_nothing_is_read_when_learning_is_switched_off(session, personality_id):
    add_taste(session, 9)
    off = Settings(privacy=PrivacySettings(learn_from_reactions=False))
    report = read_taste_report(session, personality_id, off)
    assert (report.is_learning, report.is_empty, describe_finding(report)) == (False, True, SWITCHED_OFF)
    assert (report.liked, report.disliked) == ((), ())


def test_effects_are_shares_around_that_of_an_average_answer(session, personality_id):
    add_taste(session, 60)
    report = read_taste_report(session, personality_id, SETTINGS)
    assert report.counts == FeedbackCounts(votes=60, people=3)
    assert report.since is not None
    asking = next(effect for effect in report.effects if effect.name == "question at the end")
    assert (asking.words, asking.sureness) == ("a question at the end", Sureness.SURE)
    assert asking.share_before < 0.2  # few answers end with a question
    for effect in report.effects:
        assert 0 < effect.share_before < effect.share_after < 1
        assert effect.share_low < effect.share_after < effect.share_high
    assert {effect.share_before for effect in report.effects} == {asking.share_before}


def test_without_other_answers_to_choose_from_it_is_not_used(session, personality_id):
    add_taste(session, 40)
    assert read_taste_report(session, personality_id, SETTINGS).now.chooses
    single = Settings(generation=GenerationSettings(candidates=1))
    report = read_taste_report(session, personality_id, single)
    assert (report.now.chooses, report.chooses) == (False, False)


def test_examples_are_answers_whose_votes_agree_with_the_taste(session, personality_id):
    add_taste(session, 40)
    split = add_reply(session, answer="No.")
    vote(session, split, ALICE, UP)
    vote(session, split, BOB, DOWN)
    report = read_taste_report(session, personality_id, SETTINGS)
    assert len(report.liked) == len(report.disliked) == 2
    assert all(answer.endswith("?") for answer in report.liked)
    assert not any(answer.endswith("?") for answer in report.disliked)
    assert "No." not in report.liked + report.disliked


def test_an_answer_is_never_an_example_of_both(session, personality_id):
    for user, value in ((ALICE, UP), (BOB, DOWN)):
        vote(session, add_reply(session, answer="Hi."), user, value)
    report = read_taste_report(session, personality_id, SETTINGS)
    assert (report.liked, report.disliked) == (("Hi.",), ())


def test_choices_alone_count_from_even(session, personality_id):
    for i in range(30):
        said = (f"Yes {i}.", "And more. " * 9)
        replies = [add_reply(session, answer=answer, origin=Origin.ARENA) for answer in said]
        add_arena(session, replies, prompt=str(i))
        vote(session, replies[0], CAROL, UP)
    report = read_taste_report(session, personality_id, SETTINGS)
    assert (report.counts.votes, report.counts.choices) == (0, 30)
    assert report.effects[0].share_before == 0.5
    assert (len(report.liked), report.disliked) == (2, ())


def test_the_examples_that_the_base_follows_are_told_until_a_version_answers(session, personality_id):
    add_taste(session, 60)
    liked = "What kind of tea do you like best?"
    add_reply(session, prompt="I like tea.", answer=liked, origin=Origin.SAMPLE, basis=Basis.PROMPT_BANK)
    report = read_taste_report(session, personality_id, SETTINGS)
    assert report.now.liked == (liked,)
    now = "I follow 1 example that I wrote myself, in the style that members like."
    for shown in (report, replace(report, now=replace(report.now, follows_card=True, order="Be brief."))):
        said, quoted = taste_text(shown).splitlines()[-3:-1]
        assert (said.endswith(now), quoted) == (True, f"✏️ “{liked}”")
    lead(session, add_version(session, None))
    assert read_taste_report(session, personality_id, SETTINGS).now.liked == ()


def test_a_taste_that_is_switched_off_is_told_but_nothing_follows_it(session, personality_id):
    add_taste(session, 60)
    liked = "What kind of tea do you like best?"
    add_reply(session, prompt="I like tea.", answer=liked, origin=Origin.SAMPLE, basis=Basis.PROMPT_BANK)
    assert read_answering_now(session, personality_id, SETTINGS).in_short == (
        "base (has no version yet, but follows what members like)"
    )
    switch_taste(session, personality_id, on=False)
    report = read_taste_report(session, personality_id, SETTINGS)
    assert report.effects
    assert (report.now.taste_acts, report.teaches) == (False, False)
    assert report.now.in_short == "base (set not to follow what members like)"
    text = taste_text(report)
    assert "I don't use it: an admin has switched it off." in text
    assert "An admin has decided that answers, examples and rounds don't follow what members like." in text
    assert "not learned" not in text


def test_the_order_that_the_base_follows_is_told_until_a_version_answers(session, personality_id):
    add_taste(session, 60)
    try_order(session)
    record_base(session, ConfiguredBase(setting="x", name="x", revision=BASE_REVISION), "start")
    report = read_taste_report(session, personality_id, SETTINGS)
    assert report.now.order == END
    told = f"I follow one order, because it brings what members like: “{END}”"
    assert told in taste_text(report)
    assert told in describe_now(read_answering_now(session, personality_id, SETTINGS))
    lead(session, add_version(session, None))
    assert read_taste_report(session, personality_id, SETTINGS).now.order == ""
