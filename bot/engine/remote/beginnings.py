"""Which beginnings of prompts a server has read lately, and so may keep in its cache."""

from __future__ import annotations

from collections import OrderedDict

BLOCK_CHARS = 256
MOST_BLOCKS = 8_192
"""Of one server; prompts of a thousand conversations of average length."""


def blocks_of(model: str, prompt: str) -> tuple[int, ...]:
    """Return a hash for each whole block of the prompt and all before it, under a version."""
    hashes = []
    chained = hash(model)
    for start in range(0, len(prompt) - BLOCK_CHARS + 1, BLOCK_CHARS):
        chained = hash((chained, prompt[start : start + BLOCK_CHARS]))
        hashes.append(chained)
    return tuple(hashes)


class Beginnings:
    """Holds hashes alone: what members wrote is not kept here."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, None] = OrderedDict()

    def note(self, blocks: tuple[int, ...]) -> None:
        for block in blocks:
            self._known[block] = None
            self._known.move_to_end(block)
        while len(self._known) > MOST_BLOCKS:
            self._known.popitem(last=False)

    def shared(self, blocks: tuple[int, ...]) -> int:
        """Return how many blocks of the prompt's beginning were read here before."""
        return next((index for index, block in enumerate(blocks) if block not in self._known), len(blocks))
