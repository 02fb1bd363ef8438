"""A short document is cut into its lines, a longer one by sections and sizes, and no word is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.knowledge.chunking import SHORT_CHARS, _is_lead, cut_into_chunks, lines_of
from bot.knowledge.extraction import Block

WORDS = st.text(alphabet="abc.!? \n", max_size=400)
BLOCKS = st.lists(st.builds(Block, WORDS, st.sampled_from([0, 0, 0, 1, 2, 3])), max_size=8)


def count(text: str) -> int:
    return len(text.split())


def cut(
    *blocks: Block, chunk_tokens: int = 12, overlap_tokens: int = 3, short_chars: int = SHORT_CHARS
) -> list[tuple[str, str]]:
    limits = {"chunk_tokens": chunk_tokens, "overlap_tokens": overlap_tokens, "short_chars": short_chars}
    return [(chunk.heading, chunk.text) for chunk in cut_into_chunks("Club", blocks, count, **limits)]


def test_each_line_of_a_short_document_is_a_passage() -> None:
    text = "Be kind.\n1. No insults, no slurs.\n2. Dogs stay outside."
    assert cut(Block(text)) == [
        ("Club", "Be kind."),
        ("Club", "1. No insults, no slurs."),
        ("Club", "2. Dogs stay outside."),
    ]


def test_lines_that_an_editor_wrapped_are_one_fact_and_long_ones_are_cut_into_sentences() -> None:
    wrapped = "The club room is open every day from nine in the morning until\nten in the evening. Bring your key."
    assert lines_of(wrapped) == [wrapped.replace("\n", " ")]
    longer = wrapped.replace("key.", "own key, because without it you\nhave to ring the bell on the left and wait.")
    assert lines_of(longer) == [
        "The club room is open every day from nine in the morning until ten in the evening.",
        "Bring your own key, because without it you have to ring the bell on the left and wait.",
    ]
    events = f"Game night: {'every Thursday and ' * 3}Sunday\nLeague: first Saturday"
    assert lines_of(events) == events.splitlines()


def test_rows_of_a_table_name_their_columns() -> None:
    assert lines_of("| item | price |\n|---|--:|\n| Day pass | 6 € |\n| Locker | |") == [
        "item: Day pass, price: 6 €",
        "item: Locker",
    ]


def test_a_line_above_others_is_their_heading_without_markdown_too() -> None:
    assert cut(Block("House rules"), Block("Be kind.\nNo spam."), Block("Fees:\nten pounds\nchildren free")) == [
        ("Club › House rules", "Be kind."),
        ("Club › House rules", "No spam."),
        ("Club › Fees", "ten pounds"),
        ("Club › Fees", "children free"),
    ]
    assert cut(Block("Be kind."), Block("No spam")) == [("Club", "Be kind."), ("Club", "No spam")]


def test_an_answer_stays_with_its_question() -> None:
    assert lines_of("**May I bring my dog?**\nYes, on a lead.\nQ: Is there parking?\nA: No.") == [
        "**May I bring my dog?** Yes, on a lead.",
        "Q: Is there parking? A: No.",
    ]
    assert cut(Block("Is there parking?"), Block("No.")) == [("Club › Is there parking?", "No.")]


def test_passages_have_their_headings() -> None:
    assert cut(
        Block("Welcome."),
        Block("Fees", 1),
        Block("Ten pounds."),
        Block("Children", 2),
        Block("Free."),
        Block("Pool", 1),
        Block("Cold."),
    ) == [
        ("Club", "Welcome."),
        ("Club › Fees", "Ten pounds."),
        ("Club › Fees › Children", "Free."),
        ("Club › Pool", "Cold."),
    ]


def test_paragraphs_of_a_section_share_a_passage_if_they_fit() -> None:
    assert cut(Block("One two three."), Block("Four five."), short_chars=-1) == [
        ("Club", "One two three.\n\nFour five.")
    ]
    assert cut(Block("1 2 3 4 5 6 7"), Block("8 9 10 11 12"), short_chars=-1) == [
        ("Club", "1 2 3 4 5 6 7"),
        ("Club", "8 9 10 11 12"),
    ]


def test_a_long_paragraph_is_cut_between_sentences_and_overlaps() -> None:
    assert cut(Block("One two three four five six. Seven eight nine ten eleven. Twelve.")) == [
        ("Club", "One two three four five six. Seven eight nine ten eleven."),
        ("Club", "nine ten eleven. Twelve."),
    ]


def test_a_long_list_is_cut_between_its_lines() -> None:
    assert cut(Block("- a b c d e\n- f g h i j\n- k l"), overlap_tokens=0, short_chars=-1) == [
        ("Club", "- a b c d e"),
        ("Club", "- f g h i j\n- k l"),
    ]


def test_a_heading_without_text_can_be_found_itself() -> None:
    assert cut(Block("Rules", 1), Block("No dogs", 2), Block("No cats", 2)) == [
        ("Club › Rules › No dogs", "No dogs"),
        ("Club › Rules › No cats", "No cats"),
    ]


def test_a_long_path_of_headings_loses_its_start() -> None:
    heading, text = cut(Block("a very long heading of nine words in all", 1), Block("Text."))[0]
    assert (heading, text) == ("heading of nine words in all", "Text.")


def test_nothing_gives_nothing() -> None:
    assert cut() == []
    assert cut(Block("  \n")) == []


@given(BLOCKS, st.integers(8, 40), st.integers(0, 4), st.booleans())
def test_passages_fit_and_hold_every_word_in_order(
    blocks: list[Block], chunk_tokens: int, overlap: int, is_short: bool
) -> None:
    if not is_short:
        blocks = [*blocks, Block("a. " * (SHORT_CHARS // 3 + 1))]
    chunks = cut(*blocks, chunk_tokens=chunk_tokens, overlap_tokens=overlap)
    assert all(count(heading) + count(text) <= chunk_tokens for heading, text in chunks)
    assert all(text == text.strip() and text for _, text in chunks)
    words = iter([word for _, text in chunks for word in text.split()])
    leads = [block.text for block in blocks if _is_lead(first := block.text.split("\n")[0]) or "?" in first]
    leads = leads if is_short else []
    kept = [block.text for block in blocks if not block.level and block.text not in leads]
    assert all(word in words for text in kept for word in text.split())


@pytest.mark.parametrize("length", [1, 50, 1_000])
def test_one_endless_word_is_cut_too(length: int) -> None:
    chunks = cut_into_chunks("", [Block("x" * length)], len, chunk_tokens=32, overlap_tokens=4)
    assert all(len(chunk.text) <= 32 for chunk in chunks)
    assert sum(len(chunk.text) for chunk in chunks) >= length
