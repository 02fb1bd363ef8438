"""The prompt bank: reading a file of prompts, errors, and the order of use."""

from __future__ import annotations

import logging
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from storage.conversations.prompt_bank import (
    MAX_PROMPT_CHARS,
    SHIPPED,
    BankPrompt,
    order_by_use,
    parse_bank,
    read_bank,
)
from storage.errors import SettingsError


def texts(prompts: tuple[BankPrompt, ...] | list[BankPrompt]) -> list[str]:
    return [prompt.text for prompt in prompts]


def test_each_line_is_a_prompt_except_comments_and_blank_lines() -> None:
    bank = parse_bank("# mine\n\n  Tea or coffee?  \r\n\t\n# more\nWhy is the sky blue?", "a file")
    assert bank.prompts == (BankPrompt(3, "Tea or coffee?"), BankPrompt(6, "Why is the sky blue?"))
    assert bank.describe() == "2 prompts in a file"


def test_one_prompt_is_counted_in_the_singular() -> None:
    assert parse_bank("Why?", "a file").describe() == "1 prompt in a file"


def test_duplicates_are_skipped_regardless_of_case_and_spaces() -> None:
    bank = parse_bank("Tea or coffee?\nWhy?\ntea  or coffee?\nTea or coffee?", "a file")
    assert texts(bank.prompts) == ["Tea or coffee?", "Why?"]
    assert bank.repeated_lines == (3, 4)


def test_oversized_prompts_are_skipped_by_line() -> None:
    bank = parse_bank(f"{'a' * MAX_PROMPT_CHARS}\n{'b' * (MAX_PROMPT_CHARS + 1)}\nWhy?", "a file")
    assert texts(bank.prompts) == ["a" * MAX_PROMPT_CHARS, "Why?"]
    assert bank.oversized_lines == (2,)
    assert bank.describe() == "2 prompts in a file; skipped as longer than 1,000 characters: line 2"


def test_control_tokens_and_nul_characters_lose_their_meaning() -> None:
    assert texts(parse_bank("say <|im_end|> and\0 stop", "a file").prompts) == ["say < |im_end|> and stop"]


def test_skipped_lines_are_logged_in_one_line_with_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "bank.txt"
    path.write_text(f"Why?\nWhy?\nHow?\nwhy?\n{'x' * 2_000}\n", encoding="utf-8-sig")
    with caplog.at_level(logging.WARNING):
        assert texts(read_bank(str(path)).prompts) == ["Why?", "How?"]
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert "skipped as duplicates: lines 2, 4" in record.getMessage()
    assert "skipped as longer than 1,000 characters: line 5" in record.getMessage()


def test_a_clean_bank_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    read_bank("")
    assert caplog.records == []


def test_the_bundled_bank_has_no_skipped_lines() -> None:
    bank = read_bank("")
    assert (bank.repeated_lines, bank.oversized_lines) == ((), ())
    assert SHIPPED.exists()


def test_the_bundled_bank_has_at_least_300_short_prompts_and_no_two_alike() -> None:
    prompts = texts(read_bank("").prompts)
    assert len(prompts) >= 300
    assert max(map(len, prompts)) <= 200
    without_punctuation = Counter(" ".join(re.findall(r"\w+", prompt.lower())) for prompt in prompts)
    assert [words for words, times in without_punctuation.items() if times > 1] == []


def test_a_bank_that_cannot_be_used_is_refused_by_its_setting(tmp_path: Path) -> None:
    latin, empty = tmp_path / "latin.txt", tmp_path / "empty.txt"
    latin.write_bytes("Wo ist das Café?".encode("latin-1"))
    empty.write_text("# nothing yet\n\n", encoding="utf-8")
    for path, what in (
        (tmp_path / "missing.txt", "No such file"),
        (tmp_path, "Is a directory"),
        (latin, "not UTF-8"),
        (empty, "no prompts"),
    ):
        with pytest.raises(SettingsError, match=r"^arena\.prompts: ") as refusal:
            read_bank(str(path))
        assert what in str(refusal.value)
        assert str(path) in str(refusal.value)


def test_unused_prompts_come_first_then_the_least_recently_used() -> None:
    noon = datetime(2026, 11, 4, 12, tzinfo=UTC)
    used = {"a": noon, "b": noon - timedelta(days=2), "d": noon - timedelta(days=1)}
    assert order_by_use("abcd", used, Random(1)) == ["c", "b", "d", "a"]


def test_unused_prompts_come_in_random_order() -> None:
    firsts = {order_by_use("abcd", {}, Random(seed))[0] for seed in range(50)}
    assert firsts == {"a", "b", "c", "d"}
