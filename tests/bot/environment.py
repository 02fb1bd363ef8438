"""The simulator, for a bot whose periodic work waits between its turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import simcord

from bot.app import ReactuneBot
from bot.demo.webhooks import complete_webhooks
from storage.settings.sections import Settings

HANG_S = 120.0
"""After which the bot is given up."""
LONG_S = 5.0
"""Pauses from here on pass in `advance_time` alone, shorter ones as on any clock."""


def changed(settings: Settings, section: str, **values: Any) -> Settings:
    """Return the settings with other values in one section."""
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update=values)})


class Env(simcord.Env):
    """No test depends on how fast the machine is: long pauses and periodic work wait for `advance_time` alone."""

    def __init__(self, bot: ReactuneBot, **options: Any) -> None:
        complete_webhooks()
        super().__init__(self._slowed(bot), settle_timeout=HANG_S, **options)
        self.locales: dict[int, str] = {}
        """Members' languages; the simulator sends en-US for everyone."""
        self._replaced: list[ReactuneBot] = []
        self.backend.subscribers.insert(0, self._localize)

    def _localize(self, _event: str, payload: Any) -> None:
        if "locale" in payload:
            member = payload.get("member", payload)["user"]
            payload["locale"] = self.locales.get(int(member["id"]), "en-US")

    async def restart_bot(self, bot: ReactuneBot) -> None:
        """Let another bot follow this one, which is closed at the end, as after a crash."""
        self._replaced.append(self.bot)
        await super().restart_bot(self._slowed(bot))

    async def shutdown(self) -> None:
        for bot in self._replaced:
            await bot.close()
        await super().shutdown()

    @contextmanager
    def gap(self) -> Iterator[None]:
        """Tell the bot nothing of what happens here, as in a gap of the gateway."""
        feed = self._gateway_feed
        self.backend.subscribers.remove(feed)
        yield
        self.backend.subscribers.append(feed)

    def show_all_commands(self) -> None:
        """Let Discord show every command to everybody, as a server's owner may set it."""
        for root in self.backend.commands[None].values():
            root.update(default_member_permissions=None)

    def _schedule_timer(self, record: Any, *options: Any) -> None:
        if record.when - self._virtual_time < LONG_S:
            super()._schedule_timer(record, *options)

    async def _settle_internal(self, *, timeout: float | None = None, **options: Any) -> None:  # noqa: ASYNC109  (simcord's signature)
        await super()._settle_internal(**options)  # a start has five seconds otherwise

    def change_settings(self, settings: Settings) -> None:
        """Give the running bot other settings, as editing config.toml and restarting it would."""
        object.__setattr__(self.bot.services, "settings", settings)

    def change_section(self, name: str, **values: Any) -> None:
        """Change values in one section of the running bot's settings."""
        self.change_settings(changed(self.bot.services.settings, name, **values))

    def _slowed(self, bot: ReactuneBot) -> ReactuneBot:
        bot.tasks.pause = self._pause
        return bot

    async def _pause(self, seconds: float) -> None:
        await self.external_wait(asyncio.sleep(seconds), reason="periodic work waits for its next turn")
