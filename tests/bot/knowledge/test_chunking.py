"""Passages respect sections and sizes, and no word is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.knowledge.chunking import cut_into_chunks
from bot.knowledge.extraction import Block

WORDS = st.text(alphabet="abc.!? \n", max_size=400)
BLOCKS = st.lists(st.builds(Block, WORDS, st.sampled_from([0, 0, 0, 1, 2, 3])), max_size=8)


def count(text: str) -> int:
    return len(text.split())


def cut(*blocks: Block, chunk_tokens: int = 12, overlap_tokens: int = 3) -> list[tuple[str, str]]:
    chunks = cut_into_chunks("Club", blocks, count, chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    return [(chunk.heading, chunk.text) for chunk in chunks]


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
    assert cut(Block("One two three."), Block("Four five.")) == [("Club", "One two three.\n\nFour five.")]
    assert cut(Block("1 2 3 4 5 6 7"), Block("8 9 10 11 12")) == [("Club", "1 2 3 4 5 6 7"), ("Club", "8 9 10 11 12")]


def test_a_long_paragraph_is_cut_between_sentences_and_overlaps() -> None:
    assert cut(Block("One two three four five six. Seven eight nine ten eleven. Twelve.")) == [
        ("Club", "One two three four five six. Seven eight nine ten eleven."),
        ("Club", "nine ten eleven. Twelve."),
    ]


def test_a_long_list_is_cut_between_its_lines() -> None:
    assert cut(Block("- a b c d e\n- f g h i j\n- k l"), overlap_tokens=0) == [
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


@given(BLOCKS, st.integers(8, 40), st.integers(0, 4))
def test_passages_fit_and_hold_every_word_in_order(blocks: list[Block], chunk_tokens: int, overlap: int) -> None:
    chunks = cut(*blocks, chunk_tokens=chunk_tokens, overlap_tokens=overlap)
    assert all(count(heading) + count(text) <= chunk_tokens for heading, text in chunks)
    assert all(text == text.strip() and text for _, text in chunks)
    words = iter([word for _, text in chunks for word in text.split()])
    assert all(word in words for block in blocks if not block.level for word in block.text.split())


@pytest.mark.parametrize("length", [1, 50, 1_000])
def test_one_endless_word_is_cut_too(length: int) -> None:
    chunks = cut_into_chunks("", [Block("x" * length)], len, chunk_tokens=32, overlap_tokens=4)
    assert all(len(chunk.text) <= 32 for chunk in chunks)
    assert sum(len(chunk.text) for chunk in chunks) >= length
