"""What an arena shows: no versions and no votes while it is open, both once it is closed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.arenas.board import (
    LONGEST_ANSWER_CHARS,
    ROOM_CHARS,
    blind_board,
    describe_arena,
    fit_fairly,
    outcome,
    results_board,
    share_room,
)
from storage.database.enums import ArenaStatus
from storage.settings.sections import OutputSettings
from storage.votes.arenas import Arena, ArenaAnswer

NOON = datetime(2026, 11, 4, 12, tzinfo=UTC)


def arena(status: ArenaStatus = ArenaStatus.OPEN, prompt: str = "Tea or coffee?", reason: str = "") -> Arena:
    return Arena(1, 1, 2, 3, 4, prompt, status, "grace", NOON, NOON, None, reason)


def answers(*picks: int, texts: tuple[str, ...] = ("tea", "coffee", "both", "none")) -> list[ArenaAnswer]:
    versions = ("v2", "base", "v1", "v2")
    return [ArenaAnswer(i + 1, i + 1, versions[i], texts[i], count) for i, count in enumerate(picks)]


def test_an_open_arena_shows_prompt_answers_and_when_it_closes_but_no_version_and_no_count() -> None:
    board = blind_board(arena(), answers(5, 2, 0), OutputSettings())
    assert board.content.endswith(">>> Tea or coffee?")
    assert f"<t:{NOON.timestamp():.0f}:R>" in board.content
    assert [(embed.title, embed.description) for embed in board.embeds] == [
        ("1", "tea"),
        ("2", "coffee"),
        ("3", "both"),
    ]
    shown = board.content + "".join(str(embed.to_dict()) for embed in board.embeds)
    assert not any(secret in shown for secret in ("v2", "base", "v1", "vote", "footer"))


def test_a_closed_arena_shows_versions_counts_bars_and_the_winner() -> None:
    board = results_board(arena(), answers(1, 3, 0), OutputSettings())
    assert board.content == ("**This arena is closed.** Answer 2 (base) won with 3 of 4 votes.\n>>> Tea or coffee?")
    assert [embed.title for embed in board.embeds] == ["1 · v2", "2 · base 🏆", "3 · v1"]
    assert [embed.footer.text for embed in board.embeds] == [
        "███░░░░░░░░░ 1 vote",
        "█████████░░░ 3 votes",
        "░░░░░░░░░░░░ 0 votes",
    ]


@pytest.mark.parametrize(
    ("picks", "says"),
    [
        ((0, 0), "Nobody voted."),
        ((1, 0), "Answer 1 (v2) won with 1 of 1 vote."),
        ((2, 2, 1), "Answers 1 (v2) and 2 (base) tied with 2 of 5 votes each."),
        ((1, 1, 1), "Answers 1 (v2), 2 (base) and 3 (v1) tied with 1 of 3 votes each."),
    ],
)
def test_the_outcome_is_a_sentence_without_markdown(picks: tuple[int, ...], says: str) -> None:
    assert outcome(answers(*picks)) == says


def test_admins_see_how_many_voted_in_an_open_arena_but_not_for_what() -> None:
    line = describe_arena(arena(prompt="x" * 100), answers(5, 2))
    assert "<#3>" in line
    assert "7 votes so far" in line
    assert "x" * 61 not in line
    assert "cancelled: no luck" in describe_arena(arena(ArenaStatus.FAILED, reason="no luck"), [])


def test_a_short_answer_is_kept_whole_and_long_ones_are_cut_equally() -> None:
    texts = fit_fairly(["short", "word " * 1_000, "word " * 2_000])
    assert texts[0] == "short"
    assert all(text.endswith("word …") for text in texts[1:])
    assert abs(len(texts[1]) - len(texts[2])) < 10


def test_the_longest_prompt_and_answers_fit_into_a_message() -> None:
    long = ("word " * 2_000, "a" * 9_000, "```py\n" + "x = 1\n" * 2_000, "🙂" * 5_000)
    for board in (
        blind_board(arena(prompt="p" * 1_000), answers(9, 9, 9, 9, texts=long), OutputSettings()),
        results_board(arena(prompt="p" * 1_000), answers(99_999, 9, 9, 99_999, texts=long), OutputSettings()),
    ):
        assert len(board.content) <= 2_000
        assert sum(len(embed) for embed in board.embeds) <= 6_000
        assert all(len(embed.description or "") <= 4_096 for embed in board.embeds)


@given(st.lists(st.integers(0, 9_000), max_size=4))
def test_room_is_shared_fairly(lengths: list[int]) -> None:
    longest = share_room(lengths, ROOM_CHARS)
    kept = [min(length, longest) for length in lengths]
    assert sum(kept) <= ROOM_CHARS
    if kept != lengths:  # nothing is wasted while something is cut
        assert sum(kept) > ROOM_CHARS - len(lengths)


@given(st.lists(st.text(min_size=1, max_size=50).filter(str.strip), min_size=2, max_size=4), st.integers(1, 200))
def test_texts_are_only_cut_if_they_do_not_fit(texts: list[str], times: int) -> None:
    long = [text * times for text in texts]
    fitted = fit_fairly(long)
    assert sum(map(len, fitted)) <= ROOM_CHARS
    if sum(map(len, long)) <= ROOM_CHARS and max(map(len, long)) <= LONGEST_ANSWER_CHARS:
        assert fitted == long
