"""Which messages ask the bot what it is: the wordings in a folder, of which nobody looked at half while writing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.chat.identity import asks_about_itself, asks_what_it_is, doubts_it
from bot.chat.identity_grammar import QuestionLanguage

WORDINGS = Path(__file__).with_name("identity_wordings")
LEAST_RECALL = 0.95


def wordings(name: str) -> list[str]:
    return (WORDINGS / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", ["asked", "asked_held_out", "asked_later"])
def test_questions_about_what_it_is_are_recognised(name):
    said = wordings(name)
    missed = [text for text in said if not asks_what_it_is(text, "Reactune")]
    assert len(missed) <= (1 - LEAST_RECALL) * len(said), missed


@pytest.mark.parametrize("name", ["others", "others_held_out", "others_later"])
def test_messages_that_only_have_the_words_are_left_to_the_model(name):
    assert [text for text in wordings(name) if asks_about_itself(text, "Reactune")] == []


def test_the_language_of_the_question_is_known():
    assert asks_what_it_is("are you human?") is QuestionLanguage.ENGLISH
    assert asks_what_it_is("Bist du ein Mensch?") is QuestionLanguage.GERMAN
    assert asks_what_it_is("Mensch oder Maschine?") is QuestionLanguage.GERMAN


def test_the_name_of_the_bot_may_stand_for_it():
    assert asks_what_it_is("Is Brine a real person?", "Brine")
    assert asks_what_it_is("Is Brine a real person?", "Reactune") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Bot", "Are you a bot?"),
        ("AI", "Are you an AI?"),
        ("Al", "are you a real person"),
        ("Robo", "Bist du ein Roboter?"),
        ("The Bot", "Are you the bot?"),
        ("Real", "are you real"),
        ("Brine", "Brine, are you a bot?"),
        ("Brine", "are you a bot Brine?"),
        ("Brine", "Hey Brine are you a bot"),
        ("Brine", "Ist Brine ein Bot?"),
        ("Dr. Brine (beta)", "Is Dr. Brine (beta) a bot?"),
    ],
)
def test_no_name_hides_a_question(name, text):
    assert asks_what_it_is(text, name)


def test_a_word_that_holds_the_name_is_not_the_name():
    assert asks_what_it_is("Is Brinell a real person?", "Brine") is None


def test_a_long_message_has_another_point():
    assert asks_what_it_is("Are you a bot? " + "I ask because of this. " * 20) is None


@pytest.mark.parametrize(
    "text",
    [
        "really?",
        "Echt jetzt?",
        "no way lol",
        "I don't believe you",
        "are you sure?",
        "you're lying",
        "Wirklich?",
        "is it an app?",
    ],
)
def test_doubts(text):
    assert doubts_it(text)


@pytest.mark.parametrize("text", ["ok", "really good pizza", "are you sure it rains?", "cool", ""])
def test_no_doubts(text):
    assert not doubts_it(text)
