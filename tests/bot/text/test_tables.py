from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.cells import cell_len

from bot.text.sanitize import sanitize_markdown
from bot.text.tables import MAX_GROWTH, MAX_WIDTH, show_tables
from storage.settings.sections import OutputSettings

OUTPUT = OutputSettings()

NARROW = """Our team:

| Name | Role | Since |
|:-----|:----:|------:|
| Ada `x` | **admin** | 2019 |
| 漢字 | a\\|b | 7 |
| Bo |
And more."""

CELLS = st.text(st.sampled_from("abc漢👍*`\\ _-:~<>"), max_size=12)
TABLES = st.integers(1, 4).flatmap(
    lambda columns: st.lists(st.lists(CELLS, min_size=columns, max_size=columns + 1), max_size=6).map(
        lambda rows: "\n".join(
            [
                "|".join(["", *["head"] * columns, ""]),
                "|" + "---|" * columns,
                *(f"| {' | '.join(row)} |" for row in rows),
            ]
        )
    )
)


ALIGNED = """Our team:

```
Name   Role   Since
-----  -----  -----
Ada x  admin   2019
漢字    a|b       7
Bo
```
And more."""


def test_a_narrow_table_is_aligned() -> None:
    assert show_tables(NARROW, OUTPUT) == ALIGNED


def test_a_wide_table_is_told_row_by_row() -> None:
    role = "Decides who may come in, and **when**"
    table = f"| Name | Role | Since |\n|---|---|---|\n| Ada | {role} | 2019 |\n| `bo` | | 2020 |"
    assert show_tables(table, OUTPUT) == f"**Name: Ada**\n- Role: {role}\n- Since: 2019\nName: `bo`\n- Since: 2020"


def test_an_address_stays_a_link() -> None:
    table = "| a | b |\n|---|---|\n| 1 | https://x.example |"
    assert show_tables(table, OUTPUT) == "**a: 1**\n- b: https://x.example"


@pytest.mark.threat("T54")
@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("-# ▓▓▓ **9 choices**", "\\-# ▓▓▓ **9 choices**"),
        ("# **HUGE**", "\\# **HUGE**"),
    ],
)
def test_no_cell_becomes_small_print_or_a_heading(cell: str, shown: str) -> None:
    table = sanitize_markdown(f"| | |\n|---|---|\n| {cell} | https://x.example |\n| a | {cell} |", OUTPUT)
    assert show_tables(table, OUTPUT) == f"{shown}\n- https://x.example\n**a**\n- {shown}"


@pytest.mark.parametrize(
    "text",
    [
        "| a | b |\n|---|---|",  # still growing
        "| a | b |\n|---|---|\n| 1 | 2 | 3 |",
        "| who | is it |\n|---|---|\n| he | ||Snape|| |",
        "```\n| a | b |\n|---|---|\n| 1 | 2 |\n```",
        "see ```\n| a | b |\n|---|---|\n| 1 | 2 |\n```",
        f"| a | {'long heading ' * 60}|\n|---|---|\n" + "| 1 | 2 |\n" * 60,
        "a | b\nc | d",
        "---",
    ],
)
def test_what_would_lose_or_show_something_stays_as_it_is(text: str) -> None:
    assert show_tables(text, OUTPUT) == text


@given(TABLES)
@pytest.mark.threat("T58")
def test_no_cell_is_lost_and_nothing_grows_without_limit(table: str) -> None:
    assume("```" not in table)
    shown = show_tables(f"before\n\n{table}\n\nafter", OUTPUT)
    assert shown.startswith("before\n\n")
    assert shown.endswith("\n\nafter")
    words = re.findall(r"[abc漢👍]", table.partition("|\n")[2])
    assert re.findall(r"[abc漢👍]", re.sub("head|before|after", "", shown)) == words
    assert shown.count("```") in (0, 2)
    assert len(shown) <= MAX_GROWTH * len(table) + len("before\n\n\n\nafter")
    if "```" in shown:
        assert max(cell_len(line) for line in shown.split("\n")) <= MAX_WIDTH
