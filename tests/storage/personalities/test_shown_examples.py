"""The first examples of a card that fit are shown, whole and in its order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storage.personalities.cards import Card, Example
from storage.settings.sections import GenerationSettings, ModelSettings, Settings
from storage.taste.examples import CHARS_PER_TOKEN, examples_budget, examples_to_show

SIZES = st.lists(st.integers(1, 600), max_size=12)


def card_of(sizes: list[int]) -> Card:
    return Card(examples=tuple(Example(dialogue=(f"{place} ?", "a" * size)) for place, size in enumerate(sizes)))


def chars_of(examples: tuple[Example, ...]) -> int:
    return sum(len(text) for example in examples for text in example.dialogue)


@given(sizes=SIZES, most=st.integers(0, 8), context=st.integers(300, 2_000))
def test_they_fit_into_number_and_budget_and_one_is_left_out_only_if_it_does_not(sizes, most, context) -> None:
    settings = Settings(generation=GenerationSettings(card_examples=most), model=ModelSettings(context_tokens=context))
    card = card_of(sizes)
    shown = examples_to_show(settings, card)
    room = CHARS_PER_TOKEN * examples_budget(settings.model)
    assert [example for example in card.examples if example in shown] == list(shown), "in the card's order"
    assert len(shown) <= most
    assert chars_of(shown) <= room
    for place, example in enumerate(card.examples):
        if example not in shown and len(shown) < most:
            before = tuple(one for one in card.examples[:place] if one in shown)
            assert chars_of((*before, example)) > room
