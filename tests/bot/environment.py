"""The simulator, for a bot whose periodic work waits between its turns."""

from __future__ import annotations

import asyncio
from typing import Any

import simcord

from bot.app import ReactuneBot
from storage.settings.sections import Settings


class Env(simcord.Env):
    """Lets the bot's periodic work wait for `advance_time` alone: what a test does is over without it."""

    def __init__(self, bot: ReactuneBot, **options: Any) -> None:
        super().__init__(self._slowed(bot), **options)

    async def restart_bot(self, bot: ReactuneBot) -> None:
        await super().restart_bot(self._slowed(bot))

    def change_settings(self, settings: Settings) -> None:
        """Give the running bot other settings, as editing config.toml and restarting it would."""
        object.__setattr__(self.bot.services, "settings", settings)

    def _slowed(self, bot: ReactuneBot) -> ReactuneBot:
        bot.tasks.pause = self._pause
        return bot

    async def _pause(self, seconds: float) -> None:
        await self.external_wait(asyncio.sleep(seconds), reason="periodic work waits for its next turn")
