"""Plans of how much a round computes at once: the usual one first, a smaller one after each failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainer.training.rows import split_by_tokens


@dataclass(frozen=True)
class TrainingMemoryPlan:
    """Limits on the tokens that are computed together. A single pair is never divided, whatever its length."""

    tree_tokens: int = 512
    """Maximum tokens in a tree of several prompts. Larger ones are no faster on a CPU: each is compared with all."""
    siblings: int = 4
    """A tree of one prompt's answers may be this many times larger; attention grows with the square of the size."""
    batch_tokens: int = 1024
    """Maximum tokens of separate rows: batching speeds up short rows but needs too much memory for long ones."""
    checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: a third more work (Chen et al. 2016)."""

    def divide(self, pairs: Sequence[Sequence[list[int]]], *, in_trees: bool) -> Sequence[Sequence[int]]:
        """Return the indices of pairs of texts in runs that are computed together: as one tree, or as separate rows."""
        if in_trees:
            return split_by_tokens(pairs, self.tree_tokens, self.siblings)
        at_once = max(1, self.batch_tokens // (2 * max(len(text) for pair in pairs for text in pair)))
        return [range(len(pairs))[start : start + at_once] for start in range(0, len(pairs), at_once)]

    def describe(self) -> str:
        again = ", activations computed twice" if self.checkpointing else ""
        return f"up to {self.siblings * self.tree_tokens:,} tokens at once{again}"


USUAL = TrainingMemoryPlan()
ROOMY = TrainingMemoryPlan(tree_tokens=2048, batch_tokens=8192)
"""A plan for GPUs only, which compute long trees as fast as short ones."""
SMALLER = (
    replace(USUAL, checkpointing=True),
    TrainingMemoryPlan(tree_tokens=256, batch_tokens=512, checkpointing=True),
    TrainingMemoryPlan(tree_tokens=1, batch_tokens=1, checkpointing=True),
)
"""Plans in order: each needs less memory and more time than the one before; the last computes one pair at a time."""


def plan_after(failures: int, *, is_roomy: bool = False) -> TrainingMemoryPlan:
    """Return the plan after so many rounds in which memory ran out; one for a GPU with much memory is `is_roomy`."""
    plans = (ROOMY, USUAL, *SMALLER) if is_roomy else (USUAL, *SMALLER)
    return plans[min(failures, len(plans) - 1)]


def micro_batch(step: int, tokens: int, most: int) -> int:
    """Return how many of a step's rows to compute at once: the largest divisor of `step` with at most `most` tokens.

    A row has at most `tokens` tokens.
    """
    sizes = (size for size in range(1, step + 1) if step % size == 0)
    return max((size for size in sizes if size * tokens <= most), default=1)
