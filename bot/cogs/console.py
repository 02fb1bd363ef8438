"""Serves the console as long as the bot runs."""

from __future__ import annotations

from aiohttp import web

from bot.console.server import open_console
from bot.guards.interactions import BotCog


class ConsoleHost(BotCog):
    console: web.AppRunner | None = None
    """The running console; None if it is switched off, or its port is taken."""

    async def cog_load(self) -> None:
        self.console = await open_console(self.bot, self.services, self.services.settings.console)

    async def cog_unload(self) -> None:
        if self.console is not None:
            await self.console.cleanup()
