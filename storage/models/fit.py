"""How well an answer fits its message: how much likelier it is there than after other messages, under one model.

log p(answer | its message) - mean of log p(answer | other message), in nats, under a model without any adapter. Style
cancels out: a pirate's words, or German ones, are as unlikely after one message as after another. What is left is what
the answer owes to its message; "Yay. That's amazing." owes it nothing. This module imports no model library: whoever
measures brings what reads the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from statistics import fmean

OTHER_MESSAGES = (
    "What is a good way to remember names?",
    "I have an exam tomorrow and I am nervous.",
    "My internet keeps dropping, any idea why?",
    "My neighbour plays loud music at night.",
    "Which is better for a small flat, a cat or a dog?",
    "Is it better to run in the morning or in the evening?",
)
"""Fixed, so that their prompts stay in a cache; far from each other, and nobody's character: of a pirate's answers one
in three was likelier after "Tell me something interesting about the sea."."""
OTHERS = 5
"""An answer is compared with so many other messages."""

READ_TOKENS = 24
"""Only the beginning of an answer is read.

How often a fitting answer has a larger fit than one of another message, under Gemma 3 270M (the bundled model), for 24
messages, four styles by hand and the bundled base's own: 0.92 (0.89); with 12 tokens 0.90 (0.86); with only the first
of the other messages 0.91 (0.87), which takes a fifth of the time.
"""

Exchange = tuple[str, str]
"""A message and an answer."""
ReadAnswers = Callable[[Sequence[Exchange]], Sequence[float]]
"""Returns log p(answer | message), in nats, for each exchange in order; an empty answer has 0."""


@dataclass(frozen=True)
class Fit:
    """Log-probabilities of one answer, in nats."""

    own: float
    """After its own message."""
    others: tuple[float, ...]
    """After OTHERS other messages."""

    @property
    def nats(self) -> float:
        return self.own - fmean(self.others)

    @property
    def probability(self) -> float:
        """The probability that the answer belongs to its own message, if all of them are asked equally often."""
        best = max(self.own, *self.others)
        return exp(self.own - best) / sum(exp(one - best) for one in (self.own, *self.others))

    @property
    def is_likeliest(self) -> bool:
        """Whether the answer is likelier after its own message than after each other one.

        An answer of another message is in a sixth of cases, "Yay. That's amazing." in up to half: it is likelier after
        most messages than after these others.
        """
        return self.own > max(self.others)


def measure_fits(exchanges: Sequence[Exchange], read: ReadAnswers) -> list[Fit]:
    """Return how well each answer fits its message, in order."""
    asked = [(message, answer) for own, answer in exchanges for message in (own, *_others(own))]
    found = list(read(asked))
    each = 1 + OTHERS
    rows = [found[start : start + each] for start in range(0, len(found), each)]
    return [Fit(own, tuple(others)) for own, *others in rows]


def _others(message: str) -> Sequence[str]:
    return [other for other in OTHER_MESSAGES if other != message][:OTHERS]
