"""What members like as one order in the base's prompt, kept only where telling brings it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.example_turns import SHOWN_AS, ShownAs, order_in, turns_of, with_order, without_examples
from storage.database.enums import Basis, Origin
from storage.database.tables import ReplyRow
from storage.personalities.cards import Card
from storage.personalities.personalities import change_card, ensure_personality, read_personality
from storage.releases.bases import ConfiguredBase, record_base
from storage.settings.sections import GenerationSettings, Settings
from storage.style import MEASURES
from storage.taste.learning import FEWEST, LearnedTaste, learn_taste
from storage.taste.orders import FEWEST_PROMPTS, MOST_TRIED, ORDERS, kept_order, orders_to_try
from storage.taste.relevance import store_relevance
from storage.taste.updating import learn_all
from tests.past import add_version
from tests.seeding import BASE_REVISION, OTHER_REVISION, add_reply, add_taste

SETTINGS = Settings()
END = "End with a question."
SYSTEM = {"role": "system", "content": "You are a keeper."}
ASKS = "It is a good day. What do you like about it?"
SAYS = ("It is a good day.", "I like it very much here, by the sea.")


def asked(number: int) -> list[dict[str, str]]:
    return [SYSTEM, {"role": "user", "content": f"Question {number}."}]


def draw(session: Session, messages: Sequence[dict[str, str]], answer: str, **more: Any) -> int:
    """Add an answer as a round draws it."""
    drawn = {"origin": Origin.SAMPLE, "basis": Basis.PROMPT_BANK, "prompt": str(messages)}
    return add_reply(session, messages=messages, answer=answer, **drawn | more)


def try_order(
    session: Session,
    told: Sequence[str] = (ASKS, ASKS),
    prompts: int = FEWEST_PROMPTS,
    base_revision: str = BASE_REVISION,
    **more: Any,
) -> None:
    """Add two answers to each prompt without the order, and these with it, which `more` is about."""
    for number in range(prompts):
        for answer in SAYS:
            draw(session, asked(number), answer, base_revision=base_revision)
        for answer in told:
            draw(session, with_order(asked(number), END), answer, base_revision=base_revision, **more)


@pytest.fixture
def taste(session: Session) -> LearnedTaste:
    """Members surely like questions."""
    add_taste(session, 60)
    return learn_taste(session, ensure_personality(session), SETTINGS)


def kept(session: Session, taste: LearnedTaste, revision: str = BASE_REVISION, examples: int = 2) -> str:
    return kept_order(session, ensure_personality(session), revision, taste, GenerationSettings(examples=examples))


def test_an_order_is_tried_for_what_people_surely_like(taste: LearnedTaste) -> None:
    orders = orders_to_try(taste, SETTINGS.generation)
    assert orders[0].text == END
    assert len(orders) <= MOST_TRIED


def test_every_order_is_one_line_about_a_measure() -> None:
    assert ORDERS.keys() <= {measure.name for measure in MEASURES}
    assert all(order == " ".join(order.split()) for both in ORDERS.values() for order in both)
    assert all(any(both) for both in ORDERS.values())


def test_an_order_that_brought_what_people_like_is_kept(session: Session, taste: LearnedTaste) -> None:
    assert kept(session, taste) == ""
    try_order(session)
    assert kept(session, taste) == END


def test_one_that_brought_nothing_is_not(session: Session, taste: LearnedTaste) -> None:
    try_order(session, told=SAYS)
    assert kept(session, taste) == ""


def test_a_difference_within_noise_is_none(session: Session, taste: LearnedTaste) -> None:
    try_order(session, told=SAYS)
    for number in (0, 1):
        draw(session, with_order(asked(number), END), ASKS)
    assert kept(session, taste) == ""


def test_a_few_prompts_say_nothing(session: Session, taste: LearnedTaste) -> None:
    try_order(session, prompts=FEWEST_PROMPTS - 1)
    assert kept(session, taste) == ""


def test_one_that_made_answers_worse_in_other_ways_is_not_kept(session: Session, taste: LearnedTaste) -> None:
    mean = taste.posterior.mean.copy()
    mean[[measure.name for measure in MEASURES].index("brackets")] = -9
    hates_brackets = replace(taste, posterior=replace(taste.posterior, mean=mean))
    assert END in [order.text for order in orders_to_try(hates_brackets, SETTINGS.generation)]
    try_order(session, told=["What do you (as you are) like about it?"] * 2)
    assert (kept(session, taste), kept(session, hates_brackets)) == (END, "")


@pytest.mark.parametrize(("relevance", "found"), [(0.1, ""), (0.5, END)])
def test_one_that_cost_sense_is_not_kept(session: Session, taste: LearnedTaste, relevance: float, found: str) -> None:
    try_order(session)
    rows = session.execute(select(ReplyRow.id, ReplyRow.messages).where(ReplyRow.origin == Origin.SAMPLE)).all()
    store_relevance(session, {id_: relevance if order_in(said) else 0.4 + 0.01 * (id_ % 3) for id_, said in rows})
    assert kept(session, taste) == found


def test_another_bases_answers_do_not_count(session: Session, taste: LearnedTaste) -> None:
    try_order(session, base_revision=OTHER_REVISION)
    assert kept(session, taste) == ""
    assert kept(session, taste, OTHER_REVISION) == END


def test_what_was_measured_under_another_system_prompt_does_not_count(session: Session, taste: LearnedTaste) -> None:
    try_order(session)
    personality = read_personality(session, ensure_personality(session))
    change_card(session, personality, Card(system_prompt="Be brief."), by="grace")
    assert kept(session, taste) == ""


def test_what_a_version_or_the_base_after_examples_said_does_not_count(session: Session, taste: LearnedTaste) -> None:
    version = add_version(session, None, personality_id=ensure_personality(session))
    try_order(session, version_id=version.id)
    for number in range(FEWEST_PROMPTS):
        shown = turns_of([("It rains.", "Do you like rain?")], ShownAs.LIKED)
        system, question = with_order(asked(number), END)
        draw(session, [system, *shown, question], ASKS)
    assert kept(session, taste) == ""


def test_it_goes_when_people_like_something_else(session: Session, taste: LearnedTaste) -> None:
    try_order(session)
    turned = replace(taste, posterior=replace(taste.posterior, mean=-taste.posterior.mean))
    assert "Do not end with a question." in [order.text for order in orders_to_try(turned, SETTINGS.generation)]
    assert kept(session, turned) == ""


def test_there_is_none_where_examples_are_switched_off(session: Session, taste: LearnedTaste) -> None:
    try_order(session)
    assert kept(session, taste, examples=0) == ""


def test_a_taste_that_may_not_act_tells_nothing(session: Session) -> None:
    add_taste(session, FEWEST - 1)
    try_order(session)
    assert kept(session, learn_taste(session, ensure_personality(session), SETTINGS)) == ""


def test_the_taste_that_the_bot_knows_has_the_order_of_the_base_in_use(session: Session, taste: LearnedTaste) -> None:
    try_order(session)
    personality_id = ensure_personality(session)
    assert learn_all(session, personality_id, SETTINGS).order == ""
    for revision, order in ((BASE_REVISION, END), (OTHER_REVISION, "")):
        record_base(session, ConfiguredBase(setting="x", name="x", revision=revision), "start")
        assert learn_all(session, personality_id, SETTINGS).order == order


@pytest.mark.parametrize(
    "messages",
    [
        asked(1),
        asked(1)[1:],
        [{"role": "system", "content": "Two\nlines.\n"}, *asked(1)[1:]],
        [{**SYSTEM, "content": ""}],
    ],
    ids=["a system message", "none", "several lines", "a blank one"],
)
def test_the_learned_prompt_has_no_order(messages: list[dict[str, str]]) -> None:
    told = with_order(messages, END)
    assert told[0]["content"].endswith(END)
    assert told[0][SHOWN_AS] == ShownAs.ORDER
    assert order_in(told) == END
    assert without_examples(told) == messages
    assert with_order(messages, "") == messages
    assert order_in(messages) == ""
