"""The picture of `/taste`: its titles, its layout in every case, and what becomes of emoji and mentions."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.charts.frame import spell_emoji
from bot.charts.taste import (
    UNREADABLE,
    build_taste_figure,
    draw_taste,
    effect_words,
    empty_words,
    question_words,
    use_words,
)
from bot.localization.languages import SHIPPED, read_catalogues
from bot.localization.sentences import Language, speaking
from bot.text.taste import describe_use
from storage.insights.taste_report import AnsweringNow, TasteReport
from storage.style import MEASURES
from storage.taste.likings import Sureness
from storage.votes.votes import FeedbackCounts
from tests.bot.charts.drawn import PNG, effect, overlapping, words_of

NOW = datetime(2026, 11, 4, tzinfo=UTC)
GERMAN = Language("de", read_catalogues(SHIPPED)["de"])
LONG = "An answer of many words 🎉🎉 for <@123456789012345678> and everybody else. " * 20
IDLE = AnsweringNow(champion=None, chooses=False, is_switched_off=False)
NOTHING = TasteReport(
    is_learning=True,
    counts=FeedbackCounts(),
    learned=0,
    since=None,
    e_value=1.0,
    chooses=True,
    now=IDLE,
    teaches=False,
    ranks=False,
    effects=(),
    liked=(),
    disliked=(),
    open_questions=(),
)
UNCLEAR = replace(
    NOTHING,
    counts=FeedbackCounts(votes=12, people=9),
    learned=12,
    since=NOW,
    now=replace(IDLE, chooses=True),
    liked=("Hello!",),
    open_questions=("lists", "a capital letter at the start", "“not” and “never”"),
)
CLEAR = replace(
    UNCLEAR,
    counts=FeedbackCounts(160, 12, people=9),
    learned=172,
    e_value=4e16,
    teaches=True,
    ranks=True,
    effects=(
        effect("shorter answers", Sureness.SURE, 0.11),
        effect("a question at the end", Sureness.SURE, 0.06),
        effect("no lists", Sureness.FAIRLY, 0.05),
        effect("emoji", Sureness.GUESS, 0.03),
    ),
    liked=("Hello! How are you?", "Good."),
    disliked=("No.", "Never."),
)
LONGEST = sorted((words for measure in MEASURES for words in (measure.more, measure.less)), key=len)[-6:]
FULL = replace(
    CLEAR,
    effects=tuple(effect(words, sureness, 0.2) for words, sureness in zip(LONGEST, 2 * list(Sureness), strict=True)),
    liked=(LONG, "w" * 900),
    disliked=("日本語の答え" * 99, "🔥" * 99),
)
CASES = {
    "nothing": NOTHING,
    "switched off": replace(NOTHING, is_learning=False),
    "unclear": UNCLEAR,
    "unclear and full": replace(FULL, effects=()),
    "no examples": replace(CLEAR, liked=(), disliked=()),
    "one effect": replace(CLEAR, effects=CLEAR.effects[:1]),
    "clear": CLEAR,
    "full": FULL,
    "not used": replace(CLEAR, now=IDLE, chooses=False),
    "no questions left": replace(CLEAR, open_questions=()),
    "tiny effects": replace(CLEAR, effects=(effect("emoji", Sureness.SURE, 0.0, before=0.5),)),
}


def texts_of(report: TasteReport, personality: str = "default") -> list[str]:
    return [text for text, _ in words_of(build_taste_figure(report, personality, NOW))]


@pytest.mark.parametrize("report", CASES.values(), ids=CASES)
class TestEveryCase:
    def test_no_words_overlap_or_leave_their_card(self, report):
        words = words_of(build_taste_figure(report, "w" * 32, NOW))
        assert f"What members like: {'w' * 32}" in [text for text, _ in words]
        assert overlapping(words) == []

    def test_german_words_leave_no_card(self, report):
        with speaking(GERMAN):
            assert overlapping(words_of(build_taste_figure(report, "default", NOW))) == []


@pytest.mark.parametrize("report", [NOTHING, FULL], ids=["nothing", "full"])
def test_it_is_a_png_that_discord_shows_whole(report):
    picture = draw_taste(report, "default", NOW)
    assert picture[:8] == PNG
    width, height = struct.unpack(">II", picture[16:24])
    assert (width, height <= 1000) == (1600, True)


def test_each_effect_is_named_with_its_shares_and_the_votes_are_counted():
    texts = texts_of(CLEAR)
    assert {"shorter answers", "60 → 71%", "no lists", "60 → 65%"} <= set(texts)
    assert "160 votes and 12 choices · Nov 4, 2026" in texts


def test_the_title_is_as_sure_as_the_votes():
    assert effect_words(CLEAR).title == "Clearly liked: shorter answers and a question at the end"
    assert effect_words(replace(CLEAR, effects=CLEAR.effects[2:])).title == "Probably liked: no lists"
    assert effect_words(replace(CLEAR, effects=CLEAR.effects[3:])).title == "Perhaps liked: emoji"
    assert effect_words(UNCLEAR).title == "Too early to tell"
    assert empty_words(NOTHING).title == "Nobody has voted yet"


def test_choices_alone_are_not_called_thumbs():
    assert "more often chosen" in effect_words(replace(CLEAR, counts=FeedbackCounts(choices=12, people=9))).caption


def test_the_cards_say_whether_it_is_used_and_what_is_not_known():
    assert use_words(CLEAR).title == "I use it to choose answers"
    assert use_words(CLEAR).caption.startswith("It guesses votes clearly better than always guessing the average")
    assert question_words(CLEAR).caption.startswith("Whether they like lists, a capital letter at the start, ")


def test_answers_are_quoted_without_mentions_and_with_the_names_of_emoji():
    texts = [" ".join(text.split()) for text in texts_of(FULL)]
    assert any(text.startswith("An answer of many words :party popper: for @somebody and") for text in texts)
    assert ":fire:" in texts
    assert UNREADABLE in texts
    assert not any("123456789012345678" in text for text in texts)


def test_a_side_without_answers_says_so():
    assert "None yet" in texts_of(UNCLEAR)
    assert "None yet" not in texts_of(CLEAR)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("no emoji", "no emoji"),
        ("Hi 🎉🎉🎉!", "Hi :party popper: !"),
        ("👩🏼‍🔬", ":woman: :microscope:"),
        ("😊 ♥", "😊 ♥"),
        ("🔄", ":emoji:"),
        ("cut�", "cut"),
        ("a::b : c", "a::b : c"),
    ],
)
def test_emoji_that_the_font_lacks_are_spelled(text, spelled):
    assert spell_emoji(text) == spelled


def test_the_reader_s_language_is_drawn():
    with speaking(GERMAN):
        texts = texts_of(CLEAR)
        assert effect_words(CLEAR).title == "Klar beliebt: kürzere Antworten und eine Frage am Ende"
        assert use_words(CLEAR).caption.startswith("Es sagt Stimmen klar besser voraus als der bloße Durchschnitt")
    assert {"Was den Mitgliedern gefällt: default", "kürzere Antworten", "Gefällt", "Gefällt nicht"} <= set(texts)
    assert "160 Stimmen und 12 Entscheidungen · 04.11.2026" in texts


class TestUse:
    @pytest.mark.parametrize(
        ("votes", "said"),
        [
            (0, "I don't use it yet: it needs 10 more votes or choices."),
            (9, "I don't use it yet: it needs 1 more vote or choice."),
            (
                10,
                "I use it to choose answers, but have not tested it yet: I start testing it after 11 more votes or "
                "choices.",
            ),
            (
                20,
                "I use it to choose answers, but have not tested it yet: I start testing it after 1 more vote or "
                "choice.",
            ),
        ],
    )
    def test_of_few_votes(self, votes, said):
        assert describe_use(replace(UNCLEAR, learned=votes, now=replace(IDLE, chooses=votes >= 10))).startswith(said)

    @pytest.mark.parametrize(
        ("e_value", "said"),
        [
            (4e16, "it guesses votes clearly better than always guessing the average."),
            (340.4, "it guesses votes clearly better than always guessing the average."),
            (3.94, "it guesses votes at least as well as always guessing the average."),
            (
                0.81,
                "so far it guesses votes no better than always guessing the average.",
            ),
        ],
    )
    def test_until_it_is_refuted(self, e_value, said):
        expected = f"I use it to choose answers: {said} New versions learn it too, and I follow examples in that style."
        assert describe_use(replace(CLEAR, e_value=e_value)) == expected

    def test_what_is_slower_to_undo_waits_until_the_votes_are_clear(self):
        assert describe_use(replace(CLEAR, e_value=3.94, teaches=False, ranks=False)).endswith(
            "nor do I follow such examples: the votes do not show clearly enough what members like."
        )

    def test_rounds_follow_choices_before_that(self):
        assert describe_use(replace(CLEAR, teaches=False)).endswith(
            "New versions learn it too. I don't follow such examples yet: the votes do not show clearly "
            "enough what members like."
        )

    def test_not_once_it_is_refuted(self):
        said = "I don't use it now: it guesses votes worse than always guessing the average."
        assert describe_use(replace(CLEAR, e_value=0.05, now=IDLE)) == said

    def test_not_without_a_choice(self):
        assert describe_use(CASES["not used"]).startswith("I don't use it: the bot begins one answer only")
