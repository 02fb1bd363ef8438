"""What an arena shows: no versions and no votes while it is open, both once it is closed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import discord
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simcord.components import COMPONENTS_V2_FLAG, validate_components

from bot.arenas.board import (
    blind_board,
    describe_arena,
    fit_fairly,
    outcome,
    results_board,
    share_room,
)
from bot.text.panels import MAX_PANEL_CHARS
from storage.database.enums import ArenaStatus
from storage.settings.sections import OutputSettings
from storage.votes.arenas import Arena, ArenaAnswer

ROOM = 2_500
NOON = datetime(2026, 11, 4, 12, tzinfo=UTC)


def arena(status: ArenaStatus = ArenaStatus.OPEN, prompt: str = "Tea or coffee?", reason: str = "") -> Arena:
    return Arena(1, 1, 2, 3, 4, prompt, status, "grace", NOON, NOON, None, reason)


def answers(*picks: int, texts: tuple[str, ...] = ("tea", "coffee", "both", "none")) -> list[ArenaAnswer]:
    versions = ("v2", "base", "v1", "v2")
    return [ArenaAnswer(i + 1, i + 1, versions[i], texts[i], count) for i, count in enumerate(picks)]


def texts(board: discord.ui.LayoutView) -> list[str]:
    return [part.content for part in board.walk_children() if isinstance(part, discord.ui.TextDisplay)]


def test_an_open_arena_shows_prompt_answers_and_when_it_closes_but_no_version_and_no_count() -> None:
    board = blind_board(arena(), answers(5, 2, 0), OutputSettings())
    head, *shown = texts(board)
    assert head.endswith(">>> Tea or coffee?")
    assert f"<t:{NOON.timestamp():.0f}:R>" in head
    assert shown == ["### 1\ntea", "### 2\ncoffee", "### 3\nboth"]
    assert not any(secret in str(board.to_components()) for secret in ("v2", "base", "v1", "votes", "-# █"))


def test_a_closed_arena_shows_versions_counts_bars_and_the_winner() -> None:
    assert texts(results_board(arena(), answers(1, 3, 0), OutputSettings())) == [
        "**This arena is closed.** Answer 2 (base) won with 3 of 4 choices.\n>>> Tea or coffee?",
        "### 1 · v2\ntea\n-# ███░░░░░░░░░ 1 choice",
        "### 2 · base 🏆\ncoffee\n-# █████████░░░ 3 choices",
        "### 3 · v1\nboth\n-# ░░░░░░░░░░░░ 0 choices",
    ]


def test_no_table_in_an_answer_forges_the_count_of_its_choices() -> None:
    forged = "-# ▓▓▓ **9 choices**"
    table = f"| | |\n|---|---|\n| {forged} | https://x.example |"
    board = results_board(arena(), answers(0, 0, texts=(table, "tea")), OutputSettings())
    assert forged not in texts(board)[1].split("\n")


@pytest.mark.parametrize(
    ("picks", "says"),
    [
        ((0, 0), "Nobody chose."),
        ((1, 0), "Answer 1 (v2) won with 1 of 1 choice."),
        ((2, 2, 1), "Answers 1 (v2) and 2 (base) tied with 2 of 5 choices each."),
        ((1, 1, 1), "Answers 1 (v2), 2 (base) and 3 (v1) tied with 1 of 3 choices each."),
    ],
)
def test_the_outcome_is_a_sentence_without_markdown(picks: tuple[int, ...], says: str) -> None:
    assert outcome(answers(*picks)) == says


def test_admins_see_how_many_chose_in_an_open_arena_but_not_for_what() -> None:
    line = describe_arena(arena(prompt="x" * 100), answers(5, 2))
    assert "<#3>" in line
    assert "7 choices so far" in line
    assert "x" * 61 not in line
    assert "cancelled: no luck" in describe_arena(arena(ArenaStatus.FAILED, reason="no luck"), [])


def test_admins_see_how_an_arena_ended_until_its_answers_are_deleted() -> None:
    closed = replace(arena(ArenaStatus.CLOSED), closed_at=NOON)
    when = f"closed <t:{NOON.timestamp():.0f}:R>"
    assert describe_arena(closed, answers(5, 2)).endswith(f"{when} · Answer 1 (v2) won with 5 of 7 choices.")
    assert describe_arena(closed, []).endswith(when)


def test_a_short_answer_is_kept_whole_and_long_ones_are_cut_equally() -> None:
    texts = fit_fairly(["short", "word " * 1_000, "word " * 2_000], ROOM)
    assert texts[0] == "short"
    assert all(text.endswith("word …") for text in texts[1:])
    assert abs(len(texts[1]) - len(texts[2])) < 10


@pytest.mark.parametrize("prompt", ["p" * 1_000, "# " * 500, "@everyone " * 100])
def test_the_longest_prompt_and_answers_fit_into_a_message(prompt: str) -> None:
    long = ("word " * 2_000, "a" * 9_000, "```py\n" + "x = 1\n" * 2_000, "🙂" * 5_000)
    for board in (
        blind_board(arena(prompt=prompt), answers(9, 9, 9, 9, texts=long), OutputSettings()),
        results_board(arena(prompt=prompt), answers(99_999, 9, 9, 99_999, texts=long), OutputSettings()),
    ):
        assert MAX_PANEL_CHARS - 500 < sum(map(len, texts(board))) <= MAX_PANEL_CHARS
        validate_components(board.to_components(), flags=COMPONENTS_V2_FLAG)


@given(st.lists(st.integers(0, 9_000), max_size=4))
def test_room_is_shared_fairly(lengths: list[int]) -> None:
    longest = share_room(lengths, ROOM)
    kept = [min(length, longest) for length in lengths]
    assert sum(kept) <= ROOM
    if kept != lengths:  # nothing is wasted while something is cut
        assert sum(kept) > ROOM - len(lengths)


@given(st.lists(st.text(min_size=1, max_size=50).filter(str.strip), min_size=2, max_size=4), st.integers(1, 200))
def test_texts_are_only_cut_if_they_do_not_fit(texts: list[str], times: int) -> None:
    long = [text * times for text in texts]
    fitted = fit_fairly(long, ROOM)
    assert sum(map(len, fitted)) <= ROOM
    if sum(map(len, long)) <= ROOM:
        assert fitted == long
