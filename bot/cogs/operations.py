"""For operators: metrics and health over HTTP, and one alert for each problem."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime

import aiohttp
import discord
from aiohttp import web
from discord.ext import commands
from sqlalchemy.exc import SQLAlchemyError

from bot.operations.alerts import describe_alert, describe_away, local_alerts, shared_alerts
from bot.operations.gateway import Gateway
from bot.operations.health import Health, disk_check, examine_health, measure, open_pages
from bot.services import Services
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import utc_now
from storage.database.engine import FAILURES, explain
from storage.insights.alert_facts import read_facts
from storage.operations.alerts import EVERYBODY, Alert, AlertKind, alerts_to_announce, has_changed, record_alerts
from storage.operations.outbox import announce_waiting
from storage.personalities.personalities import list_personalities
from storage.runtime.processes import worker_name

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 30.0
DELAY_INTERVAL_S = 0.5
REFUSED = (discord.HTTPException, discord.RateLimited, aiohttp.ClientError, OSError)


class Operations(commands.Cog):
    """Serves the metrics and health pages, and follows the connection to Discord."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services, gateway: Gateway) -> None:
        self.bot = bot
        self.services = services
        self._gateway = gateway
        self._pages: web.AppRunner | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._due_at: float | None = None

    async def cog_load(self) -> None:
        self._gateway.watch_logs()
        if not self.services.settings.metrics.port:
            return
        self._pages = await open_pages(self.services.settings.metrics, self.services.metrics.registry, self._examine)
        if self._pages is not None:
            measure(self.bot, self.services, self._gateway)
            self._measuring = self.services.tasks.repeat(
                self._measure_delay, DELAY_INTERVAL_S, "measure the event loop"
            )

    async def cog_unload(self) -> None:
        self._gateway.unwatch_logs()
        if self._measuring is not None:
            self._measuring.cancel()
        if self._pages is not None:
            await self._pages.cleanup()

    async def _examine(self) -> Health:
        return await examine_health(self.services, self._gateway)

    async def _measure_delay(self) -> None:
        """Record how late this turn is."""
        now = time.perf_counter()
        if self._due_at is not None:
            self.services.metrics.loop_delay.observe(max(0.0, now - self._due_at))
        self._due_at = now + DELAY_INTERVAL_S

    @commands.Cog.listener()
    async def on_connect(self) -> None:
        self._gateway.found()

    @commands.Cog.listener()
    async def on_resumed(self) -> None:
        self._gateway.found()

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        self._gateway.found()

    @commands.Cog.listener()
    async def on_disconnect(self) -> None:
        self._gateway.lost()


class AlertWatch(commands.Cog):
    """Looks for problems and alerts admins."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._scope = worker_name(services.settings.data.directory)
        self._away_since: datetime | None = None
        """When the database was found unreachable."""
        self._away_is_told = False
        self._has_warned = False

    async def cog_load(self) -> None:
        self._repeating = self.services.tasks.repeat(self._watch, LOOK_INTERVAL_S, "check for problems")

    async def cog_unload(self) -> None:
        self._repeating.cancel()

    async def _watch(self) -> None:
        if not (self.bot.is_ready() and self.services.model_loaded.is_set()):
            return  # which engine answers is not known yet: its alert of the previous run would end and start again
        try:
            await self.look()
            await self._note_back()
        except FAILURES as error:
            await self._note_away(error)

    async def look(self) -> None:
        """Store the current problems and announce new ones; raises FAILURES if the database is unreachable."""
        database = self.services.database
        shared = shared_alerts(await database.read(read_facts), utc_now())
        for scope, present in ((EVERYBODY, shared), (self._scope, await self._local())):
            if await database.read(has_changed, scope, present):
                await database.run(record_alerts, scope, present)
        if await database.read(alerts_to_announce):
            # Shielded: an alert that is marked as sent must be sent, even if the bot closes.
            await asyncio.shield(
                self.services.tasks.spawn(announce_waiting(database, alerts_to_announce, self._tell), "send alerts")
            )

    async def _local(self) -> list[AlertKind]:
        settings = self.services.settings
        disk = await asyncio.to_thread(disk_check, settings.data.directory, settings.alerts.min_free_gb)
        return local_alerts(disk, self.services.engine.state(), await self._unusable_champions())

    async def _unusable_champions(self) -> list[str]:
        """Return why champions cannot answer; opening each one finds problems before members do."""
        problems = []
        for personality in await self.services.database.read(list_personalities):
            await self.services.releases.current(personality.id)
            if problem := self.services.releases.problem_of(personality.id):
                problems.append(f"{personality.name} {problem}")
        return problems

    async def _tell(self, alert: Alert) -> bool:
        """Return False if Discord refused the message and it should be sent later."""
        text = describe_alert(alert)
        if not await self._send(text):
            return False
        log.log(logging.ERROR if alert.ended_at is None else logging.INFO, "Alert: %s", text)
        return True

    async def _send(self, text: str) -> bool:
        """Return whether Discord accepted the message, or no channel is set."""
        channel_id = self.services.settings.alerts.channel
        if not channel_id:
            return True
        try:
            await self.bot.get_partial_messageable(channel_id).send(text[:MAX_MESSAGE_CHARS])
        except REFUSED as error:
            self._warn(channel_id, error, text)
            return False
        self._has_warned = False
        return True

    def _warn(self, channel_id: int, error: Exception, text: str) -> None:
        if not self._has_warned:
            log.error(
                "Alerts cannot be sent to channel %d (%s): allow the bot to see it and to send messages there, or set "
                "alerts.channel to another channel, or to 0. Trying again every %g s. Waiting: %s",
                channel_id,
                error,
                LOOK_INTERVAL_S,
                text,
            )
        self._has_warned = True

    async def _note_away(self, error: SQLAlchemyError) -> None:
        """Announce that the database is unreachable; it cannot store that, so each bot announces it."""
        if self._away_since is None:
            self._away_since = utc_now()
            log.error("Alert: the database is unreachable: %s", explain(error))
        if not self._away_is_told:
            self._away_is_told = await self._send(describe_away(self._away_since, over=False))

    async def _note_back(self) -> None:
        if self._away_since is None:
            return
        since, was_told = self._away_since, self._away_is_told
        self._away_since, self._away_is_told = None, False
        log.info("The database is reachable again; it was unreachable since %s.", since.isoformat(timespec="seconds"))
        if was_told:
            await self._send(describe_away(since, over=True))


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    gateway = Gateway()
    await bot.add_cog(Operations(bot, services, gateway))
    await bot.add_cog(AlertWatch(bot, services))
