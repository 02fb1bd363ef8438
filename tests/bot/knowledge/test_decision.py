"""What members get who ask a server's documents, decided without a model."""

from __future__ import annotations

import random
import time

import pytest

from bot.knowledge.answer_types import AnswerType, asked_type, focus_of, holds
from bot.knowledge.decision import AskedMessage, Line, ReplyKind, decide_reply
from bot.knowledge.found import explain_decision
from bot.knowledge.matching import best_match, words_of
from bot.knowledge.support import keeps_to
from storage.models.english import InEnglish, in_english
from tests.benchmarks.knowledge_answers import decide_all, shares_of
from tests.benchmarks.knowledge_servers import (
    ANSWERABLE,
    CLEAN,
    ELSEWHERE,
    FITTED,
    UNANSWERABLE,
    UNSEEN,
    Message,
    read_server,
)
from tests.shared_encoder import SharedEncoder

LINES = ("The membership fee is 4 euros a month.", "Game night is every Thursday at 19:00.", "No spoilers in #lounge.")


def lines(*texts: str) -> list[Line]:
    return [Line(i, 1, "rules.txt", "", "rules.txt", text, None, None) for i, text in enumerate(texts)]


@pytest.mark.parametrize("part", [*FITTED, UNSEEN, *CLEAN])
def test_every_right_line_is_in_a_document(part: str) -> None:
    server = read_server(part)
    found = {title: [one.text for one in some] for title, some in server.chunks(lambda text: len(text.split())).items()}
    for message in server.messages:
        holding = [text for text in found.get(message.document, ()) if message.is_answered_by(message.document, text)]
        assert len(holding) == (message.kind in ANSWERABLE)


def test_the_evaluation_is_large_enough() -> None:
    messages = [message for part in (*FITTED, UNSEEN, *CLEAN) for message in read_server(part).messages]
    asked = [message for message in messages if message.kind not in ELSEWHERE]
    assert len(asked) >= 450
    assert sum(message.kind == UNANSWERABLE for message in asked) >= 150
    assert len(messages) - len(asked) >= 200


@pytest.mark.slow
def test_real_ways_of_asking_get_the_right_line_and_nothing_else_is_made_up() -> None:
    # On servers that nobody had read who wrote rules and weights: 68 questions with an answer, 32 without, 60 others.
    shares = shares_of(decide_all(InEnglish(SharedEncoder())))
    assert shares["right_line_shown"] >= 0.78
    assert shares["unknown_said"] >= 0.85
    assert shares["elsewhere_quoted"] <= 0.02
    assert shares["elsewhere_refused"] <= 0.1


def test_a_label_may_be_a_row_of_a_table() -> None:
    row = Message("exact", "how much is a tea", document="bar.csv", line="Black tea,1.00")
    assert row.is_answered_by("bar.csv", "item: Black tea, price_eur: 1.00, size: cup")
    assert not row.is_answered_by("bar.csv", "item: Black tea, price_eur: 11.00, size: cup")


def test_without_an_encoder_words_decide() -> None:
    decision = decide_reply(AskedMessage("how much is the membership fee a month"), lines(*LINES))
    assert (decision.outcome, decision.lines[0].text) == (ReplyKind.QUOTED, LINES[0])
    assert decision.answered is None
    assert "%" not in explain_decision(decision)
    for other in ("tell me a joke about a fee", "my membership fee is 4 euros a month"):
        found = decide_reply(AskedMessage(other), lines(*LINES))
        assert found.outcome is ReplyKind.MODEL
        assert "%" not in explain_decision(found)
    assert decide_reply(AskedMessage("how much is it"), []).outcome is ReplyKind.MODEL


@pytest.mark.parametrize(
    ("question", "kind", "line"),
    [
        ("how much is a day pass?", AnswerType.PRICE, "item: Day pass, price: 6 €"),
        ("Was kostet der Beamer?", AnswerType.PRICE, "Gebühr: 5 €"),
        ("how much is a coffee", AnswerType.PRICE, "item: Coffee, price_eur: 2.80"),
        ("how much is it per quarter", AnswerType.PRICE, "Regular: 12 EUR per quarter"),
        ("when is the lecture", AnswerType.TIME, "wk: 9, date: 28 Apr, topic: mock exam"),
        ("until when can I come", AnswerType.TIME, "It closes at eight."),
        ("Wann ist das Treffen?", AnswerType.TIME, "Jeden Montag um 19 Uhr"),
        ("how many people may join?", AnswerType.NUMBER, "Teams of up to five"),
        ("who runs the café", AnswerType.PERSON, "It is run by Rosalind."),
        ("where do you meet?", AnswerType.PLACE, "We meet in the car park."),
        ("what's the phone number", AnswerType.CONTACT, "Call 555 1234 56."),
        ("am I allowed to stream?", AnswerType.RULE, "No streams here."),
    ],
)
def test_a_question_asks_for_a_kind_of_answer(question: str, kind: AnswerType, line: str) -> None:
    assert asked_type(question) is kind
    assert holds(line, kind)
    assert not holds("Dogs bark.", kind)


def test_the_focus_of_a_question_is_what_it_asks_for() -> None:
    assert focus_of("What is the prize of the build contest?") == "prize"
    assert focus_of("and what does the dragon drop?") == "drop"
    assert focus_of("Are dogs allowed?") is None


def test_words_match_with_endings_typing_errors_compounds_and_synonyms() -> None:
    assert best_match("dogs", ["cat", "dog"]) == 1
    assert best_match("adress", ["address"]) > 0.5
    assert best_match("mitgliedsbeitrag", ["beitrag"]) > 0.5
    assert best_match("kostet", ["price"]) > 0.5
    assert best_match("sundays", ["sun"]) > 0.5
    assert best_match("cat", ["cart"]) == 0
    assert words_of("What's the price of a COFFEE?") == ["price", "coffee"]


def test_a_long_message_is_compared_with_many_lines_in_little_time() -> None:
    words = ["".join(random.Random(i).choices("abcdefghijklmnopr", k=8)) for i in range(1_500)]
    many = lines(*(" ".join(words[i : i + 12]) for i in range(300, 1_500, 12)))
    start = time.process_time()
    decide_reply(AskedMessage(f"what is {' '.join(words[:300])}?"), many)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("can ppl come w/o asking, u know", "can people come w/o asking, you know"),
        ("Darf mein Hund mit in die Werkstatt?", "may my dog with in the workshop?"),
        ("Vereinsraum", "club room"),
        ("The kind man was in the war and liked the hut.", "The kind man was in the war and liked the hut."),
    ],
)
def test_spellings_and_german_words_are_read_in_english(text: str, english: str) -> None:
    assert in_english(text) == english


@pytest.mark.parametrize(
    ("answer", "keeps"),
    [
        ("Game night is every Thursday at 19:00.", True),
        ("It's on Thursday at 7, hooray!", False),
        ("Game night? Every Thursday at 19:00!", True),
        ("It starts at 20:00 on Thursday.", False),
        ("Game night is every Friday at 19:00.", False),
        ("Ask Barbara about the game night.", False),
        ("There is no game night on Thursday.", False),
        ("See https://games.example, every Thursday.", False),
        ("Every Thursday at 19:00, for an hour or more.", False),
        ("Yay!", False),
        ("I love playing games with friends and eating pizza all day.", False),
    ],
)
def test_an_answer_keeps_to_its_line_or_not(answer: str, keeps: bool) -> None:
    assert keeps_to(answer, [f"events.txt {LINES[1]}"], asked="When is game night?") is keeps


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("Is the deposit 20 euros?", "The deposit is 20 euros."),
        ("Is the deposit paid on Friday?", "The deposit of 10 euros is paid on Friday."),
        ("Do I pay the deposit to Barbara?", "You pay the deposit of 10 euros to Barbara."),
        ("Is the deposit on games.example?", "The deposit is 10 euros on games.example."),
    ],
)
def test_an_answer_repeats_no_fact_that_only_the_question_holds(asked: str, answer: str) -> None:
    assert not keeps_to(answer, ["The deposit is 10 euros."], asked=asked)
    assert keeps_to("The deposit is 10 euros.", ["The deposit is 10 euros."], asked=asked)


@pytest.mark.parametrize(
    ("asked", "line", "answer", "keeps"),
    [
        ("how many healers in the 10p setup?", "Setup 10p: 2 tanks, 3 healers, 5 dps", "There are 5 healers.", False),
        ("how many items a day?", "5 items a day, 20 items a week", "You can take 5 items a day.", True),
        (
            "and the third?",
            "First strike is a warning, third a ban.",
            "The third is a warning, the fourth a ban.",
            False,
        ),
        ("how many healers in the 10p setup?", "Setup 10p: 2 tanks, 3 healers, 5 dps", "There are 3 healers.", True),
        ("how much is a tea", "item: Black tea, price_eur: 1.00", "A black tea is 1.00 euros.", True),
        ("ok and drifters?", "Members can take out 5 items per day, Drifters nothing", "Drifters are no tea.", False),
        ("Are paid mods allowed?", "Paid mods are not allowed.", "No, paid mods are not allowed.", True),
        ("Are paid mods allowed?", "Paid mods are not allowed.", "Paid mods, not oranges.", False),
    ],
)
def test_an_answer_says_something_of_the_line_and_counts_what_it_counts(
    asked: str, line: str, answer: str, keeps: bool
) -> None:
    assert keeps_to(answer, [f"wiki.md {line}"], asked=asked) is keeps
