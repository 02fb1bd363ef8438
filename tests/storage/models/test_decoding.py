"""Tokens drawn for a batch: each row by its own settings and seed, from its own nucleus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import torch

from bot.engine import Sampling
from storage.models.decoding import CANDIDATES, choose_tokens

SHARES = (0.5, 0.3, 0.15, 0.05)
"""Probabilities of four tokens."""
ROWS = 4_000


@dataclass
class Row:
    sampling: Sampling
    seed: int = 1
    generated_ids: list[int] = field(default_factory=list)
    prompt_ids: tuple[int, ...] = ()
    max_tokens: int = 1
    is_done: bool = False

    def __post_init__(self) -> None:
        self.random = Random(self.seed)


def sampling(temperature: float = 1.0, top_p: float = 1.0, penalty: float = 0.0) -> Sampling:
    return Sampling(temperature, top_p, penalty, 1)


def choose(rows: list[Row], shares: tuple[float, ...] = SHARES) -> list[int]:
    return choose_tokens(torch.tensor([shares] * len(rows)).log(), rows).tolist()


def share_of_each(rows: list[Row]) -> list[float]:
    found = Counter(choose(rows))
    return [found[token] / len(rows) for token in range(len(SHARES))]


def near(shares: list[float], expected: list[float]) -> bool:
    """Whether shares of ROWS draws are within four standard errors."""
    return all(abs(one - other) < 4 * 0.5 / ROWS**0.5 for one, other in zip(shares, expected, strict=True))


def test_tokens_come_as_often_as_the_model_finds_them_likely() -> None:
    assert near(share_of_each([Row(sampling(), seed) for seed in range(ROWS)]), [*SHARES])


def test_tokens_outside_of_the_nucleus_never_come() -> None:
    """0.5 and 0.3 reach 0.6 together."""
    shares = share_of_each([Row(sampling(top_p=0.6), seed) for seed in range(ROWS)])
    assert near(shares, [0.625, 0.375, 0, 0])
    assert shares[2:] == [0, 0]


def test_a_temperature_sharpens_or_flattens() -> None:
    """At 0.5, probabilities are squared."""
    whole = sum(share**2 for share in SHARES)
    shares = share_of_each([Row(sampling(temperature=0.5), seed) for seed in range(ROWS)])
    assert near(shares, [share**2 / whole for share in SHARES])


def test_rows_of_one_batch_have_settings_of_their_own() -> None:
    greedy, narrow = Row(sampling(temperature=0.0)), Row(sampling(top_p=0.1))
    bored = Row(sampling(temperature=0.0, penalty=2.0), generated_ids=[0, 0, 1])
    assert choose([greedy, narrow, bored]) == [0, 0, 2], "a penalty of 2 divides a probability by 7.4, once"


def test_a_row_draws_the_same_alone_and_beside_others() -> None:
    beside = [Row(sampling(), seed) for seed in range(20)]
    assert choose(beside) == [choose([Row(sampling(), seed)])[0] for seed in range(20)]
    wide = [Row(sampling(top_p=1.0), 7), Row(sampling(top_p=0.3), 8)]
    flat = (1 / 1_000,) * 1_000
    assert choose(wide, flat)[1] == choose([Row(sampling(top_p=0.3), 8)], flat)[0]


def test_a_nucleus_may_be_larger_than_the_first_search() -> None:
    flat = (1 / 1_000,) * 1_000
    drawn = choose([Row(sampling(), seed) for seed in range(200)], flat)
    assert len(set(drawn)) > 150
    assert max(drawn) > CANDIDATES
