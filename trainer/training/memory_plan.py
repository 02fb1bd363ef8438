"""How much a round computes at once: decided by free memory before the model is loaded. Imports no model library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from storage.models.free_memory import FreeMemory, memory_for_training
from storage.models.hardware import training_format
from storage.models.memory import NumberFormat, RunSize, TrainingWay, reference_bytes, training_bytes
from storage.models.shape import GROWING, ModelShape, language_config, layer_kinds
from storage.settings.sections import TrainingSettings
from trainer.errors import TooLittleMemory
from trainer.training.rows import COMPLETION, Row, answers_of, row_tokens
from trainer.training.token_tree import TokenTree, split_by_tokens

MAX_EAGER_TOKENS = 256
"""Longest row for which a CPU uses plain attention: its memory grows with the square of the length."""


@dataclass(frozen=True)
class TrainingMemoryPlan:
    """Limits on what is computed together. A single pair is never divided, whatever its length."""

    tree_tokens: int = 512
    """Most tokens of different prompts in one tree: on a CPU larger ones are no faster, as each token is compared with
    all."""
    siblings: int = 4
    """A tree of one prompt's answers may be this many times larger; the attention of all to all grows with the
    square."""
    batch_tokens: int = 1024
    """Most tokens of separate rows: a batch is faster for short rows and needs too much memory for long ones."""
    checkpointing: bool = False
    """Compute activations again backwards instead of keeping them: a third more work (Chen et al. 2016)."""

    def divide(self, pairs: Sequence[Sequence[list[int]]], *, in_trees: bool) -> Sequence[Sequence[int]]:
        """Return the indices of pairs of texts in runs that are computed at once: as one tree, or as separate rows."""
        if in_trees:
            return split_by_tokens(pairs, self.tree_tokens, self.siblings)
        at_once = max(1, self.batch_tokens // (2 * max(len(text) for pair in pairs for text in pair)))
        return [range(len(pairs))[start : start + at_once] for start in range(0, len(pairs), at_once)]

    def describe(self) -> str:
        again = ", activations computed twice" if self.checkpointing else ""
        return f"up to {self.siblings * self.tree_tokens:,} tokens at once{again}"


USUAL = TrainingMemoryPlan()
ROOMY = TrainingMemoryPlan(tree_tokens=2048, batch_tokens=8192)
"""Only for GPUs, which compute long trees as fast as short ones."""
SMALLER = (
    replace(USUAL, checkpointing=True),
    TrainingMemoryPlan(tree_tokens=256, batch_tokens=512, checkpointing=True),
    TrainingMemoryPlan(tree_tokens=1, batch_tokens=1, checkpointing=True),
)
"""Each needs less memory and more time than the one before; the last computes a single pair at a time."""


@dataclass(frozen=True)
class PlannedMemory:
    plan: TrainingMemoryPlan
    needed: int
    """Bytes at the peak, by the formulas."""
    free: int
    kind: str
    """Which memory, in words."""
    failures: int = 0
    """Earlier rounds in which memory ran out: each made the plan a step smaller."""


@dataclass(frozen=True)
class RoundMemory:
    """What decides the memory of a round's training besides its rows."""

    shape: ModelShape
    settings: TrainingSettings
    free: FreeMemory
    """What one training process may use."""
    judging: float = 0.0
    """Bytes that judging takes when the training is over."""

    @classmethod
    def here(
        cls, shape: ModelShape, settings: TrainingSettings, reserved: int = 0, judging: float = 0.0
    ) -> RoundMemory:
        """Return what this process may use; `reserved` bytes of what is free are left to others."""
        free = memory_for_training()
        # Each process has a GPU of its own; on a CPU all share the memory, and one judges when the others have ended.
        shares = 1 if free.is_gpu else settings.processes
        return cls(shape, settings, replace(free, free=max(0, free.free - reserved) // shares), judging / shares)

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
        """Return the bytes at the peak of a round on these rows: of its training, or of judging what it trained."""
        way = TrainingWay(
            NumberFormat(training_format(self.settings), self.settings.quantization),
            self.settings.lora_rank,
            eager=uses_eager(max(map(row_tokens, rows)), on_gpu=self.free.is_gpu),
            checkpointing=plan.checkpointing,
            on_gpu=self.free.is_gpu,
        )
        scored = [reference_bytes(self.shape, way, self._sizes(run)[0]) for run in self._runs(rows, plan)]
        learned = [training_bytes(self.shape, way, self._sizes(run)[1]) for run in self._learned_runs(rows, plan)]
        return round(max(*scored, *learned, self.judging))

    @property
    def _batch(self) -> int:
        """Rows of a step in one process."""
        return max(1, self.settings.batch_size // self.settings.processes)

    @property
    def _shares_prompts(self) -> bool:
        """Whether the model is expected to compute trees of tokens; the trainer asks the model itself."""
        return GROWING.issuperset(layer_kinds(language_config(self.shape.config)))

    def _runs(self, rows: Sequence[Row], plan: TrainingMemoryPlan) -> Iterator[Sequence[Row]]:
        """Yield the rows that are computed together, as the trainers divide them."""
        if COMPLETION in rows[0]:
            at_once = micro_batch(self._batch, max(map(row_tokens, rows)), plan.batch_tokens)
            yield sorted(rows, key=row_tokens)[-at_once:]
            return
        together = sorted(rows, key=itemgetter("prompt_ids"))
        texts = [[row["prompt_ids"] + answer for answer in answers_of(row)] for row in together]
        for run in plan.divide(texts, in_trees=self._shares_prompts):
            yield [together[place] for place in run]

    def _learned_runs(self, rows: Sequence[Row], plan: TrainingMemoryPlan) -> Iterator[Sequence[Row]]:
        """Yield the rows of a backward pass. Of several processes each computes its pairs of a step undivided."""
        if self.settings.processes > 1 and COMPLETION not in rows[0]:
            yield sorted(rows, key=row_tokens)[-self._batch :]
        else:
            yield from self._runs(rows, plan)

    def _sizes(self, run: Sequence[Row]) -> tuple[RunSize, RunSize]:
        """Return the size of these rows when they are scored at once, and when they are part of a step."""
        scored = tree_size(run) if self._shares_prompts and COMPLETION not in run[0] else padded_size(run)
        of_step = sorted((sum(map(len, answers_of(row))) for row in run), reverse=True)[: self._batch]
        return scored, replace(scored, targets=sum(of_step))


def tree_size(rows: Sequence[Row]) -> RunSize:
    """Return the size of these pairs as one tree of tokens."""
    tree, kept, targets = TokenTree(), set[int](), 0
    for row in rows:
        for answer in answers_of(row):
            path = tree.add(row["prompt_ids"] + answer)
            kept.update(path[len(row["prompt_ids"]) - 1 : -1])
            targets += len(answer)
    return RunSize(len(tree.tokens), len(kept), targets)


def padded_size(rows: Sequence[Row]) -> RunSize:
    """Return the size of these examples with a padded row for each answer."""
    answers = [answer for row in rows for answer in answers_of(row)]
    longest, longest_answer = max(map(row_tokens, rows)), max(map(len, answers))
    return RunSize(len(answers) * longest, len(answers) * longest_answer, sum(map(len, answers)), longest)


def micro_batch(step: int, tokens: int, most: int) -> int:
    """Return how many of a step's rows to compute at once: the most that divides the step, of `most` tokens together.

    A row has at most `tokens` tokens.
    """
    sizes = (size for size in range(1, step + 1) if step % size == 0)
    return max((size for size in sizes if size * tokens <= most), default=1)


def uses_eager(longest: int, *, on_gpu: bool) -> bool:
    """Return whether plain attention is faster.

    PyTorch's fused attention is slow backwards on a CPU: it makes a step on short rows a sixth longer.
    """
    return longest <= MAX_EAGER_TOKENS and not on_gpu


def longest_pair(max_tokens: int, answer_tokens: int) -> Row:
    """Return the longest pair that a round takes, as made-up tokens: two different answers to one prompt."""
    answer = min(answer_tokens, max_tokens - 1)
    prompt = list(range(max_tokens - answer))
    return {"prompt_ids": prompt, "chosen_ids": [-1] * answer, "rejected_ids": [-2] * answer}
