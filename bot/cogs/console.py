"""Serves the console as long as the bot runs."""

from __future__ import annotations

from discord.ext import commands

from bot.console.server import Console, open_console
from bot.guards.interactions import BotCog
from bot.services import Services


class ConsoleHost(BotCog):
    console: Console | None = None
    """The running console; None if it is switched off, or its port is taken."""

    async def cog_load(self) -> None:
        self.console = await open_console(self.bot, self.services, self.services.settings.console)

    async def cog_unload(self) -> None:
        if self.console is not None:
            await self.console.close()


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(ConsoleHost(bot, services))
