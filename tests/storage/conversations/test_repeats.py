"""Answers that repeat examples word for word although another message was answered."""

from __future__ import annotations

import pytest

from storage.conversations.degenerate import repeats_answer, repeats_pieces

EXAMPLES = [
    ("How is the sea?", "Flat for now, and grey."),
    ("Hi", "Hello!"),
    ("I am new", "Welcome. What brought you to this server?"),
    ("Tea?", "我觉得今天的海很平静。"),
]


@pytest.mark.parametrize(
    ("message", "answer", "whole", "pieces"),
    [
        ("What should I cook?", "Flat for now, and grey.", True, True),
        ("What should I cook?", "  flat, for now and GREY", True, True),
        ("What should I cook?", "我觉得今天的海很平静", True, True),
        ("how is the sea", "Flat for now, and grey.", False, False),
        ("What should I cook?", "Start with an onion. What brought you to this server?", False, True),
        ("What should I cook?", "Start with an onion, a carrot and oil. What brought you to cook?", False, False),
        ("What should I cook?", "Hello!", False, False),
        ("What should I cook?", "🍳🍳🍳🍳🍳 🍳🍳", False, False),
    ],
)
def test_case_spaces_and_signs_do_not_matter_and_short_answers_are_anybodys(
    message: str, answer: str, whole: bool, pieces: bool
) -> None:
    assert repeats_answer(message, answer, EXAMPLES) is whole
    assert repeats_pieces(message, answer, EXAMPLES) is pieces
