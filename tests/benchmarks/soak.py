"""`reactune bench soak`: does anything grow over ten thousand answers, and is one lost without a sentence?

Eight members talk without pauses with two versions. Some answers are cancelled on the way, some requests are refused as
too many, and at the end of each quarter but the last the process of the version that has lived longest is killed. Then
every quarter but the first begins alike, and what is left when its processes have filled their memory of prompts can be
compared.
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from bot.chat.prompting import Turn, to_messages
from bot.engine import Engine, Finish, GenerationFailed, GenerationRequest
from bot.errors import EngineBusy
from storage.adapters.folder_store import AdapterRef
from storage.conversations.prompt_bank import read_bank
from storage.models.base_model import BUNDLED, BaseModel, resolve_base_model
from storage.settings.sections import Settings
from tests.benchmarks.apart import held_bytes, memory_mib
from tests.benchmarks.disturbance import family
from tests.benchmarks.report import notes, report
from tests.benchmarks.serving import STARTER, adapter_in, running_engine, settings_in
from tests.benchmarks.serving_load import Crowd, Load, request_of
from tests.benchmarks.serving_sitting import warm_up

CHATS = 8
TURNS = 4
"""Most messages of a member in one conversation."""
CANCELLED_SHARE = 0.05
RUSH_SHARE = 0.005
RUSH_REQUESTS = 16
"""Asked at once of one version: more than the places and the queue hold."""
QUEUE_SIZE = 4
CONTEXT_TOKENS = 512
"""Keys and values of 16 times as many are kept, so that some hundred answers fill a version's process."""
RETRY_S = 1.0
"""How long a member waits who was told that the bot is busy."""
TIMEOUT_S = 60.0
GRACE_S = 10.0
FOREVER_S = 1e6
WORKER = "openvino.worker"

QUARTERS = 4
SAMPLES_IN_QUARTER = 10
UNSETTLED_SAMPLES = 4
"""Of each quarter: a process that was just started fills its memory."""
GROWTH = 1.05
"""The last quarter's median over the second's, above which something grew."""

ANSWERED, CANCELLED, REFUSED, FAILED, TIMED_OUT, LOST = (
    "answered",
    "cancelled",
    "refused",
    "failed",
    "timed_out",
    "lost",
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """The bot's process and those of its versions."""

    answers: int
    memory_mib: float
    """All processes."""
    bot_memory_mib: float
    open_files: int
    """The bot's; so are the threads."""
    threads: int


def run(
    *, answers: int = 10_000, base: str = BUNDLED, starter: Path = STARTER, new_tokens: int = 6, seed: int = 0
) -> dict[str, Any]:
    """Return machine, versions, rows and summary, which says in `problems` what grew or was lost; it should be empty.

    `answers` are whole ones. `starter` holds an adapter of `base`.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_in(
            Path(folder),
            base,
            new_tokens,
            model__context_tokens=CONTEXT_TOKENS,
            generation__queue_size=QUEUE_SIZE,
            generation__timeout_s=TIMEOUT_S,
        )
        began = time.perf_counter()
        soak = asyncio.run(_soak(settings, adapter_in(starter), answers, seed))
        seconds = time.perf_counter() - began
    problems = [f"{what} grew" for what in grown(soak.samples)] + soak.lost()
    summary = {
        **{outcome: soak.outcomes[outcome] for outcome in (ANSWERED, CANCELLED, REFUSED, FAILED, TIMED_OUT, LOST)},
        "kills": soak.kills,
        "seconds": round(seconds),
        **_memory(soak.samples),
        "problems": problems,
    }
    return report([asdict(sample) for sample in soak.samples], summary, "openvino-genai", "torch", "transformers")


async def _soak(settings: Settings, starter: AdapterRef, answers: int, seed: int) -> Soak:
    notes.print("Getting the base model ready …")
    base = await asyncio.to_thread(resolve_base_model, settings.model.base, settings.data.directory)
    adapters = (None, starter)
    await _make_graphs(settings, base, adapters)
    async with running_engine(settings, base) as engine:
        soak = Soak(engine, settings, adapters, answers, seed)
        await soak.talk()
    return soak


async def _make_graphs(settings: Settings, base: BaseModel, adapters: Sequence[AdapterRef | None]) -> None:
    """A process that makes its graph holds more afterwards than one that reads it, as all do that come after a kill."""
    async with running_engine(settings, base) as engine:
        for adapter in adapters:
            await warm_up(engine, adapter, settings)


class Soak(Crowd):
    """Members who talk without pauses until enough answers were given, and what was measured."""

    def __init__(
        self, engine: Engine, settings: Settings, adapters: Sequence[AdapterRef | None], answers: int, seed: int
    ) -> None:
        said = [prompt.text for prompt in read_bank("").prompts]
        talk = [said[start : start + TURNS] for start in range(0, len(said), TURNS)]
        load = Load(CHATS, window_s=FOREVER_S, drain_s=TIMEOUT_S + GRACE_S, think_s=0.0, seed=seed)
        super().__init__(engine, settings, talk, lambda chat: adapters[chat % len(adapters)], load)
        self._versions = len(adapters)
        self._answers = answers
        self._began = time.perf_counter()
        self.outcomes: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.kills = 0

    async def _ask(self, turns: Sequence[Turn], number: int, seed: int) -> str:
        rng = random.Random(seed)
        many = RUSH_REQUESTS if rng.random() < RUSH_SHARE else 1
        texts = await asyncio.gather(*(self._ask_once(turns, number, rng) for _ in range(many)))
        if self.outcomes[ANSWERED] >= self._answers:
            self.stop()
        return texts[0]

    async def _ask_once(self, turns: Sequence[Turn], number: int, rng: random.Random) -> str:
        is_cancelled, seed = rng.random() < CANCELLED_SHARE, rng.getrandbits(31)
        prompt = await self._engine.render(to_messages(self._settings.chat.system_prompt, turns))
        lane = number % self._versions
        request = request_of(prompt.text, self._choose(number), self._settings, seed=seed, lane=lane)
        try:
            outcome, text = await asyncio.wait_for(self._outcome(request, is_cancelled), TIMEOUT_S + GRACE_S)
        except Exception:  # the member would read nothing, or a reference id
            log.exception("an answer was lost")
            outcome, text = LOST, ""
        self._note(outcome)
        if outcome == REFUSED:
            await asyncio.sleep(RETRY_S)
        return text

    async def _outcome(self, request: GenerationRequest, is_cancelled: bool) -> tuple[str, str]:
        """Return what became of a request; a member gets an answer, or a sentence for all else that is foreseen."""
        try:
            generation = self._engine.submit(request)
            async for _ in generation:
                if is_cancelled:
                    generation.cancel()
        except EngineBusy:
            return REFUSED, ""
        except GenerationFailed:
            return FAILED, ""
        done = generation.completion
        cancelled = CANCELLED if is_cancelled else LOST
        return {Finish.CANCELLED: cancelled, Finish.TIMEOUT: TIMED_OUT}.get(done.finish, ANSWERED), done.text

    def _note(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        if outcome != ANSWERED or len(self.samples) == QUARTERS * SAMPLES_IN_QUARTER:
            return
        if self.outcomes[ANSWERED] % (self._answers // (QUARTERS * SAMPLES_IN_QUARTER)) == 0:
            self._sample()
            if len(self.samples) in range(SAMPLES_IN_QUARTER, QUARTERS * SAMPLES_IN_QUARTER, SAMPLES_IN_QUARTER):
                self._kill()

    def _sample(self) -> None:
        bot = psutil.Process()
        sample = Sample(
            answers=self.outcomes[ANSWERED],
            memory_mib=round(memory_mib(bot.pid), 1),
            bot_memory_mib=round(held_bytes(bot) / 2**20, 1),
            open_files=bot.num_fds(),
            threads=bot.num_threads(),
        )
        self.samples.append(sample)
        minutes = (time.perf_counter() - self._began) / 60
        notes.print(f"{sample.answers:,} of {self._answers:,} answers, {minutes:.1f} min, {sample.memory_mib:,.0f} MiB")

    def _kill(self) -> None:
        """Kill the version's process that has lived longest, as a crash or the system would."""
        workers = [one for one in family(psutil.Process().pid) if any(WORKER in word for word in one.cmdline())]
        if workers:
            min(workers, key=lambda worker: worker.create_time()).kill()
            self.kills += 1

    def lost(self) -> list[str]:
        """Return what became of answers and should not have: a kill explains as many failures as there are places."""
        unexplained = self.outcomes[FAILED] - self.kills * self._settings.generation.batch_size
        told = {"answers lost": self.outcomes[LOST], "answers failed without a kill": max(0, unexplained)}
        return [f"{number} {what}" for what, number in told.items() if number]


# What was seen


def grown(samples: Sequence[Sample]) -> list[str]:
    """Return what the last quarter has more of than the second."""
    _, before, _, after = (_settled(quarter) for quarter in _quarters(samples))
    names = [field.name for field in fields(Sample) if field.name != "answers"]
    return [name for name in names if _median(after, name) > GROWTH * _median(before, name)]


def _quarters(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    return [samples[start : start + SAMPLES_IN_QUARTER] for start in range(0, len(samples), SAMPLES_IN_QUARTER)]


def _settled(quarter: Sequence[Sample]) -> Sequence[Sample]:
    return quarter[UNSETTLED_SAMPLES:]


def _median(samples: Sequence[Sample], name: str) -> float:
    return float(median(getattr(sample, name) for sample in samples))


def _memory(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the memory of the second, third and last quarter, settled, and the slope of a line through them.

    They are the thirds of what is left after the quarter that warms up. Least squares, MiB for 1,000 answers.
    """
    warm = [_settled(quarter) for quarter in _quarters(samples)[1:]]
    seen = [sample for quarter in warm for sample in quarter]
    thousands = [sample.answers / 1_000 for sample in seen]
    found = {}
    for name in ("memory_mib", "bot_memory_mib"):
        found[f"{name}_first_third"] = _median(warm[0], name)
        found[f"{name}_last_third"] = _median(warm[-1], name)
        slope, _ = np.polyfit(thousands, [getattr(sample, name) for sample in seen], 1)
        found[f"{name}_per_1000_answers"] = round(float(slope), 2)
    return found
