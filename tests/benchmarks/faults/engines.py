"""A remote engine that is slow, silent, broken or gone: every question gets an answer, or one sentence."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from simcord.backend.models import Message
from sqlalchemy import func, select

from bot.chat.answer_message import NOTICE_S
from bot.chat.message_stream import CURSOR
from storage.database.enums import Outcome
from storage.database.tables import ReplyRow
from tests.benchmarks.faults.faulty_engine import WORDS, FaultyEngine, Mood
from tests.benchmarks.faults.report import Row, Seen, spread
from tests.benchmarks.faults.scene import Scene, stage
from tests.benchmarks.report import notes
from tests.tiny_model import build_tiny_base

WARMING_UP = "I'm still warming up. I'll answer as soon as my model is loaded."

CHANNELS = 8
"""One question at a time in each, so that a notice tells which question it is for."""
TROUBLES_IN_A_LIFE = 20
MOODS = tuple(mood for mood in Mood if mood is not Mood.WELL)
SLOW_S = 0.4
LONGEST_BEFORE_CHANGE_S = 1.5
PATIENCE_S = 30.0
POLL_S = 0.05
BETWEEN_S = 0.3
SETTLING_S = NOTICE_S + 3.0
"""Each notice has a task that deletes it."""
TASK_SLACK = 3
"""Checks and heartbeats come and go."""
WHOLE = "".join(WORDS)
ENVIRONMENT = {
    "REACTUNE_MODEL__ENGINE": "remote",
    "REACTUNE_MODEL__CONTEXT_TOKENS": "512",
    "REACTUNE_REMOTE__CONNECT_TIMEOUT_S": "1",
    "REACTUNE_REMOTE__FIRST_TOKEN_TIMEOUT_S": "2",
    "REACTUNE_REMOTE__IDLE_TIMEOUT_S": "1.5",
    "REACTUNE_GENERATION__TIMEOUT_S": "10",
    "REACTUNE_GENERATION__MAX_NEW_TOKENS": "24",
}


def trouble_engines(times: int, seed: int) -> Row:
    """Trouble the server, again and again, while members ask and vote."""
    row = Row("a slow and dead remote engine")
    with tempfile.TemporaryDirectory(prefix="reactune-engines-") as name:
        base = build_tiny_base(Path(name) / "tiny")
        while row.times < times and not row.lost:
            asyncio.run(_life(min(TROUBLES_IN_A_LIFE, times - row.times), seed + row.times, row, base))
            notes.print(f"{row.fault}: {row.times} of {times}; lost: {row.lost or 'nothing'}")
    row.seen["until an answer or a sentence"] = spread(row.seen.pop("waits", []))
    return row


async def _life(times: int, seed: int, row: Row, base: Path) -> None:
    engine = FaultyEngine()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(engine.serving())
        environment = {**ENVIRONMENT, "REACTUNE_MODEL__BASE": str(base), "REACTUNE_REMOTE__URL": url}
        scene = await stack.enter_async_context(stage(seed, environment=environment, channels=CHANNELS))
        await scene.pause()
        trial = _EngineTrial(scene, engine, row)
        await trial.recover()
        before = await asyncio.to_thread(scene.bot.footprint)
        for _ in range(times):
            await trial.trouble()
            if row.lost:
                return
        await asyncio.sleep(SETTLING_S)
        after = await asyncio.to_thread(scene.bot.footprint)
        row.seen["footprints"] = [before, after]
        if after["tasks"] > before["tasks"] + TASK_SLACK:
            row.lost.append(f"tasks leak: {before['tasks']} before, {after['tasks']} after")
        await scene.finish(row)
        trial.count()


class _EngineTrial:
    """A crowd that asks in every channel at once, and reads what comes."""

    def __init__(self, scene: Scene, engine: FaultyEngine, row: Row) -> None:
        self._scene = scene
        self._crowd = scene.crowd
        self._engine = engine
        engine.slow_s = SLOW_S
        self._row = row
        self._rng = scene.rng
        self._said: dict[int, list[Message]] = {}
        """{channel: the bot's messages since the last question there}, also those that are gone again."""
        self._crowd.discord.backend.subscribers.append(self._hear)

    def _hear(self, event: str, payload: Mapping[str, object]) -> None:
        if event != "MESSAGE_CREATE":
            return
        channel_id, message_id = int(str(payload["channel_id"])), int(str(payload["id"]))
        message = self._crowd.discord.backend.messages[channel_id][message_id]
        if message.author_id == self._crowd.discord.bot_id and not self._is_notice(message):
            self._said.setdefault(channel_id, []).append(message)

    def _is_notice(self, message: Message) -> bool:
        """Return whether it answers no question: the bot warms up, or speaks of one of its answers."""
        own = {answer.id for answer in self._crowd.answers(message.channel_id)}
        refers_to = int(message.reference["message_id"]) if message.reference else 0
        return message.content == WARMING_UP or refers_to in own

    async def trouble(self) -> None:
        """Let the server change its mood while all channels ask; then it is well again."""
        mood = self._rng.choice(MOODS)
        await self._engine.be(mood)
        asked = self._ask()
        await asyncio.sleep(self._rng.uniform(0, LONGEST_BEFORE_CHANGE_S))
        if self._rng.random() < 0.5:  # in the middle of answers
            mood = self._rng.choice(list(Mood))
            await self._engine.be(mood)
        await self._until_told(asked, "in trouble")
        self._row.times += 1
        _add(self._row.seen.setdefault("moods", {}), str(mood))
        self._vote()
        await self.recover()
        await self._scene.settle(self._row, patience_s=PATIENCE_S)
        await self._scene.pause()

    async def recover(self) -> None:
        """Let the server be well, and ask until there is a whole answer in every channel."""
        await self._engine.be(Mood.WELL)
        began_s = time.monotonic()
        while time.monotonic() < began_s + PATIENCE_S and not self._row.lost:
            asked = self._ask()
            await self._until_told(asked, "once the server is well")
            if all(any(WHOLE in one.content for one in self._said[channel]) for channel in asked):
                self._row.recoveries.append(time.monotonic() - began_s)
                return
            await asyncio.sleep(BETWEEN_S)
        self._row.lost.append(f"no whole answers though the server is well: see {self._scene.bot.keep_log()}")

    def _ask(self) -> dict[int, float]:
        """Ask in every channel, and return {channel: when}."""
        asked = {}
        for channel_id in self._crowd.channels:
            self._said[channel_id] = []
            self._crowd.ask(channel_id)
            asked[channel_id] = time.monotonic()
        return asked

    async def _until_told(self, asked: Mapping[int, float], when: str) -> None:
        """Wait until each question has one message that is complete; more than one or none are losses."""
        waiting = dict(asked)
        while waiting:
            for channel_id, asked_s in list(waiting.items()):
                said = self._said[channel_id]
                if said and not said[-1].content.endswith(CURSOR):
                    self._row.seen.setdefault("waits", []).append(time.monotonic() - asked_s)
                    del waiting[channel_id]
                elif time.monotonic() > asked_s + PATIENCE_S:
                    self._row.lost.append(
                        f"a question {when} was left without a word: see {self._scene.bot.keep_log()}"
                    )
                    return
            await asyncio.sleep(POLL_S)
        for channel_id in asked:
            self._judge(self._said[channel_id])

    def _judge(self, said: Sequence[Message]) -> None:
        if len(said) != 1:
            self._row.lost.append(f"{len(said)} messages for one question: {[one.content for one in said]}")
        words = said[0].content.partition("\n-#")[0]
        if "reference" in words:
            self._row.lost.append(f"a member read of an unforeseen error: see {self._scene.bot.keep_log()}")
        kind = "whole answers" if words == WHOLE else "parts" if words and WHOLE.startswith(words) else words
        _add(self._row.seen.setdefault("told", {}), kind)

    def _vote(self) -> None:
        for _ in range(CHANNELS):
            self._crowd.vote()

    def count(self) -> None:
        """Compare the rows with what members read."""
        with self._scene.database.snapshot() as session:
            rows = session.execute(select(ReplyRow.outcome, func.count()).group_by(ReplyRow.outcome)).all()
            wrong = session.scalars(
                select(ReplyRow.answer).where(ReplyRow.outcome == Outcome.COMPLETE, ReplyRow.answer != WHOLE)
            ).all()
        for outcome, number in rows:
            _add(self._row.seen.setdefault("outcomes", {}), str(outcome), number)
        self._row.lost += [f"an answer is called complete, and reads {one!r}" for one in wrong[:3]]


def _add(counts: Seen, what: str, number: int = 1) -> None:
    counts[what] = counts.get(what, 0) + number
