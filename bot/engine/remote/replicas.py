"""How each server fares, and which one answers next. Does no input or output."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from bot.engine.remote.server import Server

BLOCK_CHARS = 256
MOST_BLOCKS = 8_192
"""Of one server; prompts of a thousand conversations of average length."""


def prefix_blocks(model: str, prompt: str) -> tuple[int, ...]:
    """Return a hash for each whole block of the prompt and all before it, under a version."""
    hashes = []
    chained = hash(model)
    for start in range(0, len(prompt) - BLOCK_CHARS + 1, BLOCK_CHARS):
        chained = hash((chained, prompt[start : start + BLOCK_CHARS]))
        hashes.append(chained)
    return tuple(hashes)


class PromptPrefixes:
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


BREAKS_AT = 3
"""Failures in a row from which a server is given no answers but one to try, once its rest is over."""
FIRST_REST_S = 0.25
LONGEST_REST_S = 60.0
MOST_AHEAD = 2
"""How many answers more than the idlest server the one with a prompt's beginning may have."""


@dataclass(eq=False)
class Replica:
    """A server, and what is known of it; times are readings of time.perf_counter()."""

    server: Server
    busy: int = 0
    """Answers under way there."""
    problem: str | None = "has not been asked yet whether it is well"
    """Why it cannot answer, until it says that it is well; None where it can."""
    failures: int = 0
    """In a row."""
    failed_at: float = 0.0
    """When it failed last."""
    rests_until: float = 0.0
    heard_at: float = 0.0
    """When it said something last."""
    models: tuple[str, ...] = ()
    """What it lists, its own first."""
    loaded: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Versions in its memory that the bot brought there, the longest unused first."""
    in_use: Counter[str] = field(default_factory=Counter)
    """How many answers each version is giving."""
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    beginnings: PromptPrefixes = field(default_factory=PromptPrefixes)
    reads_otherwise: bool = False
    """It counts other tokens in a prompt than there are here; the log has it."""

    def is_down(self, now: float) -> bool:
        return self.problem is not None or (self.failures >= BREAKS_AT and now < self.rests_until)

    def takes(self, now: float, places: int) -> bool:
        """Say whether it may be given an answer; one whose failures are not forgotten gets one at a time."""
        if self.problem is not None or now < self.rests_until:
            return False
        return self.busy < (1 if self.failures >= BREAKS_AT else places)

    def succeeded(self) -> None:
        self.failures, self.rests_until = 0, 0.0

    def failed(self, now: float, began_at: float) -> None:
        """Let it rest, longer from failure to failure; answers that were under way together fail as one."""
        if began_at < self.failed_at:
            return
        self.failed_at = now
        self.failures += 1
        rest_s = min(FIRST_REST_S * 2 ** (self.failures - 1), LONGEST_REST_S)
        self.rest(now, rest_s * random.uniform(0.75, 1.25))  # bots that lost it together come back apart

    def rest(self, now: float, seconds: float) -> None:
        self.rests_until = max(self.rests_until, now + seconds)

    def lost(self, problem: str) -> None:
        self.problem = problem

    def found(self, models: Sequence[str]) -> None:
        """It is well; one that was lost begins anew."""
        if self.problem is not None:
            self.problem = None
            self.succeeded()
        self.models = tuple(models)


def choose_replica(
    replicas: Sequence[Replica], blocks: tuple[int, ...], now: float, places: int, avoided: Collection[Replica] = ()
) -> Replica | None:
    """Return who answers a prompt: the server that has read most of its beginning, unless it is much busier.

    The `avoided` ones, which failed it, get it only where nobody else could. None where all are at work or at rest.
    """
    hopeful = [one for one in replicas if one not in avoided and not one.is_down(now)]
    free = [replica for replica in hopeful or replicas if replica.takes(now, places)]
    if not free:
        return None
    idlest = min(replica.busy for replica in free)
    near = [replica for replica in free if replica.busy <= idlest + MOST_AHEAD]
    return max(near, key=lambda replica: (replica.beginnings.shared(blocks), -replica.busy))


def next_chance(replicas: Sequence[Replica], now: float) -> float | None:
    """Return the seconds until a server's rest is over; None where none is at rest."""
    rests = [one.rests_until - now for one in replicas if one.problem is None and one.rests_until > now]
    return min(rests, default=None)
