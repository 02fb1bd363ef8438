"""Why a card is refused, in the language of whoever sent it: one sentence that names the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.guards.error_handler import member_message
from bot.localization.languages import read_catalogues
from bot.localization.sentences import Language, speaking
from storage.errors import CardError
from storage.personalities.card_files import parse_any_card
from storage.personalities.cards import Card, CardSampling, build_card
from tests.storage.personalities.test_tavern import card_of

GERMAN = Language("de", read_catalogues(Path())["de"])


def example(*turns: object) -> dict[str, Any]:
    return {"examples": [{"dialogue": ["hi", "ho"]}, {"dialogue": list(turns)}]}


@pytest.mark.parametrize(
    ("card", "english", "german"),
    [
        ({"base": 3}, "base is not valid: it must be text.", "base ist nicht gültig: Es muss Text sein."),
        (
            {"display_name": "Clyde"},
            "display_name must not contain 'clyde', which Discord refuses.",
            "display_name darf 'clyde' nicht enthalten, weil Discord das ablehnt.",
        ),
        (
            {"description": "x" * 301},
            "description is not valid: it must have at most 300 characters, but has 301.",
            "description ist nicht gültig: Es darf höchstens 300 Zeichen haben, hat aber 301.",
        ),
        (
            {"sampling": {"temperature": 7}},
            "sampling.temperature is not valid: it must be less than or equal to 5.",
            "sampling.temperature ist nicht gültig: Es darf höchstens 5 sein.",
        ),
        (
            {"sampling": {"top_p": float("nan")}},
            "sampling.top_p is not valid: it must be a finite number.",
            "sampling.top_p ist nicht gültig: Es muss eine endliche Zahl sein.",
        ),
        (
            {"sampling": {"max_new_tokens": 0}},
            "sampling.max_new_tokens is not valid: it must be greater than or equal to 1.",
            "sampling.max_new_tokens ist nicht gültig: Es muss mindestens 1 sein.",
        ),
        (
            {"sampling": 5},
            "sampling is not valid: it must be a table with keys of its own.",
            "sampling ist nicht gültig: Es muss eine Tabelle mit eigenen Schlüsseln sein.",
        ),
        (
            {"examples": [{}]},
            "the dialogue of example 1 is not valid: it is missing.",
            "dialogue von Beispiel 1 ist nicht gültig: Es fehlt.",
        ),
        (
            example("hi"),
            "the dialogue of example 2 must alternate between a person, who speaks first, and the bot, who speaks "
            "last.",
            "dialogue von Beispiel 2 muss zwischen einer Person, die zuerst spricht, und dem Bot, der zuletzt spricht, "
            "abwechseln.",
        ),
        (
            example("x" * 4_001, "ho"),
            "turn 1 of example 2 is not valid: it must have at most 4,000 characters, but has 4,001.",
            "Beitrag 1 von Beispiel 2 ist nicht gültig: Es darf höchstens 4.000 Zeichen haben, hat aber 4.001.",
        ),
        (
            example(*["hi", "ho"] * 11),
            "the dialogue of example 2 is not valid: it must have at most 20 entries, but has 22.",
            "dialogue von Beispiel 2 ist nicht gültig: Es darf höchstens 20 Einträge haben, hat aber 22.",
        ),
        (
            {"tags": 1},
            "tags is not a key of a card: see docs/personalities.md.",
            "tags ist kein Schlüssel einer Karte: Siehe docs/personalities.md.",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(card: dict[str, Any], english: str, german: str) -> None:
    with pytest.raises(CardError) as refused:
        build_card(card, "keeper.toml")
    assert member_message(refused.value) == f"keeper.toml: {english}"
    with speaking(GERMAN):
        assert member_message(refused.value) == f"keeper.toml: {german}"


def test_too_many_examples_are_counted() -> None:
    with pytest.raises(CardError) as refused:
        build_card({"examples": [{"dialogue": ["hi", "ho"]}] * 1_501}, "keeper.toml")
    with speaking(GERMAN):
        assert member_message(refused.value) == (
            "keeper.toml hat 1.501 Beispiele, erlaubt sind höchstens 500: Behalte die besten."
        )


@pytest.mark.parametrize(
    ("character", "german"),
    [
        (card_of(description=["a"]), "description ist nicht gültig: Es muss Text sein."),
        (
            card_of(character_book={"entries": [{}, {"enabled": "x"}]}),
            "enabled von Eintrag 2 des Lorebooks ist nicht gültig: Es muss true oder false sein.",
        ),
        (card_of(extensions=3), "extensions ist nicht gültig: Es muss eine Tabelle mit eigenen Schlüsseln sein."),
    ],
)
def test_mistakes_in_characters_of_sillytavern_too(character: bytes, german: str) -> None:
    with pytest.raises(CardError) as refused:
        parse_any_card(character, "ebba.json")
    with speaking(GERMAN):
        assert member_message(refused.value) == f"ebba.json: {german}"


def test_every_kind_of_mistake_that_a_card_can_have_is_translated() -> None:
    """None of pydantic's own sentences is left, whatever stands where in a card."""
    wrong: list[object] = [3, -1.5, "x" * 5_000, [], [3], {"x": 1}, True, float("nan"), [{"dialogue": 5}]]
    places = [*Card.model_fields, *(f"sampling.{name}" for name in CardSampling.model_fields)]
    for place in places:
        for value in wrong:
            *outer, key = place.split(".")
            try:
                build_card({"system_prompt": "x"} | ({outer[0]: {key: value}} if outer else {key: value}), "a.toml")
            except CardError as error:
                with speaking(GERMAN):
                    said = member_message(error)
                assert " is " not in said, said
                assert any(word in said for word in ("nicht gültig", "kein Schlüssel", "darf", "höchstens")), said
