"""The bot as a process: `run_bot` as an operator starts it, but for Discord's address and an engine without a model."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from collections import Counter
from pathlib import Path

import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.app import ReactuneBot
from bot.engine import GenerationRequest
from bot.runner import run_bot
from storage.database.enums import Basis
from storage.models.base_model import BaseModel
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import BOT
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from tests.bot.scripted_engine import ScriptedEngine, ScriptedGeneration

log = logging.getLogger(__name__)

WORDS = ("warm", "short", "blue", "certain", "quiet", "seven", "river", "again", "never", "bright")


class TalkativeEngine(ScriptedEngine):
    """Says words, one after another with a pause, like a model would; `token_s` of them, or of FAULTS_TOKEN_S."""

    def __init__(self) -> None:
        super().__init__()
        self._token_s = float(os.environ.get("FAULTS_TOKEN_S", "0.02"))
        self.interlude = self._pause

    async def _pause(self) -> None:
        await asyncio.sleep(self._token_s)

    def submit(self, request: GenerationRequest) -> ScriptedGeneration:
        self.requests.clear()  # or an endless run would keep them all
        self.generations.clear()
        self.prepared.clear()
        rng = random.Random(request.seed)
        self.answers.append(" ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 12))))
        return super().submit(request)


def create(settings: Settings) -> ReactuneBot:
    base = BaseModel(name="tiny", path=Path("base"), revision="0" * 16, architecture="LlamaForCausalLM")
    return ReactuneBot(settings, engine=TalkativeEngine(), base=base, fixed_basis=Basis.LOCAL)


def count_tasks(*_: object) -> None:
    """Write down how many tasks of asyncio there are, when the bench asks by a signal; the log says which."""
    tasks = asyncio.all_tasks()
    names = Counter(getattr(task.get_coro(), "__qualname__", "?") for task in tasks)
    log.info("Tasks: %s", dict(names.most_common()))
    Path("tasks").write_text(str(len(tasks)))


def main() -> None:
    signal.signal(signal.SIGUSR1, count_tasks)
    port = os.environ["FAULTS_DISCORD_PORT"]
    Route.BASE = f"http://127.0.0.1:{port}/api/v10"
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(f"ws://127.0.0.1:{port}/gateway")
    settings = load_settings(overrides={"REACTUNE_CHAT__SECOND_ANSWERS": "0"})  # each question has one answer
    set_up_logs(settings, BOT)
    run_bot(settings, create)


if __name__ == "__main__":
    main()
