"""Measures an answer's fit to its message: its extra likelihood there compared with other messages, under one model.

log p(answer | its message) - mean of log p(answer | other message), in nats, under a model without any adapter. Style
cancels out: a pirate's words, or German ones, are as unlikely after one message as after another. The rest is the
answer's debt to its message; "Yay. That's amazing." owes it nothing. This module imports no model library: callers
bring the function that reads the answers.
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
"""Fixed, so that their prompts stay in a cache; far apart in subject, and none typical of a character: one in three of
a pirate's answers was likelier after "Tell me something interesting about the sea."."""
OTHERS = 5
"""Number of other messages that an answer is compared with."""

READ_TOKENS = 24
"""Only this many tokens at the beginning of an answer are read.

Share of cases in which a fitting answer has a larger fit than one of another message, under Gemma 3 270M (the bundled
model), for 24 messages, four styles by hand and the bundled base's own: 0.92 (0.89); with 12 tokens 0.90 (0.86); with
only the first of the other messages 0.91 (0.87), which takes a fifth of the time.
"""

Exchange = tuple[str, str]
"""(message, answer)"""
ReadAnswers = Callable[[Sequence[Exchange]], Sequence[float]]
"""Returns log p(answer | message), in nats, for each exchange in order; an empty answer has 0."""


@dataclass(frozen=True)
class Fit:
    """Log-probabilities of one answer, in nats."""

    own: float
    """The answer's log-probability after its own message."""
    others: tuple[float, ...]
    """Its log-probabilities after OTHERS other messages."""

    @property
    def nats(self) -> float:
        return self.own - fmean(self.others)

    @property
    def probability(self) -> float:
        """The probability that the answer belongs to its own message, if all messages are equally frequent."""
        best = max(self.own, *self.others)
        return exp(self.own - best) / sum(exp(one - best) for one in (self.own, *self.others))

    @property
    def is_likeliest(self) -> bool:
        """True if the answer is likelier after its own message than after each other one.

        That holds for a sixth of answers to another message, and for up to half of "Yay. That's amazing.", which is
        likelier after most messages than after these others.
        """
        return self.own > max(self.others)


def measure_fits(exchanges: Sequence[Exchange], read: ReadAnswers) -> list[Fit]:
    """Return the fit of each answer to its message, in order."""
    asked = [(message, answer) for own, answer in exchanges for message in (own, *_others(own))]
    found = list(read(asked))
    each = 1 + OTHERS
    rows = [found[start : start + each] for start in range(0, len(found), each)]
    return [Fit(own, tuple(others)) for own, *others in rows]


def _others(message: str) -> Sequence[str]:
    return [other for other in OTHER_MESSAGES if other != message][:OTHERS]
