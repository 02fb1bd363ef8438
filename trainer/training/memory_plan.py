"""Plans how much a round computes at once, by the memory free before the model is loaded. Imports no model library."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from storage.models.free_memory import FreeMemory, memory_for_training
from storage.models.hardware import training_format
from storage.models.memory import NumberFormat, training_bytes
from storage.models.shape import GROWING, ModelShape, language_config, layer_kinds
from storage.settings.sections import TrainingSettings
from trainer.errors import TooLittleMemory
from trainer.training.rows import COMPLETION, Row, answers_of, row_tokens, split_by_tokens


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


@dataclass(frozen=True)
class PlannedMemory:
    plan: TrainingMemoryPlan
    needed: int
    """Needed bytes, roughly."""
    free: int
    kind: str
    """The kind of memory, in words."""
    failures: int = 0
    """Earlier rounds in which memory ran out: each made the plan a step smaller."""


@dataclass(frozen=True)
class RoundMemory:
    """The model, settings and free memory that, with its rows, decide a round's memory."""

    shape: ModelShape
    settings: TrainingSettings
    free: FreeMemory
    """Memory that one training process may use."""

    @classmethod
    def here(cls, shape: ModelShape, settings: TrainingSettings) -> RoundMemory:
        free = memory_for_training()
        # Each process has a GPU of its own; on a CPU all share the memory.
        shares = 1 if free.is_gpu else settings.processes
        return cls(shape, settings, replace(free, free=free.free // shares))

    def choose(self, rows: Sequence[Row], failures: int = 0) -> PlannedMemory:
        """Return the fastest plan that fits, or the one `failures` steps below it; raises TooLittleMemory."""
        plans = (ROOMY, USUAL, *SMALLER) if self.free.is_gpu else (USUAL, *SMALLER)
        fitting = (place for place, plan in enumerate(plans) if self.needed(rows, plan) <= self.free.free)
        first = next(fitting, None)
        if first is None:
            raise TooLittleMemory(self.needed(rows, plans[-1]), self.free, self.settings)
        plan = plans[min(first + failures, len(plans) - 1)]
        return PlannedMemory(plan, self.needed(rows, plan), self.free.free, self.free.kind, failures)

    def needed(self, rows: Sequence[Row], plan: TrainingMemoryPlan) -> int:
        """Return the bytes that a round on these rows needs, roughly."""
        training = self.settings
        tokens, targets = self._at_once(rows, plan)
        return round(
            training_bytes(
                self.shape,
                NumberFormat(training_format(training), training.quantization),
                training.lora_rank,
                tokens,
                targets,
                checkpointing=plan.checkpointing,
                on_gpu=self.free.is_gpu,
            )
        )

    def _at_once(self, rows: Sequence[Row], plan: TrainingMemoryPlan) -> tuple[int, int]:
        """Return the most tokens that are computed at once, and those of answers, which count once for each pair."""
        step = max(1, self.settings.batch_size // self.settings.processes)
        pairs = [row for row in rows if COMPLETION not in row]
        # The trainer asks the model itself whether it computes trees.
        if pairs and GROWING.issuperset(layer_kinds(language_config(self.shape.config))):
            at_once, by_prompt = plan.tree_tokens, defaultdict[tuple[int, ...], list[Row]](list)
            for row in pairs:
                by_prompt[tuple(row["prompt_ids"])].append(row)
            sizes = [_tree_size(siblings, plan, step) for siblings in by_prompt.values()]
        else:
            at_once = plan.batch_tokens
            sizes = [(len(answers_of(row)) * row_tokens(row), sum(map(len, answers_of(row)))) for row in rows]
        if pairs and self.settings.processes > 1:  # each computes its pairs of a step undivided, in every plan
            at_once = max(tokens for tokens, _ in sizes) * step
        together = min(1.0, at_once / sum(tokens for tokens, _ in sizes))
        tokens, targets = ([*parts, round(together * sum(parts))] for parts in zip(*sizes, strict=True))
        return max(tokens), max(targets)


def _tree_size(siblings: Sequence[Row], plan: TrainingMemoryPlan, step: int) -> tuple[int, int]:
    """Return the tokens of one prompt's pairs that are computed at once, and those of answers in a step's pairs."""
    prompt, pairs = len(siblings[0]["prompt_ids"]), [sum(map(len, answers_of(row))) for row in siblings]
    whole = prompt + sum(map(len, {tuple(answer) for row in siblings for answer in answers_of(row)}))
    part = min(1.0, plan.siblings * plan.tree_tokens / whole)
    targets = sum(sorted(pairs, reverse=True)[:step])
    return max(prompt + max(pairs), round(part * whole)), max(*pairs, round(part * targets))


def micro_batch(step: int, tokens: int, most: int) -> int:
    """Return how many of a step's rows to compute at once: the largest divisor of `step` with at most `most` tokens.

    A row has at most `tokens` tokens.
    """
    sizes = (size for size in range(1, step + 1) if step % size == 0)
    return max((size for size in sizes if size * tokens <= most), default=1)


def longest_pair(max_tokens: int, answer_tokens: int) -> Row:
    """Return the longest pair that a round accepts, as made-up tokens: two different answers to one prompt."""
    answer = min(answer_tokens, max_tokens - 1)
    prompt = list(range(max_tokens - answer))
    return {"prompt_ids": prompt, "chosen_ids": [-1] * answer, "rejected_ids": [-2] * answer}
