"""Cards as the text of a form: the text is read back unchanged, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.guards.interactions import HELP_CHARS, LABEL_CHARS
from bot.localization.languages import read_catalogues
from bot.personalities.card_form import FIELD_WORDS, card_from_form, format_examples, parse_examples, parse_sampling
from bot.personalities.descriptions import format_sampling
from storage.errors import CardError
from storage.personalities.cards import Card, CardSampling, Example

FIELDS = {"description": "", "system_prompt": "Arr.", "greeting": "", "sampling": "", "examples": ""}


def test_dialogues_are_separated_by_blank_lines() -> None:
    text = "> How is the sea?\n> And the wind?\nFlat.\nFor now.\n> Thanks\nMind the step.\n \n\n>Hi\nEvening.\n"
    assert parse_examples(text) == [
        ["How is the sea?\nAnd the wind?", "Flat.\nFor now.", "Thanks", "Mind the step."],
        ["Hi", "Evening."],
    ]


spoken = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), min_size=1, max_size=40)
turns = spoken.map(lambda text: " ".join(text.replace(">", "").split())).filter(bool)
examples = st.lists(st.builds(Example, dialogue=st.tuples(turns, turns, turns, turns)), max_size=4)


@given(examples)
def test_examples_shown_in_a_form_parse_back_unchanged(some: list[Example]) -> None:
    text = format_examples(some)
    assert text is not None
    assert parse_examples(text) == [list(example.dialogue) for example in some]


@pytest.mark.parametrize("answer", ["> quoted", "one\n\ntwo", "long " * 400])
def test_dialogues_that_do_not_fit_into_the_form_are_not_shown(answer: str) -> None:
    assert format_examples([Example(dialogue=("Hi", answer))] * 3) is None


def test_a_form_without_examples_keeps_those_of_the_card() -> None:
    before = Card(system_prompt="x", base="bundled", examples=(Example(dialogue=("Hi", "> quoted")),))
    fields = {name: text for name, text in FIELDS.items() if name != "examples"}
    after = card_from_form(fields, before)
    assert after == before.model_copy(update={"system_prompt": "Arr."})


def test_sampling_is_a_list_of_numbers_with_names() -> None:
    assert parse_sampling("temperature = 0.5; top_p: 1\nmax_new_tokens=80") == {
        "temperature": 0.5,
        "top_p": 1,
        "max_new_tokens": 80,
    }
    sampling = CardSampling(temperature=0.5, max_new_tokens=80)
    assert CardSampling(**parse_sampling(format_sampling(sampling))) == sampling
    assert format_sampling(CardSampling()) == ""


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sampling": "hot"}, "the sampling 'hot' is not valid"),
        ({"sampling": "temperature = ."}, "the sampling 'temperature = .' is not valid"),
        ({"sampling": "max_new_tokens = 1.5"}, "the card: sampling.max_new_tokens is not valid"),
        ({"sampling": "temperature = 9"}, "the card: sampling.temperature is not valid"),
        ({"sampling": "heat = 1"}, "the card: sampling.heat is not a key of a card"),
        ({"examples": "> Hi"}, "the card: the dialogue of example 1 must alternate"),
        ({"examples": "> Hi\nHo\n\nHi\n> Ho"}, "dialogue 2 starts with the bot"),
        ({"system_prompt": " "}, "the card does not say how to talk"),
    ],
)
def test_a_mistake_in_a_form_is_named(fields: dict[str, str], said: str) -> None:
    with pytest.raises(CardError) as refused:
        card_from_form(FIELDS | fields, Card())
    assert said in str(refused.value)


def test_discord_accepts_the_labels_and_help_texts() -> None:
    german = read_catalogues(Path("none"))["de"]
    for translate in (str, german.gettext):
        for label, about in FIELD_WORDS.values():
            assert len(translate(label)) <= LABEL_CHARS
            assert len(translate(about)) <= HELP_CHARS
