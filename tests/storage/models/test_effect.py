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
from storage.models.effect import METADATA_KEY, EffectCheck, EffectRecord, read_effect, write_effect

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


noise = st.lists(st.floats(-0.05, 0.05), min_size=39, max_size=39)
"""At worst all of it lies along the change; 8-bit graphs of the bundled model were 0.02 nats longer than the record."""


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


@given(st.floats(0.3, 0.99), st.floats(0.5, 2.0))
def test_a_weaker_version_only_has_to_change_something_of_that_size(strength: float, about: float) -> None:
    """With real weights, half the strength changes half to twice as much as half, and not in the same direction."""
    check = check_of(strength=strength)
    assert check.fault(version(strength * about), BASE) == ""
    turned = [before - strength * about * change for before, change in zip(BASE, reversed(CHANGES), strict=True)]
    assert check.fault(turned, BASE) == ""
    assert check.fault(version(0.3 * strength), BASE).startswith("answers as the bare base (30%")


def test_a_stronger_version_is_only_told_from_the_base() -> None:
    check = check_of(strength=1.5)
    assert check.fault(version(1.9), BASE) == check.fault(version(1.0), BASE) == ""
    assert check.fault(BASE, BASE).startswith("answers as the bare base (0%")


def changes(size: float) -> tuple[float, ...]:
    return tuple(size * change for change in CHANGES)


def _plus(*numbers: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(sum, zip(*numbers, strict=True)))


def rounds(size: float) -> tuple[float, ...]:
    """Return what an engine's rounding does to the base, of this size (root mean square)."""
    return tuple(size * (-1) ** place for place in range(39))


@pytest.mark.parametrize(("size", "rounding"), [(4.3, 0.39), (2.2, 0.2), (1.0, 0.09)])
def test_the_tolerance_follows_what_the_engine_does_to_the_base(size: float, rounding: float) -> None:
    """Four bits, on a base that did not come from four bits: versions lacked as much as 1.4 times its rounding."""
    check = check_of(size)
    here = _plus(BASE, rounds(rounding))
    shorter = size - 1.4 * rounding / 0.6
    assert check.fault(_plus(here, changes(shorter)), here) == ""
    assert check.fault(_plus(here, changes(size), rounds(2.5 * rounding)), here) == ""
    assert "otherwise" in check.fault(version(shorter), BASE), "where nothing is rounded"
    for share in (0.5, 2.0, -1.0):
        assert "otherwise" in check.fault(_plus(here, changes(share * size)), here)
    assert check.fault(here, here).startswith("answers as the bare base (0%")


def test_a_version_of_another_size_or_direction_is_a_stranger() -> None:
    assert check_of().fault(version(2.0), BASE) == "answers otherwise than the trainer measured (200% of the change)"
    assert "(50% of" in check_of().fault(version(0.5), BASE), "such as an adapter applied to half of the layers"
    assert "(-100% of" in check_of().fault(version(-1.0), BASE)
    beside = [one + error for one, error in zip(version(), rounds(0.2), strict=True)]
    assert check_of().fault(beside, BASE) == "answers otherwise than the trainer measured (0.20 nats a token apart)"
    assert check_of().fault((*version()[:-1], math.nan), BASE) == "returns log-probabilities that are not numbers"


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
