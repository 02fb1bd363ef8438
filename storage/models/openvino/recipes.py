"""Recipes for rounding a graph's weights and activations, and the choice for a base. Imports no model library."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from storage.files import sync_file

MAX_DIVERGENCE = 0.15
"""Largest divergence of a graph from transformers on the comparison's texts (KL, nats a token). Measured on bases of
0.1, 0.5 and 1.5 billion parameters: 8-bit weights cost 0.003 to 0.010, with 8-bit activations 0.005 to 0.011; 4-bit
weights 0.45, 0.18 and 0.12."""
WORTH = 1.1
"""Minimum speed of a recipe, as a multiple of the best of those that round less."""


@dataclass(frozen=True)
class GraphRecipe:
    name: str
    """Name such as W8A16: W is bits of weights, A bits of activations, as in SmoothQuant (Xiao et al. 2023)."""
    description: str
    weight_bits: int
    activation_group: int
    """Number of inputs whose activations share a scale when multiplied as 8-bit integers; 0: not rounded."""


W8A16 = GraphRecipe("W8A16", "8-bit weights", 8, 0)
W8A8 = GraphRecipe("W8A8", "8-bit weights and activations", 8, 32)
W4A8 = GraphRecipe("W4A8", "4-bit weights and 8-bit activations", 4, 128)
RECIPES = {recipe.name: recipe for recipe in (W8A16, W8A8, W4A8)}
"""Recipes by name; those that round least come first."""


@dataclass(frozen=True)
class Speed:
    """Tokens a second."""

    one_chat: float
    eight_chats: float
    reading: float

    def over(self, other: Speed) -> float:
        """Return this speed as a multiple of the other, by the geometric mean of the three."""
        mine, theirs = asdict(self).values(), asdict(other).values()
        return math.exp(sum(math.log(one / two) for one, two in zip(mine, theirs, strict=True)) / len(asdict(self)))


@dataclass(frozen=True)
class Measurement:
    """Measurements of one recipe for a base on this machine."""

    recipe: str
    base: float
    """Divergence of the base's graph from transformers (KL, nats a token)."""
    adapter: float
    """Divergence of the base's graph with an adapter (KL, nats a token)."""
    speed: Speed

    @property
    def description(self) -> str:
        return RECIPES[self.recipe].description

    @property
    def divergence(self) -> float:
        return max(self.base, self.adapter)


@dataclass(frozen=True)
class BaseEffect:
    """The base graph's log-probabilities of the text for checking versions."""

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    """Log-probability of each token except the first, in nats."""


@dataclass(frozen=True)
class GraphVerdict:
    """The result of comparing a base's graphs with transformers."""

    refused: str = ""
    """The reason why no graph may be used, without a full stop; "" if one may."""
    recipe: str = W8A16.name
    why: str = ""
    """The reason for the recipe, without a full stop."""
    effect: BaseEffect | None = None
    measured: tuple[Measurement, ...] = ()
    free_bytes: int | None = None
    """Memory that was free without the comparison, if it was too little for the comparison."""

    def describe(self) -> str:
        """Return the recipe and its reason in words, without a full stop."""
        description = RECIPES[self.recipe].description
        return f"{description} ({self.why})" if self.why else description


def choose_recipe(measured: Sequence[Measurement]) -> tuple[str, str]:
    """Return (name of the recipe that serves the base here, reason), given the measurements, least rounding first."""
    exact, *others = measured
    if not others:
        return exact.recipe, "a base of this size is fast, and rounding more would change what it says"
    chosen = exact
    why: list[str] = []
    for one in others:
        gain = one.speed.over(chosen.speed)
        if not one.divergence <= MAX_DIVERGENCE:  # NaN too
            change = f"{one.divergence:.2f} nats a token; limit {MAX_DIVERGENCE}"
            why.append(f"{one.description} would change answers too much ({change})")
        elif gain < WORTH:
            why.append(f"{one.description} would be only {gain:.2f} times as fast as {chosen.description}")
        else:
            chosen = one
    if chosen is not exact:
        gain = chosen.speed.over(exact.speed)
        than = f"{gain:.1f} times as fast as {exact.description}"
        why = [f"{than}, and {chosen.divergence:.3f} nats a token from transformers", *why]
    return chosen.recipe, "; ".join(why)


def write_verdict(file: Path, verdict: GraphVerdict) -> None:
    """Write the file completely or not at all."""
    staging = file.with_suffix(".staging")
    staging.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
    sync_file(staging)
    staging.replace(file)


def read_verdict(file: Path) -> GraphVerdict | None:
    """Return the verdict; None if the file is unreadable or names an unknown recipe."""
    try:
        verdict = TypeAdapter(GraphVerdict).validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    return verdict if verdict.recipe in RECIPES else None
