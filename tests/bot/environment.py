"""The simulator, for a bot whose periodic work waits between its turns."""

from __future__ import annotations

import asyncio
from typing import Any

import simcord

from bot.app import ReactuneBot
from bot.demo.webhooks import complete_webhooks
from storage.settings.sections import Settings

HANG_S = 120.0
"""After which the bot is given up."""
LONG_S = 5.0
"""Pauses from here on pass in `advance_time` alone, shorter ones as on any clock."""


class Env(simcord.Env):
    """No test depends on how fast the machine is: long pauses and periodic work wait for `advance_time` alone."""

    def __init__(self, bot: ReactuneBot, **options: Any) -> None:
        complete_webhooks()
        super().__init__(self._slowed(bot), settle_timeout=HANG_S, **options)
        self.locales: dict[int, str] = {}
        """Members' languages; the simulator sends en-US for everyone."""
        self.backend.subscribers.insert(0, self._localize)

    def _localize(self, _event: str, payload: Any) -> None:
        if "locale" in payload:
            member = payload.get("member", payload)["user"]
            payload["locale"] = self.locales.get(int(member["id"]), "en-US")

    async def restart_bot(self, bot: ReactuneBot) -> None:
        await super().restart_bot(self._slowed(bot))

    def _schedule_timer(self, record: Any, *options: Any) -> None:
        if record.when - self._virtual_time < LONG_S:
            super()._schedule_timer(record, *options)

    async def _settle_internal(self, *, timeout: float | None = None, **options: Any) -> None:  # noqa: ASYNC109  (simcord's signature)
        await super()._settle_internal(**options)  # a start has five seconds otherwise

    def change_settings(self, settings: Settings) -> None:
        """Give the running bot other settings, as editing config.toml and restarting it would."""
        object.__setattr__(self.bot.services, "settings", settings)

    def _slowed(self, bot: ReactuneBot) -> ReactuneBot:
        bot.tasks.pause = self._pause
        return bot

    async def _pause(self, seconds: float) -> None:
        await self.external_wait(asyncio.sleep(seconds), reason="periodic work waits for its next turn")
