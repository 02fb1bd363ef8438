"""What is learned from a personality's rows, and how well it predicts votes that it has not seen."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy import Delete, Update, delete, select, update
from sqlalchemy.orm import Session

from storage.conversations.replies import FinishedReply, finish_reply
from storage.database.enums import Label, Outcome
from storage.database.tables import ReplyMeasuresRow, ReplyRow, VoteEventRow
from storage.members import Pseudonym
from storage.privacy.consent import withdraw_consent
from storage.privacy.erasure import delete_member
from storage.settings.sections import Settings
from storage.sittings.sittings import choose_two
from storage.style import FARTHEST, MEASURES, REVISION, measure_style, pack_numbers, unpack_numbers
from storage.taste.learning import (
    UNJUDGED,
    LearnedTaste,
    TasteData,
    arrange,
    learn,
    learn_more,
    learn_taste,
    read_taste_data,
    style_of,
)
from storage.taste.opinions import Opinion, Preference, read_taste_opinions
from storage.votes.arenas import PickGesture, pick, read_arena_answers
from storage.votes.votes import Vote
from tests.seeding import ALICE, BOB, CAROL, account, add_correction, add_reply, vote
from tests.storage.votes.test_arenas import opened
from tests.storage.votes.test_weights import NO_RULES, NOON, vote_at

EVERYONE = Settings(votes=NO_RULES)
WORDS = ("river", "stone", "light", "bread", "winter", "garden", "paper", "window", "music", "summer", "cloud")
SHORT, LONG = "Bread and music. Yes.", "River stone light bread. Winter garden paper window music! " * 4
MOST_WORDS = 12
TasteOf = Callable[[str], float]
"""Returns how likely a member likes the answer."""


def compose(rng: random.Random) -> str:
    """Return an answer of 3 to 48 words, in few or many sentences, which are short or long."""
    sentences, words = rng.choice((1, 2, 4)), rng.choice((3, 6, 12))
    return " ".join(" ".join(rng.choices(WORDS, k=words)).capitalize() + rng.choice(".!?") for _ in range(sentences))


def brief(answer: str) -> float:
    return 0.95 if len(answer.split()) <= MOST_WORDS else 0.1


def polite(answer: str) -> float:
    return 0.75


def votes_by(taste: TasteOf, count: int, seed: int = 0, members: int = 8) -> tuple[list[Opinion], list[str]]:
    """Return votes on as many answers, a minute apart, and the answers; the id of a reply is its place."""
    rng = random.Random(seed)
    answers = [compose(rng) for _ in range(count)]
    opinions = [
        Opinion(i, Pseudonym(1 + rng.randrange(members)), rng.random() < taste(answer), 1.0, later(i))
        for i, answer in enumerate(answers)
    ]
    return opinions, answers


def of_words(number: int, rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=number)).capitalize() + "."


def of_middle_length(count: int) -> LearnedTaste:
    """Return a taste learned from so many votes; of answers of any length, those of 31 to 60 words are liked."""
    rng = random.Random(4)
    answers = [of_words(round(math.exp(rng.uniform(1.6, 5))), rng) for _ in range(count)]
    votes = [
        Opinion(
            i, Pseudonym(1 + i % 8), rng.random() < (0.95 if 31 <= len(answer.split()) <= 60 else 0.1), 1.0, later(i)
        )
        for i, answer in enumerate(answers)
    ]
    return learned(votes, answers)


def choices_by(taste: TasteOf, count: int, seed: int = 0, size: int = 3) -> tuple[list[Preference], list[str]]:
    """Return choices among so many answers each, a minute apart, and the answers."""
    rng = random.Random(seed)
    answers = [compose(rng) for _ in range(count * size)]
    choices = []
    for i in range(count):
        ids = tuple(range(i * size, (i + 1) * size))
        (chosen,) = rng.choices(ids, [taste(answers[reply_id]) for reply_id in ids])
        choices.append(Preference(ids, chosen, Pseudonym(1), 1.0, later(i)))
    return choices, answers


def later(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def learned(votes: Sequence[Opinion | Preference], answers: Sequence[str]) -> LearnedTaste:
    return learn(arrange(votes, measures_of(answers)))


def measures_of(answers: Sequence[str]) -> dict[int, NDArray[Any]]:
    return {place: np.array(measure_style(answer)) for place, answer in enumerate(answers)}


def equal(first: TasteData, second: TasteData) -> bool:
    """Return whether both hold the same votes in the same order."""
    sides = [[one.order, one.names, *vars(one.thumbs).values(), *vars(one.choices).values()] for one in (first, second)]
    return all(np.array_equal(a, b) for a, b in zip(*sides, strict=True))


def answer_and_vote(session: Session, answers: Sequence[str], user_id: int, value: Vote, at: int) -> list[int]:
    """Add the answers and the member's vote on each, a minute apart; return the replies."""
    reply_ids = [add_reply(session, prompt=f"{answer}?", answer=answer) for answer in answers]
    for i, reply_id in enumerate(reply_ids):
        vote_at(session, reply_id, user_id, value, later(at + i))
    return reply_ids


# Measures are stored with the answer


def test_a_finished_answer_is_measured(session: Session) -> None:
    reply_id = add_reply(session, answer="Yes!\0 I do.")
    row = session.get_one(ReplyMeasuresRow, reply_id)
    assert row.revision == REVISION
    assert unpack_numbers(row.numbers) == pytest.approx(measure_style("Yes! I do."), rel=1e-6)


def test_an_answer_that_is_finished_again_is_measured_again(session: Session) -> None:
    reply_id = add_reply(session, answer=LONG)
    finish_reply(session, reply_id, FinishedReply(SHORT, Outcome.LENGTH))
    session.flush()
    numbers = session.scalars(select(ReplyMeasuresRow.numbers)).one()
    assert unpack_numbers(numbers) == pytest.approx(measure_style(SHORT), rel=1e-6)


@pytest.mark.parametrize(("answer", "outcome"), [("It is", Outcome.INTERRUPTED), ("", Outcome.COMPLETE)])
def test_a_broken_or_empty_answer_is_not_measured(session: Session, answer: str, outcome: Outcome) -> None:
    assert session.get(ReplyMeasuresRow, add_reply(session, answer=answer, outcome=outcome)) is None


def test_measures_are_deleted_with_the_answer(session: Session) -> None:
    hers, others = add_reply(session, speakers=[ALICE]), add_reply(session, speakers=[CAROL])
    delete_member(session, ALICE)
    session.expire_all()
    assert session.get(ReplyRow, hers) is None
    assert session.scalars(select(ReplyMeasuresRow.reply_id)).all() == [others]


DAMAGED = [b"", b"torn", pack_numbers([1.0]), pack_numbers([float("nan")] * len(MEASURES))]
OLDER = update(ReplyMeasuresRow).values(revision="an older", numbers=pack_numbers([1.0] * len(MEASURES)))


@pytest.mark.parametrize(
    "change",
    [OLDER, delete(ReplyMeasuresRow), *(update(ReplyMeasuresRow).values(numbers=numbers) for numbers in DAMAGED)],
    ids=["by another set", "not at all", *map(repr, DAMAGED)],
)
def test_answers_without_sound_measures_of_this_release_are_measured_again(
    session: Session, personality_id: int, change: Update | Delete
) -> None:
    answer_and_vote(session, [SHORT, LONG], BOB, Vote.UP, 0)
    session.execute(change)
    found = read_taste_data(session, read_taste_opinions(session, personality_id, EVERYONE))
    assert found.thumbs.x == pytest.approx(style_of([SHORT, LONG]))


def test_stored_measures_are_used(session: Session, personality_id: int) -> None:
    answer_and_vote(session, [SHORT, LONG], BOB, Vote.UP, 0)
    session.execute(update(ReplyRow).values(answer=""))
    found = read_taste_data(session, read_taste_opinions(session, personality_id, EVERYONE))
    assert found.thumbs.x == pytest.approx(style_of([SHORT, LONG]), abs=1e-5)


def test_votes_and_choices_on_answers_without_text_are_left_out(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id, ["tea", ""])
    pick(session, arena.id, BOB, 1, PickGesture.PRESSED)
    answer_and_vote(session, [SHORT, ""], BOB, Vote.UP, 0)
    found = read_taste_data(session, read_taste_opinions(session, personality_id, EVERYONE))
    assert (len(found), len(found.thumbs.x), len(found.choices.starts)) == (1, 1, 0)


# The votes in order


def test_votes_and_choices_are_in_the_order_of_time(session: Session, personality_id: int) -> None:
    arena = opened(session, personality_id, ["tea", "coffee", "both"])
    pick(session, arena.id, BOB, 2, PickGesture.PRESSED)
    session.execute(update(VoteEventRow).values(created_at=later(5)))
    answer_and_vote(session, [LONG], CAROL, Vote.DOWN, 9)
    answer_and_vote(session, [SHORT], BOB, Vote.UP, 1)
    found = read_taste_data(session, read_taste_opinions(session, personality_id, EVERYONE))
    assert found.order.tolist() == [True, False, True]
    assert (found.thumbs.liked.tolist(), found.thumbs.voter.tolist(), found.voters) == ([1, 0], [0, 1], 2)
    assert found.thumbs.x == pytest.approx(style_of([SHORT, LONG]), abs=1e-5)
    assert found.choices.share.tolist() == [0, 1, 0]
    texts = [answer.text for answer in read_arena_answers(session, arena.id)]
    assert found.choices.x == pytest.approx(style_of(texts), abs=1e-5)


POOL = [compose(random.Random(seed)) for seed in range(30)]
POOL_MEASURES = measures_of(POOL)
some_replies = st.integers(0, len(POOL) - 1)
some_opinions = st.builds(
    Opinion,
    some_replies,
    st.integers(1, 3).map(Pseudonym),
    st.booleans(),
    st.sampled_from([0.3, 1.0]),
    st.just(NOON),
)
some_choices = st.lists(some_replies, min_size=2, max_size=4, unique=True).map(
    lambda ids: Preference(tuple(ids), ids[0], Pseudonym(1), 1.0, NOON)
)


@given(votes=st.lists(some_opinions | some_choices, max_size=12), data=st.data())
def test_what_came_before_and_what_comes_are_the_parts_of_the_whole(
    votes: list[Opinion | Preference], data: st.DataObject
) -> None:
    whole = arrange(votes, POOL_MEASURES)
    cut = data.draw(st.integers(0, len(votes)))
    end = data.draw(st.integers(cut, len(votes)))
    assert len(whole) == len(votes)
    assert equal(whole.between(0, len(votes)), whole)
    for part, of_part in ((whole.between(0, cut), votes[:cut]), (whole.between(cut, end), votes[cut:end])):
        alone = arrange(of_part, POOL_MEASURES)
        voters = list(dict.fromkeys(one.voter for one in votes if isinstance(one, Opinion)))
        places = [voters.index(one.voter) for one in of_part if isinstance(one, Opinion)]
        assert equal(part, replace(alone, thumbs=replace(alone.thumbs, voter=places), names=whole.names))


@pytest.fixture
def replies(session: Session) -> list[int]:
    return [add_reply(session, prompt=f"{answer}?", answer=answer) for answer in POOL[:9]]


SAID = [
    (place, user_id, Vote.UP if (place + user_id) % 3 else Vote.DOWN, later(place % 2))
    for place in range(9)
    for user_id in (ALICE, BOB, CAROL)
]


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(said=st.permutations(SAID))
def test_the_order_in_which_votes_were_stored_does_not_matter(
    session: Session, personality_id: int, replies: list[int], said: list[tuple[int, int, Vote, datetime]]
) -> None:
    found = []
    for votes in (SAID, said):
        session.execute(delete(VoteEventRow))
        for place, user_id, value, at in votes:
            vote_at(session, replies[place], user_id, value, at)
        found.append(learn_taste(session, personality_id, EVERYONE))
    one, other = found
    assert len(one.data) == len(SAID) > UNJUDGED
    assert equal(one.data, other.data)
    assert one.e_value == other.e_value
    assert (one.posterior.mean == other.posterior.mean).all()


# What is learned


def test_a_personality_without_votes_has_no_taste(session: Session, personality_id: int) -> None:
    add_reply(session)
    taste = learn_taste(session, personality_id, EVERYONE)
    assert (len(taste.data), taste.e_value, taste.may_choose, taste.may_teach) == (0, 1.0, False, False)
    assert taste.score([SHORT, LONG]).tolist() == [0.0, 0.0]
    assert taste.score([]).shape == (0,)


@pytest.mark.parametrize("seed", range(3))
def test_a_clear_taste_is_learned_and_ranks_answers_that_nobody_has_seen(seed: int) -> None:
    taste = learned(*votes_by(brief, 80, seed))
    assert taste.e_value > 20
    assert taste.may_teach
    unseen = [compose(random.Random(seed + 1_000 + i)) for i in range(200)]
    score = taste.score(unseen)
    is_brief = np.array([brief(answer) > 0.5 for answer in unseen])
    assert (score[is_brief][:, None] > score[~is_brief]).mean() > 0.9


def test_choices_alone_teach_a_taste_too() -> None:
    taste = learned(*choices_by(brief, 60))
    assert taste.e_value > 20
    short, long = taste.score([SHORT, LONG])
    assert short > long
    assert taste.data.voters == 0


def test_votes_of_members_teach_a_taste(session: Session, personality_id: int) -> None:
    rng = random.Random(5)
    for i in range(40):
        answer = compose(rng)
        value = Vote.UP if brief(answer) > 0.5 else Vote.DOWN
        answer_and_vote(session, [answer], (ALICE, BOB, CAROL)[i % 3], value, i)
    taste = learn_taste(session, personality_id, EVERYONE)
    assert taste.e_value > 1
    short, long = taste.score([SHORT, LONG])
    assert short > long


def test_the_first_votes_are_learned_but_not_judged() -> None:
    votes, answers = votes_by(brief, UNJUDGED + 1)
    for count, chooses, teaches in ((9, False, False), (10, True, False), (19, True, False), (20, True, True)):
        taste = learned(votes[:count], answers)
        assert (taste.e_value, taste.may_choose, taste.may_teach) == (1.0, chooses, teaches)
    assert learned(votes, answers).e_value != 1.0


SEEDS = 30


@cache
def learned_in_vain(taste: TasteOf) -> list[LearnedTaste]:
    """Return what is learned from sixty votes that do not depend on the answers, on many servers."""
    return [learned(*votes_by(taste, 60, seed)) for seed in range(SEEDS)]


@pytest.mark.parametrize("taste", [polite, lambda _: 0.5], ids=["most like it", "half like it"])
def test_votes_without_a_taste_rarely_look_like_one(taste: TasteOf) -> None:
    found = np.array([one.e_value for one in learned_in_vain(taste)])
    # Ville's inequality: an e-value of at least 20 has a probability of at most 1/20.
    assert (found >= 20).mean() <= 0.05 + 2 * sqrt(0.05 * 0.95 / SEEDS)
    assert np.median(found) < 1.2


def test_choices_without_a_taste_rarely_look_like_one() -> None:
    found = np.array([learned(*choices_by(polite, 60, seed)).e_value for seed in range(SEEDS)])
    assert (found >= 20).mean() <= 0.05 + 2 * sqrt(0.05 * 0.95 / SEEDS)
    assert np.median(found) < 1.2


@pytest.mark.parametrize("seed", range(3))
def test_a_taste_that_keeps_changing_shows_no_evidence(seed: int) -> None:
    votes, answers = votes_by(brief, 120, seed)
    turned = [one._replace(liked=(brief(answers[i]) > 0.5) is (i // 30 % 2 == 0)) for i, one in enumerate(votes)]
    taste = learned(turned, answers)
    assert 0 < taste.e_value < 1
    assert "I can't tell yet" in taste.why_unsure if not taste.may_teach else taste.bettor.is_clear


@pytest.mark.threat("T48")
def test_a_refuted_taste_does_nothing_until_it_predicts_as_well_as_the_share_of_likes_again() -> None:
    votes, answers = votes_by(brief, 80)
    measures = measures_of(answers)
    taste = learned(votes[:60], answers)
    for capital, chooses in ((0.06, True), (0.03, False), (0.4, False), (1.2, True), (0.4, True)):
        told = replace(
            taste, bettor=replace(taste.bettor, log_capitals=np.full(4, np.log(capital)), fits_at=taste.bettor.seen)
        )
        taste = learn_more(told, [], measures)
        assert taste.may_choose is chooses
        assert taste.may_teach is chooses
        assert (
            chooses
            or taste.why_unsure
            == "I guess votes worse than always guessing the average, so training uses only members' own comparisons"
        )


def test_a_taste_that_is_no_worse_than_chance_goes_on_to_choose() -> None:
    tastes = learned_in_vain(polite)
    assert min(taste.e_value for taste in tastes) < 1
    assert all(taste.may_choose for taste in tastes)


@pytest.mark.parametrize("count", [40, 80, 160])
@pytest.mark.threat("T48")
def test_votes_without_a_taste_rarely_teach(count: int) -> None:
    tastes = [learned(*votes_by(polite, count, seed)) for seed in range(SEEDS)]
    assert sum(taste.may_teach for taste in tastes) <= 0.2 * SEEDS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_adding_votes_does_not_switch_it_on_and_off_again(seed: int) -> None:
    """It is decided when the models are fitted again, and needs more to change back: a vote in between changes nothing.

    Learned vote by vote or all at once, from the rows after a restart, it decides the same.
    """
    votes, answers = votes_by(lambda answer: 0.5 + 0.4 * brief(answer), 160, seed)
    measures = measures_of(answers)
    grown, acts = learned(votes[:19], answers), []
    for count in range(20, len(votes) + 1):
        fits_before = grown.bettor.fits_at
        before, grown = grown, learn_more(grown, votes[count - 1 : count], measures)
        again = learned(votes[:count], answers)
        assert (grown.may_choose, grown.may_teach) == (again.may_choose, again.may_teach)
        assert grown.bettor.fits_at > fits_before or grown.may_teach == before.may_teach
        acts.append(grown.may_teach)
    assert sum(now != before for before, now in itertools.pairwise(acts)) <= 2
    assert acts[-1]


@pytest.mark.parametrize("liked", [True, False])
def test_votes_that_are_all_alike_show_no_taste(liked: bool) -> None:
    taste = learned(*votes_by(lambda _: float(liked), 60))
    assert 0 < taste.e_value < 1.2
    assert np.isfinite(taste.posterior.mean).all()


def test_many_votes_on_one_answer_give_finite_numbers() -> None:
    votes = [Opinion(0, Pseudonym(1 + i % 7), i % 3 > 0, 1.0, later(i)) for i in range(400)]
    taste = learned(votes, [SHORT])
    assert np.isfinite([taste.e_value, *taste.score([SHORT, LONG])]).all()


def test_one_voter_alone_teaches_a_taste() -> None:
    taste = learned(*votes_by(brief, 80, members=1))
    assert taste.may_teach
    short, long = taste.score([SHORT, LONG])
    assert short > long


@pytest.mark.parametrize("seed", range(3))
def test_voters_who_contradict_each_other_teach_nothing(seed: int) -> None:
    votes, answers = votes_by(brief, 60, seed)
    opposite = [
        one._replace(
            voter=Pseudonym(100 + one.voter), liked=not one.liked, given_at=one.given_at + timedelta(seconds=1)
        )
        for one in votes
    ]
    taste = learned([vote for both in zip(votes, opposite, strict=True) for vote in both], answers)
    assert 0 < taste.e_value < 20
    assert np.abs(taste.posterior.mean).max() < 0.05


def by_one_button(always: Label, seed: int) -> LearnedTaste:
    """Return a taste learned from sixty pairs in each of which somebody presses the same button."""
    rng = random.Random(seed)
    answers = [compose(rng) for _ in range(120)]
    choices = []
    for number in range(0, len(answers), 2):
        (first, second), _ = choose_two(answers[number : number + 2], None, rng)
        ids = number + first, number + second
        chosen = ids[0] if always is Label.FIRST else None
        choices.append(Preference(ids, chosen, Pseudonym(1), 1.0, later(number)))
    return learned(choices, answers)


@pytest.mark.parametrize("seed", range(3))
def test_ten_decided_choices_let_a_round_rank_before_the_taste_is_clear(seed: int) -> None:
    choices, answers = choices_by(brief, 12, seed, size=2)
    taste = learned(choices, answers)
    assert (taste.may_teach, taste.may_rank) == (False, True)
    mostly_the_same = [*choices[:9], *(one._replace(chosen=None) for one in choices[9:])]
    assert not learned(mostly_the_same, answers).may_rank


@pytest.mark.threat("T50")
def test_whoever_always_presses_one_button_teaches_nothing() -> None:
    """Which answer stands left is chosen by chance, so "always left" is a coin."""
    assert sum(by_one_button(Label.FIRST, seed).may_teach for seed in range(SEEDS)) <= 0.2 * SEEDS
    assert not any(by_one_button(Label.SAME, seed).may_teach for seed in range(SEEDS))


@pytest.mark.parametrize("seed", range(3))
def test_two_who_always_choose_the_opposite_teach_nothing(seed: int) -> None:
    choices, answers = choices_by(brief, 60, seed, size=2)
    opposite = [
        one._replace(
            voter=Pseudonym(2),
            chosen=next(reply_id for reply_id in one.reply_ids if reply_id != one.chosen),
            given_at=one.given_at + timedelta(seconds=1),
        )
        for one in choices
    ]
    taste = learned([one for both in zip(choices, opposite, strict=True) for one in both], answers)
    assert not taste.may_teach
    assert np.abs(taste.posterior.mean).max() < 0.05


def test_ten_thousand_votes_on_identical_answers_say_nothing_and_give_finite_numbers() -> None:
    measured = np.array(measure_style(SHORT))
    votes = [Opinion(i, Pseudonym(1 + i % 50), i % 4 > 0, 1.0, later(i)) for i in range(10_000)]
    taste = learn(arrange(votes, dict.fromkeys(range(10_000), measured)))
    assert np.isfinite([taste.e_value, *taste.score([SHORT, LONG])]).all()
    assert taste.e_value < 20


def test_votes_from_before_their_account_was_made_and_from_the_future_do_no_harm(
    session: Session, personality_id: int
) -> None:
    answer_and_vote(session, POOL[:3], account(1), Vote.UP, -60 * 24 * 365)
    answer_and_vote(session, POOL[3:6], BOB, Vote.DOWN, 60 * 24 * 365 * 50)
    taste = learn_taste(session, personality_id, Settings())
    assert taste.data.thumbs.liked.tolist() == [0.0] * 3
    assert np.isfinite([taste.e_value, *taste.score(POOL)]).all()


def test_after_an_opt_out_the_taste_is_as_if_the_member_had_never_voted(session: Session, personality_id: int) -> None:
    liked = answer_and_vote(session, POOL[:15], BOB, Vote.UP, 0)
    disliked = answer_and_vote(session, POOL[15:26], CAROL, Vote.DOWN, 10)
    without = learn_taste(session, personality_id, EVERYONE)
    answer_and_vote(session, POOL[26:], ALICE, Vote.UP, 5)
    vote(session, liked[0], ALICE, Vote.DOWN)
    add_correction(session, disliked[0], "better", author_id=ALICE)
    assert len(learn_taste(session, personality_id, EVERYONE).data) == len(without.data) + 6
    withdraw_consent(session, ALICE)
    after = learn_taste(session, personality_id, EVERYONE)
    assert equal(after.data, without.data)
    assert after.e_value == without.e_value != 1.0
    assert (after.posterior.mean == without.posterior.mean).all()


def test_weaker_signs_move_the_taste_less() -> None:
    votes, answers = votes_by(brief, 30)
    lighter = [one._replace(weight=0.3) for one in votes]
    full, light = (learned(some, answers).score([SHORT, LONG]) for some in (votes, lighter))
    assert full[0] - full[1] > light[0] - light[1] > 0


def test_emoji_that_count_as_several_thumbs_move_the_taste_more_and_can_lose_no_more_than_all() -> None:
    votes, answers = votes_by(brief, 120)
    turned = [one._replace(liked=(brief(answers[i]) > 0.5) is (i // 30 % 2 == 0)) for i, one in enumerate(votes)]
    for said in (votes, turned):
        thumb, heart = (learned([one._replace(weight=weight) for one in said], answers) for weight in (1.0, 3.0))
        assert np.isfinite(heart.e_value)
        if said is votes:
            short, long = heart.score([SHORT, LONG]) - thumb.score([SHORT, LONG])
            assert short > long


def test_an_absurd_answer_counts_no_more_than_a_far_one() -> None:
    style = style_of(["!" * 2_000, SHORT])
    assert style.shape == (2, len(MEASURES))
    assert np.abs(style).max() == FARTHEST


def test_a_taste_for_a_middle_length_is_learned_from_forty_votes() -> None:
    """No straight line rises and falls again: bands of length can."""
    rng, taste = random.Random(5), of_middle_length(40)
    lengths = [words for words in (10, 45, 100) for _ in range(20)]
    shorter, middle, longer = np.array_split(taste.score([of_words(words, rng) for words in lengths]), 3)
    assert middle.min() > max(shorter.max(), longer.max())


def test_a_draft_that_goes_on_counts_as_long_as_such_answers_become() -> None:
    """Of answers that go on after twenty words, a third end at 31 to 60."""
    begun = of_words(20, random.Random(6))
    goes_on, ends = of_middle_length(40).score_begun([(begun, False), (begun, True)])
    assert goes_on > ends
