"""Which numbers of an engine are those of a version, and which are the bare base's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.errors import AdapterError
from storage.models.effect import METADATA_KEY, TOLERANCE_NATS, EffectCheck, EffectRecord, read_effect, write_effect

TOKENS = tuple(range(40))
BASE = tuple(-1.0 - place % 5 for place in range(39))
CHANGES = tuple(0.6 * (-1) ** (place // 3) for place in range(39))
"""Their root mean square is 0.6 nats, like that of the starter."""
REF = AdapterRef("a" * 64, Path("adapter"))


def version(share: float = 1.0) -> tuple[float, ...]:
    return tuple(before + share * change for before, change in zip(BASE, CHANGES, strict=True))


def check_of(size: float = 1.0, strength: float = 1.0) -> EffectCheck:
    """Return the check of a version that changes `size` times as much as a starter."""
    return EffectCheck(replace(REF, strength=strength), EffectRecord(TOKENS, BASE, version(size)), TOKENS)


noise = st.lists(st.floats(-0.19, 0.19), min_size=39, max_size=39)
"""Twice what 8-bit graphs and 4-bit files were seen to cost, 0.1 nats (root mean square)."""


def rounded(logps: tuple[float, ...], noise: list[float]) -> list[float]:
    return [one + error for one, error in zip(logps, noise, strict=True)]


@given(noise, st.floats(0.0, 10.0))
def test_rounding_makes_no_version_a_stranger(noise: list[float], size: float) -> None:
    assert check_of(size).fault(rounded(version(size), noise), BASE) == ""


@given(noise, st.floats(0.9, 10.0))
def test_the_base_is_recognised_in_spite_of_rounding(noise: list[float], size: float) -> None:
    assert check_of(size).fault(rounded(BASE, noise), BASE).startswith("answers as the bare base (")


@given(noise, st.floats(0.0, 0.24))
def test_where_the_trainer_measured_next_to_nothing_the_base_passes(noise: list[float], size: float) -> None:
    assert check_of(size).fault(rounded(BASE, noise), BASE) == ""


@given(st.floats(0.0, 1.5), st.floats(0.25, 2.0))
def test_a_strength_changes_something_like_that_share(strength: float, about: float) -> None:
    check = check_of(strength=strength)
    assert strength >= 1.0 or check.fault(version(strength * about), BASE) == ""
    assert check.fault(version(strength), BASE) == "" or strength > 1.0
    assert strength < 0.26 or check.fault(BASE, BASE)
    assert strength > 0.24 or not check.fault(BASE, BASE)


def test_a_strong_change_may_nearly_vanish_at_a_low_strength_but_not_turn_round() -> None:
    """As seen with real weights: at a tenth of the strength, 7 nats left 0.2 rather than 0.7."""
    check = check_of(size=12.0, strength=0.1)
    assert check.fault(version(12.0 * 0.1 * 0.3), BASE) == ""
    assert "0% of the change" in check.fault(version(0.0), BASE)
    assert "0% of the change" in check.fault(version(-12.0 * 0.1), BASE)


@given(noise, noise, st.floats(1.0, 6.0))
def test_an_engine_that_rounds_the_base_a_lot_may_round_the_version_as_much(
    base: list[float], version_: list[float], size: float
) -> None:
    """Four bits on a base that did not come from four bits."""
    rounds = [3 * error for error in base]
    here = rounded(BASE, rounds)
    there = rounded(version(size), [3 * error for error in version_])
    apart = sum((3 * (one - other)) ** 2 for one, other in zip(version_, base, strict=True)) / len(base)
    rounding = sum(error**2 for error in rounds) / len(rounds)
    assert apart > (TOLERANCE_NATS + 0.6 * 0.25 * size + rounding**0.5) ** 2 or check_of(size).fault(there, here) == ""
    assert check_of(size).fault(here, here).startswith("answers as the bare base")


def test_a_version_of_another_size_or_direction_is_a_stranger() -> None:
    double = check_of().fault(version(2.0), BASE)
    assert double == "answers otherwise than the trainer measured (0.60 nats a token apart)"
    assert "otherwise" in check_of().fault(version(0.4), BASE), "such as an adapter applied to half of the layers"
    assert "0% of the change" in check_of().fault(version(-1.0), BASE)
    assert check_of().fault((*version()[:-1], math.nan), BASE) == "returns log-probabilities that are not numbers"
    within = [one + 0.9 * TOLERANCE_NATS for one in version()]
    assert check_of().fault(within, BASE) == ""


def test_without_a_record_a_version_only_has_to_differ_unless_it_is_empty(tmp_path: Path) -> None:
    for filled, fault in ((True, "answers exactly as the bare base"), (False, "")):
        down, up = np.ones((2, 4), np.float32), np.full((4, 2), float(filled), np.float32)
        save_file({"q_proj.lora_A.weight": down, "q_proj.lora_B.weight": up}, tmp_path / WEIGHTS_FILE)
        check = EffectCheck.of(AdapterRef("a" * 64, tmp_path), lambda _text: TOKENS)
        assert (check.tokens, check.fault(BASE, BASE)) == (TOKENS, fault)
        assert check.fault(version(0.05), BASE) == ""
        assert replace(check, adapter=replace(check.adapter, strength=0.0)).fault(BASE, BASE) == ""


def test_a_record_travels_in_the_file_of_weights_and_changes_none(tmp_path: Path) -> None:
    weights = {"q_proj.lora_B.weight": np.arange(6, dtype=np.float32).reshape(3, 2)}
    save_file(weights, tmp_path / WEIGHTS_FILE)
    assert read_effect(tmp_path) is None
    write_effect(tmp_path, EffectRecord((1, 2, 3), (-1.0, -2.000041), (-0.5, -4.0)))
    assert read_effect(tmp_path) == EffectRecord((1, 2, 3), (-1.0, -2.0), (-0.5, -4.0))
    written = (tmp_path / WEIGHTS_FILE).read_bytes()
    write_effect(tmp_path, EffectRecord((1, 2, 3), (-1.0, -2.0), (-0.5, -4.0)))
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == written, "equal rounds give equal bytes"
    ((name, weight),) = load_file(tmp_path / WEIGHTS_FILE).items()
    np.testing.assert_array_equal(weight, weights[name])


@pytest.mark.parametrize(
    "record",
    [
        "",
        "5",
        "{}",
        '{"tokens": [1, 2], "base": [1, 2], "version": [1]}',
        '{"tokens": [-1, 2], "base": [1], "version": [1]}',
        '{"tokens": [1, 2], "base": [1], "version": [NaN]}',
    ],
)
def test_a_record_that_is_none_is_refused_in_a_sentence(tmp_path: Path, record: str) -> None:
    save_file({"q_proj.lora_B.weight": np.ones(2)}, tmp_path / WEIGHTS_FILE, metadata={METADATA_KEY: record})
    with pytest.raises(AdapterError, match=r"record of what the adapter changes, in .* cannot be read"):
        read_effect(tmp_path)


def test_a_version_without_numbers_gets_no_record(tmp_path: Path) -> None:
    save_file({"q_proj.lora_B.weight": np.ones(2)}, tmp_path / WEIGHTS_FILE)
    write_effect(tmp_path, EffectRecord((1, 2), (-1.0,), (math.nan,)))
    assert read_effect(tmp_path) is None
