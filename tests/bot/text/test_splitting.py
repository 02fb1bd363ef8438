from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.text.splitting import MIN_LIMIT_CHARS, escape_lone_pipes, split_message

WORDS = st.text(st.sampled_from("abcdefg.,!é漢👍"), min_size=1, max_size=12)
PROSE = st.lists(WORDS, min_size=1, max_size=30).flatmap(
    lambda words: st.lists(st.sampled_from([" ", ". ", "\n", "\n\n"]), min_size=len(words), max_size=len(words)).map(
        lambda gaps: "".join(word + gap for word, gap in zip(words, gaps, strict=True))
    )
)
CODE = st.tuples(
    st.sampled_from(["", "py", "c++"]), st.lists(st.text("abc =()", max_size=40), min_size=1, max_size=12)
).map(lambda block: f"```{block[0]}\n" + "\n".join(["x", *block[1]]) + "\n```\n")
LISTS = st.tuples(st.sampled_from(["- ", "1. ", "> "]), st.lists(WORDS, min_size=1, max_size=9)).map(
    lambda made: "".join(f"{made[0]}{words} {words}\n" for words in made[1])
)
SECRETS = st.lists(st.text("X", min_size=1, max_size=30), min_size=1, max_size=9).map(" ".join)
SPOILERS = (SECRETS | SECRETS.map(lambda words: f"\n```py\n{words}\n```\n")).map(lambda secret: f"||{secret}||")
ANSWERS = st.lists(PROSE | CODE | LISTS | SPOILERS, min_size=1, max_size=5).map("\n".join)
NOISE = st.text(st.sampled_from("ab `\n.|\\>-👨\u200d🇩"), max_size=400)
LIMITS = st.integers(MIN_LIMIT_CHARS, 160)

# What Discord reads as one thing, from left to right.
READ_AS_ONE = re.compile(r"\\.|```.+?```|(`{1,2}).*?[^`]\1(?!`)|(?P<spoiler>\|\|.+?\|\|)", re.DOTALL)


def kept(text: str) -> str:
    """The text without what a cut may add or remove: fences, their languages, pipes, quotes and whitespace."""
    return re.sub(r"[\s|>]", "", re.sub(r"```(py\n|c\+\+\n)?", "", text))


def openly(part: str) -> str:
    """What everybody reads who does not click on the spoilers."""
    return READ_AS_ONE.sub(lambda found: "" if found["spoiler"] else found[0], part)


@given(ANSWERS | NOISE, LIMITS)
def test_every_part_fits_and_says_something(text: str, limit: int) -> None:
    parts = split_message(text, limit)
    assert all(part.strip() and len(part) <= limit for part in parts)
    assert bool(parts) == bool(text.strip())


@given(ANSWERS, LIMITS)
def test_nothing_is_lost_or_reordered(text: str, limit: int) -> None:
    parts = split_message(text, limit)
    assert kept("\n".join(parts)) == kept(text)
    assert all(part.count("```") % 2 == 0 and part.count("||") % 2 == 0 for part in parts)


@given(ANSWERS, LIMITS, st.data())
@pytest.mark.threat("T57")
def test_what_is_hidden_stays_hidden_while_it_grows_and_when_it_is_split(
    text: str, limit: int, data: st.DataObject
) -> None:
    written = text[: data.draw(st.integers(0, len(text)))]
    assert not any("X" in openly(part) for part in split_message(written, limit))


@given(ANSWERS | NOISE, LIMITS, st.data())
def test_a_growing_text_only_changes_its_last_part(text: str, limit: int, data: st.DataObject) -> None:
    earlier = split_message(text[: data.draw(st.integers(0, len(text)))], limit)
    later = split_message(text, limit)
    finished = earlier[:-1]
    assert len(later) >= len(earlier)
    assert later[: len(finished)] == finished


@pytest.mark.parametrize("blank", ["", " ", "\n\t\n"])
def test_blank_text_gives_no_message(blank: str) -> None:
    assert split_message(blank) == []


def test_a_short_text_stays_whole() -> None:
    assert split_message("  Hello.\n") == ["Hello."]


def test_paragraphs_are_preferred_to_lines_sentences_and_words() -> None:
    first = "One two. " * 8 + "three\nfour"
    assert split_message(f"{first}\n\nfive six. Seven\neight", 100) == [first, "five six. Seven\neight"]


def test_sentences_are_preferred_to_words() -> None:
    assert split_message("a" * 50 + " b. " + "c" * 20, 64) == ["a" * 50 + " b.", "c" * 20]


def test_a_full_part_is_used_to_its_last_character() -> None:
    assert split_message("a" * 2000 + " b") == ["a" * 2000, "b"]
    assert split_message("a" * 2001) == ["a" * 2000, "a"]


def test_a_cut_code_block_is_closed_and_reopened_with_its_language() -> None:
    code = "\n".join(f"    line_{number} = 1" for number in range(8))
    first, second, *_ = split_message(f"```python\n{code}\n```", 100)
    assert first.startswith("```python\n    line_0")
    assert first.endswith("= 1\n```")
    assert second.startswith("```python\n    line_")


def test_a_code_block_never_closed_is_closed() -> None:
    assert split_message("```py\nx = 1") == ["```py\nx = 1\n```"]


def test_a_code_block_moves_whole_rather_than_leaving_its_fence_behind() -> None:
    prose = "word " * 11 + "end"
    assert split_message(f"{prose}\n```py\nx = 1\n```", 64) == [prose, "```py\nx = 1\n```"]


def test_a_closing_fence_is_never_sent_alone() -> None:
    parts = split_message("```\n" + "\n".join(["x" * 9] * 6) + "\n```", 64)
    assert all(re.search(r"x", part) for part in parts)


@pytest.mark.parametrize("cluster", ["👨‍👩‍👧‍👦", "🇩🇪", "👍🏽", "e\u0301\u0302"])
def test_a_visible_character_is_not_torn(cluster: str) -> None:
    parts = split_message("." + cluster * 40, MIN_LIMIT_CHARS)
    assert all(part.removeprefix(".").replace(cluster, "") == "" for part in parts)


def test_a_spoiler_is_closed_and_reopened_with_the_code_in_it() -> None:
    first, *_, last = split_message("||```py\n" + "x = 1\n" * 40 + "```|| that was it", 80)
    assert first.startswith("||```py\nx = 1\n")
    assert first.endswith("\nx = 1\n```||")
    assert last.endswith("x = 1\n```|| that was it")


@pytest.mark.parametrize("mark", ["`a || b`", r"a \|\| b", "```c\na || b\n```"])
def test_pipes_in_code_hide_nothing(mark: str) -> None:
    assert split_message(mark) == [mark]


def test_pipes_that_nothing_closes_are_shown_unless_a_word_follows() -> None:
    assert escape_lone_pipes("||a|| or b || c") == r"||a|| or b \|\| c"
    assert escape_lone_pipes("||a|| or ||c") == "||a|| or ||c"


def test_a_quoted_line_goes_on_as_a_quote() -> None:
    parts = split_message("> " + "quoted words " * 12, 80)
    assert len(parts) > 1
    assert all(part.startswith(("> quoted", "> words")) for part in parts)


@pytest.mark.parametrize(
    ("gap", "whole"),
    [
        ("\n", "- one is here\n- two is here, too\n- three"),
        ("\n", "> a quote\n> of three lines\n> by somebody"),
        ("\n", "```py\nx = 1\n\ny = 2\n```"),
        (" ", "[a link with words](https://example.org)"),
        (" ", "[a link with words] (https://example.org)"),
        (" ", "**bold words that belong together**"),
        (" ", "`code and more code, by the line`"),
        (" ", "||a secret. of a few words||"),
    ],
)
def test_what_belongs_together_moves_whole_into_the_next_part(gap: str, whole: str) -> None:
    before = "Some words. Of an introduction that goes on for long"
    text = f"{before}{gap}{whole}"
    assert split_message(text, len(text) - 1) == [before, whole]


def test_a_limit_too_small_for_a_code_block_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        split_message("text", MIN_LIMIT_CHARS - 1)
