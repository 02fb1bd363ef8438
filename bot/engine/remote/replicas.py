"""The servers: how each one is doing, which one answers next, and regular checks of their health."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenacity import AsyncRetrying, retry_if_result, wait_random_exponential

from bot.engine.remote.server import Overloaded, Refused, RefusedByServer, Server, ServerError, Unreachable
from storage.adapters.folder_store import AdapterRef
from storage.adapters.shared_store import served_name
from storage.settings.sections import KEY_VARIABLE, RemoteSettings

log = logging.getLogger(__name__)

BLOCK_CHARS = 256
MOST_BLOCKS = 8_192
"""Blocks to remember for one server: the prompts of a thousand average conversations."""
BREAKS_AT = 3
"""After this many failures in a row a server rests, and then gets one answer at a time to prove itself."""
FIRST_REST_S = 0.25
LONGEST_REST_S = 60.0
MOST_AHEAD = 2
"""How many more answers than the idlest server a server may have and still be chosen for its prefix cache."""
FIRST_PAUSE_S = 0.5
NEEDS_KEY = frozenset({401, 403})


def prefix_blocks(adapter: AdapterRef | None, prompt: str) -> tuple[int, ...]:
    """Return a hash for each whole block of the prompt, which covers the blocks before it and the version."""
    hashes = []
    chained = hash(served_name(adapter) if adapter else "")
    for start in range(0, len(prompt) - BLOCK_CHARS + 1, BLOCK_CHARS):
        chained = hash((chained, prompt[start : start + BLOCK_CHARS]))
        hashes.append(chained)
    return tuple(hashes)


class PromptPrefixes:
    """Which prompts a server has read, as hashes: members' texts are not stored."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, None] = OrderedDict()

    def note(self, blocks: tuple[int, ...]) -> None:
        for block in blocks:
            self._known[block] = None
            self._known.move_to_end(block)
        while len(self._known) > MOST_BLOCKS:
            self._known.popitem(last=False)

    def shared(self, blocks: tuple[int, ...]) -> int:
        """Return how many blocks from the start of the prompt this server has read before."""
        return next((index for index, block in enumerate(blocks) if block not in self._known), len(blocks))


@dataclass(eq=False)
class Replica:
    """A server and its state; times are from time.perf_counter()."""

    server: Server
    busy: int = 0
    """Number of answers in progress."""
    problem: str | None = "was not checked yet"
    """Why it cannot answer; None if it can."""
    failures: int = 0
    """Failures in a row."""
    failed_at: float = 0.0
    rests_until: float = 0.0
    heard_at: float = 0.0
    """Time of its last reply."""
    models: tuple[str, ...] = ()
    """Models that it lists, its own first."""
    loaded: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Versions that the bot loaded there, least recently used first."""
    faults: dict[str, str] = field(default_factory=dict)
    """{version: why it may not answer here, or ""}, of versions whose effect was checked since they were loaded."""
    files: frozenset[tuple[int, str]] = frozenset()
    """Numbers and paths of the adapters that it was started with, of llama.cpp."""
    can_be_checked: bool = True
    """False if it returned no log-probabilities, which was logged."""
    in_use: Counter[str] = field(default_factory=Counter)
    """{version: number of answers in progress}"""
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    beginnings: PromptPrefixes = field(default_factory=PromptPrefixes)
    reads_otherwise: bool = False
    """Its token counts differ from ours, which was logged."""

    def is_down(self, now: float) -> bool:
        return self.problem is not None or (self.failures >= BREAKS_AT and now < self.rests_until)

    def takes(self, now: float, places: int) -> bool:
        """Return whether it can start another answer; after failures it gets one at a time until one succeeds."""
        if self.problem is not None or now < self.rests_until:
            return False
        return self.busy < (1 if self.failures >= BREAKS_AT else places)

    def succeeded(self) -> None:
        self.failures, self.rests_until = 0, 0.0

    def failed(self, now: float, began_at: float) -> None:
        """Let it rest, longer after each failure; answers that were in progress together count as one failure."""
        if began_at < self.failed_at:
            return
        self.failed_at = now
        self.failures += 1
        rest_s = min(FIRST_REST_S * 2 ** (self.failures - 1), LONGEST_REST_S)
        self.rest(now, rest_s * random.uniform(0.75, 1.25))  # so that several bots do not return at the same moment

    def rest(self, now: float, seconds: float) -> None:
        self.rests_until = max(self.rests_until, now + seconds)

    def blame(self, error: Exception, began_at: float) -> bool:
        """Note the failure of an answer that started at `began_at`; return whether to check the server at once."""
        now = time.perf_counter()
        if isinstance(error, Overloaded):
            self.rest(now, error.retry_after_s)
        elif isinstance(error, Refused) and error.status in NEEDS_KEY:
            self.lost(problem_of(error))
            log.error("Model server lost: %s", self.problem)
        elif isinstance(error, ServerError) and not isinstance(error, (Refused, RefusedByServer)):
            self.failed(now, began_at)
            return isinstance(error, Unreachable) and self.failures == 1
        return False

    def lost(self, problem: str) -> None:
        self.problem = problem

    def found(self, models: Sequence[str]) -> None:
        """Note that it is healthy; a server that was lost starts without failures, and may be another program."""
        if self.problem is not None:
            self.problem = None
            self.faults.clear()
            self.succeeded()
        self.models = tuple(models)

    def has_files(self, files: frozenset[tuple[int, str]]) -> None:
        """Note the adapters that it was started with; others mean that it was restarted since."""
        if files != self.files:
            self.files = files
            self.faults.clear()

    def unloaded(self, version: str) -> None:
        self.loaded.pop(version, None)
        self.faults.pop(version, None)


def choose_replica(
    replicas: Sequence[Replica], blocks: tuple[int, ...], now: float, places: int, avoided: Collection[Replica] = ()
) -> Replica | None:
    """Return the server for a prompt: the one that has read most of its start, unless it is much busier than others.

    Servers in `avoided` have failed this answer: they get it only if no other server could. None if all are busy or
    resting.
    """
    promising = [one for one in replicas if one not in avoided and not one.is_down(now)]
    free = [replica for replica in promising or replicas if replica.takes(now, places)]
    if not free:
        return None
    idlest = min(replica.busy for replica in free)
    near = [replica for replica in free if replica.busy <= idlest + MOST_AHEAD]
    return max(near, key=lambda replica: (replica.beginnings.shared(blocks), -replica.busy))


def next_chance(replicas: Sequence[Replica], now: float) -> float | None:
    """Return the seconds until the next rest of a server is over; None if no server rests."""
    rests = [one.rests_until - now for one in replicas if one.problem is None and one.rests_until > now]
    return min(rests, default=None)


async def watch_health(replica: Replica, interval_s: float, check: Callable[[Replica], Awaitable[None]]) -> None:
    """Call `check` at intervals; for a lost server soon at first, then less and less often."""
    until_found = AsyncRetrying(
        retry=retry_if_result(lambda _: replica.problem is not None),
        wait=wait_random_exponential(FIRST_PAUSE_S, max=interval_s),
    )
    while True:
        await asyncio.sleep(interval_s)
        # A server that is answering is healthy, and may be too busy to say so.
        if replica.problem is not None or time.perf_counter() - replica.heard_at >= interval_s:
            await until_found(check, replica)


async def check_health(replica: Replica, settings: RemoteSettings) -> bool:
    """Check once; log and return whether the server was lost or found."""
    before = replica.problem
    try:
        replica.found(await served_models(replica.server, settings))
    except Overloaded:
        replica.found(replica.models)
    except ServerError as error:
        replica.lost(problem_of(error))
    if replica.problem == before:
        return False
    if replica.problem is None:
        log.info("%s answers; models: %s.", replica.server.url, ", ".join(replica.models) or "none listed")
    else:
        log.warning("Model server lost: %s", replica.problem)
    return True


async def served_models(server: Server, settings: RemoteSettings) -> tuple[str, ...]:
    """Return the names of its models; raises ServerError if it is unhealthy or does not list ours."""
    try:
        await server.get("/health")
    except Refused as error:  # not every server has this page
        if error.status in NEEDS_KEY:
            raise
    models = _names_in(await server.get("/v1/models"))
    # Other servers list other names: llama.cpp a path; gateways and transformers not every model they serve.
    wanted = settings.model
    if settings.kind == "vllm" and wanted and wanted not in models:
        listed = ", ".join(models) or "no model"
        raise ServerError(server.url, f"lists {listed}, not remote.model = {wanted!r}: set it to a listed model")
    return models


def problem_of(error: ServerError, setting: str = "remote.servers", key_variable: str = KEY_VARIABLE) -> str:
    """Return the error and what to do; `setting` holds the server's address."""
    if isinstance(error, Refused) and error.status in NEEDS_KEY:
        return f"{error}; set its key as {key_variable} in the environment or in .env"
    if isinstance(error, Unreachable):
        return f"{error}; start it, or correct {setting}"
    return str(error)


def _names_in(listed: Any) -> tuple[str, ...]:
    """Return the model IDs in a reply from /v1/models."""
    models = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(models, list):
        return ()
    return tuple(str(model["id"]) for model in models if isinstance(model, dict) and "id" in model)
