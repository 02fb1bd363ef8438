"""What the answers that members liked look like, and when other answers go beyond them."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy.orm import Session

from storage.settings.sections import PrivacySettings, Settings
from storage.style import MEASURES, measure_style
from storage.taste.liked import Excess, LikedStyle, find_excesses, liked_style, read_liked_style
from storage.taste.opinions import read_taste_opinions
from storage.votes.comparisons import Better, compare
from storage.votes.votes import Vote
from tests.seeding import ALICE, BOB, CAROL, add_reply, vote
from tests.storage.votes.test_weights import NO_RULES

EVERYONE = Settings(votes=NO_RULES)
ASKS, TELLS = "We like tea. Do you like it?", "Do you like it? We like tea."
NAMES = [measure.name for measure in MEASURES]


def style_of_liked(*answers: str) -> LikedStyle:
    return liked_style(np.array([measure_style(answer) for answer in answers]), np.ones(len(answers)))


def of_words(number: int) -> str:
    return " ".join(["tea"] * (number - 1) + ["now."])


def excess(name: str, answers: list[str], base: list[str], liked: LikedStyle) -> Excess:
    return next(one for one in find_excesses(answers, base, liked) if one.measure == name)


def read(session: Session, personality_id: int, settings: Settings = EVERYONE) -> LikedStyle | None:
    session.flush()
    return read_liked_style(session, read_taste_opinions(session, personality_id, settings))


def share_of_questions(style: LikedStyle | None) -> float:
    return float(style.raw_mean[NAMES.index("question at the end")])


def test_liked_are_answers_with_more_likes_than_dislikes(session: Session, personality_id: int) -> None:
    for voter in (ALICE, BOB):
        vote(session, add_reply(session, answer=ASKS), voter, Vote.UP)
    disputed = add_reply(session, answer=ASKS)
    vote(session, disputed, ALICE, Vote.UP)
    vote(session, disputed, BOB, Vote.DOWN)
    vote(session, add_reply(session, answer=TELLS), CAROL, Vote.DOWN)
    add_reply(session, answer=TELLS)
    found = read(session, personality_id)
    assert (found.answers, share_of_questions(found)) == (2, 1.0)


def test_what_was_chosen_is_liked(session: Session, personality_id: int) -> None:
    first, second = add_reply(session, answer=ASKS), add_reply(session, answer=TELLS)
    compare(session, first, second, CAROL, Better.SECOND)
    found = read(session, personality_id)
    assert (found.answers, share_of_questions(found)) == (1, 0.0)


def test_an_answer_that_more_people_like_counts_for_more(session: Session, personality_id: int) -> None:
    popular = add_reply(session, answer=ASKS)
    for voter in (ALICE, BOB, CAROL):
        vote(session, popular, voter, Vote.UP)
    vote(session, add_reply(session, answer=TELLS), 99, Vote.UP)
    assert share_of_questions(read(session, personality_id)) == pytest.approx(0.75)


def test_nothing_is_read_without_likes_or_where_reactions_may_not_teach(session: Session, personality_id: int) -> None:
    reply = add_reply(session)
    assert read(session, personality_id) is None
    vote(session, reply, BOB, Vote.UP)
    assert read(session, personality_id) is not None
    switched_off = EVERYONE.model_copy(update={"privacy": PrivacySettings(learn_from_reactions=False)})
    assert read(session, personality_id, switched_off) is None


def test_too_many_questions_are_beyond_what_polite_people_liked() -> None:
    """The base ends 18 % of its answers with a question, and so do 23 % of the liked ones; the version 81 %."""
    liked = style_of_liked(*[ASKS] * 23, *[TELLS] * 77)
    found = excess("question at the end", [ASKS] * 81 + [TELLS] * 19, [ASKS] * 18 + [TELLS] * 82, liked)
    assert found.is_above
    assert found.distance == pytest.approx((0.81 - 0.23) / 0.42, rel=0.05)
    assert (found.mean, found.mean_base, found.mean_liked) == pytest.approx((0.81, 0.18, 0.23))
    assert found.what == "a question at the end in 81% of answers (base 18%, liked answers 23%)"


def test_a_version_that_does_what_frank_people_like_is_within_their_spread() -> None:
    """A tenth of their votes is wrong: 68 % of what they like asks, if a fifth of all answers does."""
    liked = style_of_liked(*[ASKS] * 68, *[TELLS] * 32)
    assert excess("question at the end", [ASKS] * 48, [ASKS] * 9 + [TELLS] * 39, liked).distance < 0.8


@pytest.mark.parametrize(("asks", "is_beyond"), [(0, True), (20, False), (29, False), (50, True)])
def test_nothing_between_base_and_liked_answers_is_an_excess(asks: int, is_beyond: bool) -> None:
    base, liked = [ASKS] * 10 + [TELLS] * 40, style_of_liked(*[ASKS] * 60, *[TELLS] * 40)
    found = excess("question at the end", [ASKS] * asks + [TELLS] * (50 - asks), base, liked)
    assert (found.distance > 0) == is_beyond


@pytest.mark.parametrize(("words", "what"), [(8, "shorter answers"), (45, None), (120, "longer answers")])
def test_a_taste_for_a_middle_length_is_overshot_on_both_sides(words: int, what: str | None) -> None:
    liked = style_of_liked(*(of_words(number) for number in range(30, 61)))
    base = [of_words(number) for number in (20, 40, 50, 70)]
    found = excess("words", [of_words(words)] * 24, base, liked)
    assert (found.distance > 1) == (what is not None)
    if what is not None:
        assert found.what == what


def test_few_liked_answers_leave_room_for_chance() -> None:
    few, many = (style_of_liked(*[ASKS] * number, *[TELLS] * 3 * number) for number in (5, 50))
    errors = [excess("question at the end", [ASKS] * 24, [TELLS] * 24, liked).error for liked in (few, many)]
    assert errors[0] == pytest.approx(20**-0.5)
    assert errors[1] == pytest.approx(200**-0.5)


def test_what_none_of_a_few_liked_answers_shows_may_happen_now_and_then() -> None:
    """Without the spread of everyday answers, one emoji would be infinitely far."""
    liked = style_of_liked(*[TELLS] * 20)
    assert excess("any emoji", [f"{TELLS} 🍵", *[TELLS] * 47], [TELLS] * 48, liked).distance < 0.5
    assert excess("any emoji", [f"{TELLS} 🍵"] * 48, [TELLS] * 48, liked).distance > 2


def test_the_farthest_measure_comes_first() -> None:
    found = find_excesses([ASKS] * 24, [TELLS] * 24, style_of_liked(*[TELLS] * 24))
    distances = [one.distance for one in found]
    assert len(found) == len(MEASURES)
    assert distances == sorted(distances, reverse=True)
    assert (found[0].measure, found[1].distance) == ("question at the end", 0.0)
