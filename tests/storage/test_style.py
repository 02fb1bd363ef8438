"""What is measured of an answer."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.style import MEASURES, measure_style, revision_of

LONG = "I think you should try three things:\n- sleep\n- walk\n- call a friend"


def value(name, answer):
    names = [one.name for one in MEASURES]
    return measure_style(answer)[names.index(name)]


@given(st.text(max_size=400))
def test_any_text_has_finite_measures(answer):
    values = measure_style(answer)
    assert len(values) == len(MEASURES)
    assert all(math.isfinite(number) for number in values)
    assert values == measure_style(f" {answer}\n")


def test_names_are_distinct_and_have_words_for_both_directions():
    assert len({one.name for one in MEASURES}) == len(MEASURES) >= 30
    assert all(one.more and one.less and one.more != one.less for one in MEASURES)


def test_another_name_word_or_formula_is_another_revision():
    first, *others = MEASURES
    usual = revision_of(MEASURES, ["glad"])
    assert usual == revision_of(tuple(MEASURES), ["glad"])
    assert usual != revision_of([replace(first, name="tokens"), *others], ["glad"])
    assert usual != revision_of(MEASURES, ["glad|happy"])
    assert usual != revision_of([replace(first, of=lambda text: 2 * first.of(text)), *others], ["glad"])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("words", "Hi.", LONG),
        ("sentences", "One thing, then another.", "One. Two! Three?"),
        ("sentence length", "One. Two. Three.", "One two three four five six."),
        ("word length", "I go on.", "Extraordinary circumstances."),
        ("variety", "no no no no", "yes or no then"),
        ("repetition", "I walk home now.", "I walk home. I walk home. I walk home."),
        ("line breaks", "One.", "One.\nTwo."),
        ("lists", "Sleep and walk - both help.", LONG),
        ("bold", "Sleep.", "**Sleep**."),
        ("code", "print it", "`print(it)`"),
        ("numbers", "In May.", "On 3 May 2026."),
        ("capitals", "all small", "ALL BIG"),
        ("capital start", "small start", "Big start"),
        ("whole ending", "and then he", "And then he left."),
        ("exclamation marks", "Yes!", "Yes!!!"),
        ("any exclamation mark", "Yes.", "Yes!"),
        ("question marks", "Why? Tell me.", "Why? How? Tell me."),
        ("question at the end", "Why not? I like it.", 'I like it. "Why not?"'),
        ("emoji", "Nice 🎉", "Nice 🎉🎉"),
        ("any emoji", "Nice", "Nice 🎉"),
        ("commas", "red and blue", "red, green, blue"),
        ("ellipses", "Well.", "Well..."),
        ("quotation marks", "So he said.", 'He said "so".'),
        ("brackets", "Two of them.", "Two (of them)."),
        ("starts with I", "Well, I do.", "I’m well."),
        ("first person", "You know it.", "I know my way."),
        ("second person", "I know my way.", "You know your way."),
        ("speaks to you", "I know.", "I know you."),
        ("we", "I go.", "Let’s go."),
        ("hedging", "It is so.", "Maybe it is so."),
        ("warmth", "It is raining.", "I hope you enjoy it."),
        ("much warmth", "I hope it rains in the next few days.", "Happy to help, dear friend."),
        ("apologies", "Here it is.", "Sorry, here it is."),
        ("refusals", "Here it is.", "I can’t do that."),
        ("thanks", "Here it is.", "Thank you."),
        ("greetings", "Here it is.", "Hello there."),
        ("intensifiers", "It is good.", "It is really very good."),
        ("negations", "It is good.", "It isn’t good, not at all."),
        ("contractions", "It is good.", "It’s good."),
        ("laughs", "Good.", "Haha, good."),
        ("slang", "That is good.", "Yeah, cool stuff."),
        ("examples", "Fruit.", "Fruit, for example apples."),
        ("advice", "I slept well.", "You should try to sleep."),
        ("reasons", "It rains.", "Because it rains."),
        ("certainty", "I go there.", "Of course I always go there."),
        ("requests", "Sit down.", "Please sit down."),
        ("31 to 60 words", "word " * 61, "word " * 60),
        ("61 to 120 words", "word " * 60, "word " * 61),
    ],
)
def test_a_measure_tells_answers_apart(name, low, high):
    assert value(name, low) < value(name, high)


def test_a_mean_of_a_yes_or_no_is_a_share_of_answers():
    for measure in MEASURES:
        values = {value(measure.name, answer) for answer in (LONG, "Hi.", "I hope so!! 🎉🎉🎉", "no no", "word " * 40)}
        assert not measure.is_yes_or_no or values <= {0.0, 1.0}, measure.name
    assert {one.name for one in MEASURES if one.is_yes_or_no} >= {"question at the end", "warmth", "31 to 60 words"}


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("words", "はい。", "今日はラーメンを食べました。"),
        ("words", "ครับ", "วันนี้เรากินราเมนมา อร่อยมาก"),
        ("sentences", "食べました、おいしかった。", "食べました！おいしかった。君は？"),
        ("word length", "今日はラーメンを食べました", "Extraordinary circumstances."),
        ("variety", "好好好好", "今天很好"),
        ("whole ending", "それから彼は", "それから彼は行った。"),
        ("whole ending", "それから彼は", "「それから彼は行った」"),
        ("exclamation marks", "はい。", "はい！"),
        ("question at the end", "君は？元気です。", "元気です。君は？"),
        ("commas", "赤と青", "赤、緑、青"),
    ],
)
def test_an_answer_without_spaces_is_measured_as_one_with_spaces(name, low, high):
    assert value(name, low) < value(name, high)


def test_every_measure_has_a_case():
    (mark,) = test_a_measure_tells_answers_apart.pytestmark
    assert [case[0] for case in mark.args[1]] == [one.name for one in MEASURES]
