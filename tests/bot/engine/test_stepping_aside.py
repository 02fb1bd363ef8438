"""One GPU for a bot and a trainer, with small models on the CPU: the engine leaves for a round and comes back."""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from PIL import Image
from sqlalchemy import update
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bot.background import BackgroundTasks
from bot.engine import Engine, PictureRequest, stepping_aside
from bot.engine.selection import ChosenEngine
from bot.engine.stepping_aside import PAUSED, GpuSeat, RoundOnGpu, SteppingAsideEngine
from bot.engine.transformers.resident_model import ResidentModel
from bot.errors import EngineClosed, EngineStopped, LearningNow
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import RoundStatus
from storage.database.tables import HeartbeatRow, RoundRow
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.runtime.processes import SILENT_AFTER_S, GpuUse, leave_gpus, take_gpus, users_of_gpu, worker_name
from storage.settings.sections import Settings
from storage.training.rounds import claim_round, request_round, require_round
from tests.bot.engine.test_engine import answer, finished, request
from tests.bot.scripted_engine import ScriptedEngine
from tests.few_questions import ask_few_questions
from tests.seeding import add_siblings
from tests.trainer.conftest import database, settings, tiny_base
from trainer import gpu_room
from trainer.errors import TrainerError
from trainer.gpu_room import make_room
from trainer.progress import Phase, RoundProgress
from trainer.rounds.round import run_round

__all__ = ["database", "settings", "tiny_base"]  # fixtures of rounds
GPU = "0123456789ab"
ASKED = [{"role": "user", "content": "hi"}]
HANG_S = 60.0


@dataclass
class FakeGpu:
    mark: str = GPU


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """A GPU that bot and trainer share."""
    shared = FakeGpu()
    for user in (stepping_aside, gpu_room):
        monkeypatch.setattr(user, "own_gpus", lambda _count: [shared])
    monkeypatch.setattr(gpu_room, "POLL_S", 0.01)
    return shared


@pytest.fixture
async def tasks() -> AsyncIterator[BackgroundTasks]:
    tasks = BackgroundTasks(pause=lambda _seconds: asyncio.sleep(0.02))
    yield tasks
    tasks.cancel()


@pytest.fixture
async def open_engine(
    settings: Settings, tiny_base: BaseModel, database: Database, gpu: FakeGpu, tasks: BackgroundTasks
) -> AsyncIterator[Callable[[], ChosenEngine]]:
    async with AsyncExitStack() as stack:

        def opened() -> ChosenEngine:
            engine = ChosenEngine(settings, tiny_base, database, tasks)
            stack.push_async_callback(engine.close, 1.0)
            return engine

        yield opened


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(HANG_S):
        while not condition():  # noqa: ASYNC110  (rows have no event)
            await asyncio.sleep(0.01)


def answers(engine: Engine) -> Callable[[], bool]:
    return lambda: engine.state().resident_versions > 0


def engines_on_gpu(database: Database) -> list[str]:
    return [engine.worker for engine in database.fetch(users_of_gpu, GpuUse.ENGINE, GPU)]


def start_round(database: Database) -> int:
    with database.transaction() as session:
        request_round(session, ensure_personality(session), "admin")
        round_ = claim_round(session, "trainer")
        assert round_ is not None
        session.get_one(RoundRow, round_.id).lease_until = utc_now() + timedelta(hours=1)
    return round_.id


async def test_a_round_gets_the_gpu_and_members_are_told_until_the_engine_is_back(
    open_engine: Callable[[], ChosenEngine],
    settings: Settings,
    tiny_base: BaseModel,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask_few_questions(monkeypatch)
    served: list[weakref.ref[Any]] = []
    remember = ResidentModel.__init__

    def load(model: ResidentModel, *arguments: object, **options: object) -> None:
        remember(model, *arguments, **options)  # pyrefly: ignore[bad-argument-type]
        served.append(weakref.ref(model.model_with(None)))

    monkeypatch.setattr(ResidentModel, "__init__", load)
    with database.transaction() as session:
        add_siblings(session, 4, base_revision=tiny_base.revision)
    engine = open_engine()
    await engine.start()
    before = await answer(engine, request(temperature=0.0))
    assert engines_on_gpu(database) == [worker_name(settings.data.directory)]
    accepted = engine.submit(request(temperature=0.0, tokens=200))

    round_id = start_round(database)
    found: list[object] = []

    def train(_job: object, _report: object) -> NoReturn:
        found.extend(model() for model in served)
        raise TrainerError("it has the GPU")

    await asyncio.to_thread(run_round, settings, round_id, train=train)
    with database.snapshot() as session:
        ended = require_round(session, round_id)
    assert (ended.status, ended.reason) == (RoundStatus.FAILED, "it has the GPU")
    assert found == [None], "the engine's model was gone when training began"
    assert engines_on_gpu(database) == []
    assert (await finished(accepted)).text.startswith(before), "an accepted answer is finished before"

    with pytest.raises(LearningNow, match="I'm learning right now, so I can't answer"):
        await engine.render(ASKED)
    with pytest.raises(LearningNow):
        engine.submit(request())
    assert (engine.state().pause_reason, engine.state().failure_reason) == (PAUSED, "")
    database.call(leave_gpus, GpuUse.ROUND, worker_name(settings.data.directory))
    await until(answers(engine))
    assert await answer(engine, request(temperature=0.0)) == before
    assert engines_on_gpu(database) == [worker_name(settings.data.directory)]


async def test_the_engine_comes_back_when_the_trainer_has_died(
    open_engine: Callable[[], ChosenEngine], database: Database
) -> None:
    engine = open_engine()
    await engine.start()
    database.call(take_gpus, GpuUse.ROUND, [GPU], "trainer")
    await until(lambda: not engines_on_gpu(database))
    silent = utc_now() - timedelta(seconds=SILENT_AFTER_S + 1)
    with database.transaction() as session:
        session.execute(update(HeartbeatRow).where(HeartbeatRow.worker == "trainer").values(beat_at=silent))
    await until(answers(engine))


async def test_a_bot_that_starts_during_a_round_waits_for_its_end(
    open_engine: Callable[[], ChosenEngine], database: Database
) -> None:
    database.call(take_gpus, GpuUse.ROUND, [GPU], "trainer")
    engine = open_engine()
    await engine.start()
    assert engines_on_gpu(database) == []
    with pytest.raises(LearningNow):
        await engine.render(ASKED)
    database.call(leave_gpus, GpuUse.ROUND, "trainer")
    await until(answers(engine))
    assert (await engine.render(ASKED)).tokens


async def test_pictures_wait_as_words_do(database: Database, settings: Settings, tasks: BackgroundTasks) -> None:
    seeing = ScriptedEngine()
    seeing.sees = True
    engine = SteppingAsideEngine(lambda: seeing, GpuSeat(database, "bot", GPU), tasks, drain_s=1.0)
    request_ = PictureRequest(Image.new("RGB", (9, 9)), "What is it?", max_tokens=9, timeout_s=1.0, lane=0)
    database.call(take_gpus, GpuUse.ROUND, [GPU], worker_name(settings.data.directory))
    try:
        await engine.start()
        assert engine.sees, "it may, when it is back"
        with pytest.raises(LearningNow):
            await engine.look(request_)
        database.call(leave_gpus, GpuUse.ROUND, worker_name(settings.data.directory))
        await until(lambda: engine.state().name != "transformers")
        assert await engine.look(request_) == seeing.description
        seeing.sees = False
        assert not engine.sees
    finally:
        await engine.close(1.0)


async def test_a_round_waits_until_every_bot_has_left(
    database: Database, settings: Settings, gpu: FakeGpu, tasks: BackgroundTasks
) -> None:
    engines = [
        SteppingAsideEngine(ScriptedEngine, GpuSeat(database, worker, GPU), tasks, drain_s=1.0)
        for worker in ("one", "two")
    ]
    for engine in engines:
        await engine.start()
    assert engines_on_gpu(database) == ["one", "two"]
    seen: list[RoundProgress] = []
    await asyncio.to_thread(make_room, database, 1, worker_name(settings.data.directory), seen.append)
    assert {progress.phase for progress in seen} == {Phase.WAITING}
    assert engines_on_gpu(database) == []
    for engine in engines:
        await engine.close(0.0)


def test_a_bot_that_does_not_leave_fails_the_round_with_a_sentence(
    database: Database, settings: Settings, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.call(take_gpus, GpuUse.ENGINE, [GPU], "host:/data#1")
    monkeypatch.setattr(gpu_room, "PATIENCE_S", 0.0)
    with pytest.raises(TrainerError, match=re.escape("the bot at host:/data did not leave the GPU within")):
        make_room(database, 1, worker_name(settings.data.directory), lambda _progress: None)


async def test_a_model_that_cannot_be_loaded_again_is_tried_again(database: Database, tasks: BackgroundTasks) -> None:
    """Another program may have taken the memory meanwhile."""
    broken = [False, True, False]

    class Fragile(ScriptedEngine):
        async def start(self) -> None:
            if broken.pop(0):
                raise EngineStopped("out of memory")
            await super().start()

    engine = SteppingAsideEngine(Fragile, GpuSeat(database, "bot", GPU), tasks, drain_s=1.0)
    await engine.start()
    database.call(take_gpus, GpuUse.ROUND, [GPU], "trainer")
    await until(lambda: engine.state().pause_reason == PAUSED and not engines_on_gpu(database))
    database.call(leave_gpus, GpuUse.ROUND, "trainer")
    reasons: set[str] = set()

    def is_back() -> bool:
        reasons.add(engine.state().failure_reason)
        return not broken and not engine.state().failure_reason and not engine.state().pause_reason

    await until(is_back)
    assert "out of memory" in reasons
    await engine.close(0.0)


async def test_a_model_that_was_loaded_in_part_is_gone_before_the_next_attempt(
    open_engine: Callable[[], ChosenEngine], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of it can be in the GPU's memory, which the next attempt or round needs."""
    parts: list[weakref.ref[FakeGpu]] = []
    left: list[int] = []

    def load_in_part(_model: ResidentModel, *_arguments: object, **_options: object) -> NoReturn:
        left.append(sum(part() is not None for part in parts))
        loaded = FakeGpu()
        parts.append(weakref.ref(loaded))
        raise RuntimeError("out of memory")

    engine = open_engine()
    await engine.start()
    monkeypatch.setattr(ResidentModel, "__init__", load_in_part)
    database.call(take_gpus, GpuUse.ROUND, [GPU], "trainer")
    await until(lambda: not engines_on_gpu(database))
    database.call(leave_gpus, GpuUse.ROUND, "trainer")
    await until(lambda: len(left) == 3)
    assert left == [0, 0, 0]
    assert "out of memory" in engine.state().failure_reason
    with pytest.raises(EngineStopped, match="out of memory"):
        engine.submit(request())


async def test_a_seat_that_could_not_be_left_is_left_at_the_next_turn(
    database: Database, tasks: BackgroundTasks
) -> None:
    class Stubborn(GpuSeat):
        failures = 1

        async def leave(self) -> None:
            if self.failures:
                self.failures -= 1
                raise PoolTimeout
            await super().leave()

    engine = SteppingAsideEngine(ScriptedEngine, Stubborn(database, "bot", GPU), tasks, drain_s=1.0)
    await engine.start()
    database.call(take_gpus, GpuUse.ROUND, [GPU], "trainer")
    await until(lambda: not engines_on_gpu(database))
    await engine.close(0.0)


async def test_an_engine_closed_while_it_starts_loads_no_model(database: Database, tasks: BackgroundTasks) -> None:
    is_taking, may_go_on = asyncio.Event(), asyncio.Event()

    class Slow(GpuSeat):
        async def take(self) -> RoundOnGpu | None:
            is_taking.set()
            await may_go_on.wait()
            return await super().take()

    made: list[ScriptedEngine] = []

    def make_engine() -> ScriptedEngine:
        made.append(ScriptedEngine())
        return made[-1]

    engine = SteppingAsideEngine(make_engine, Slow(database, "bot", GPU), tasks, drain_s=1.0)
    starting = asyncio.create_task(engine.start())
    await is_taking.wait()
    await engine.close(0.0)
    may_go_on.set()
    await starting
    assert (made, engines_on_gpu(database)) == ([], [])
    with pytest.raises(EngineClosed):
        await engine.render(ASKED)


def test_members_learn_when_to_ask_again() -> None:
    assert str(LearningNow(700.0)).endswith("Please ask me again in about 12 min.")
    assert str(LearningNow(None)).endswith("Please ask me again in a while.")
