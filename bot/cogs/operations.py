"""Serves the console, metrics and health over HTTP, and alerts admins to each problem."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from aiohttp import web
from discord.ext import commands
from sqlalchemy.exc import SQLAlchemyError

from bot.console.server import open_console
from bot.discord_errors import DISCORD_ERRORS
from bot.guards.interactions import BotCog
from bot.localization.languages import languages_of
from bot.localization.sentences import speaking
from bot.operations import health
from bot.operations.alerts import describe_alert, describe_away, local_alerts, shared_alerts
from bot.services import Services
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import utc_now
from storage.database.engine import FAILURES, explain
from storage.insights.model_status import read_facts
from storage.operations.alerts import EVERYBODY, Alert, AlertKind, alerts_to_announce, has_changed, record_alerts
from storage.operations.outbox import announce_waiting
from storage.personalities.personalities import list_personalities
from storage.runtime.processes import worker_name
from storage.sentences import joined

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 30.0
DELAY_INTERVAL_S = 0.5


class Operations(BotCog):
    """Serves the console, the metrics and the health pages, and follows the connection to Discord."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self._console: web.AppRunner | None = None
        self._pages: web.AppRunner | None = None
        self._due_at: float | None = None

    async def cog_load(self) -> None:
        self.services.gateway.watch_logs()
        self._console = await open_console(self.bot, self.services, self.services.settings.console)
        settings = self.services.settings.metrics
        if not settings.port:
            return
        examine = partial(health.examine_health, self.services)
        self._pages = await health.open_pages(settings, self.services.metrics.registry, examine)
        if self._pages is not None:
            health.measure(self.bot, self.services)
            self.services.tasks.repeat(self._measure_delay, DELAY_INTERVAL_S, "measure the event loop")

    async def cog_unload(self) -> None:
        self.services.gateway.unwatch_logs()
        if self._console is not None:
            await self._console.cleanup()
        if self._pages is not None:
            await self._pages.cleanup()

    async def _measure_delay(self) -> None:
        now = time.perf_counter()
        if self._due_at is not None:
            self.services.metrics.loop_delay.observe(max(0.0, now - self._due_at))
        self._due_at = now + DELAY_INTERVAL_S

    @commands.Cog.listener("on_connect")
    @commands.Cog.listener("on_resumed")
    @commands.Cog.listener("on_ready")
    async def on_connected(self) -> None:
        self.services.gateway.found()

    @commands.Cog.listener()
    async def on_disconnect(self) -> None:
        self.services.gateway.lost()


class AlertWatch(BotCog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self._scope = worker_name(services.settings.data.directory)
        self._away_since: datetime | None = None
        """Time since which the database has been unreachable."""
        self._away_is_told = False
        self._has_warned = False
        self._logged: set[Alert] = set()

    async def cog_load(self) -> None:
        self.services.tasks.repeat(self._watch, POLL_INTERVAL_S, "check for problems")

    async def _watch(self) -> None:
        if not (self.bot.is_ready() and self.services.model_loaded.is_set()):
            return  # which engine answers is not known yet: its alert of the previous run would end and start again
        try:
            await self.poll()
            await self._note_back()
        except FAILURES as error:
            await self._note_away(error)

    async def poll(self) -> None:
        """Store the current problems and announce new ones; raises FAILURES if the database is unreachable."""
        database = self.services.database
        shared = shared_alerts(await database.read(read_facts))
        for scope, present in ((EVERYBODY, shared), (self._scope, await self._local())):
            if await database.read(has_changed, scope, present):
                await database.run(record_alerts, scope, present)
        if waiting := [entry.content for entry in await database.read(alerts_to_announce)]:
            self._log(waiting)
            # Shielded: an alert that is marked as sent must be sent, even if the bot closes.
            await asyncio.shield(
                self.services.tasks.spawn(announce_waiting(database, alerts_to_announce, self._tell), "send alerts")
            )

    async def _local(self) -> list[AlertKind]:
        settings = self.services.settings
        disk = await asyncio.to_thread(health.disk_check, settings.data.directory, settings.alerts.min_free_gb)
        return local_alerts(disk, self.services.engine.state(), await self._unusable_champions())

    async def _unusable_champions(self) -> list[str]:
        """Return the champions whose files are damaged; opening each one finds problems before members do."""
        problems: list[str] = []
        for personality in await self.services.database.read(list_personalities):
            await self.services.releases.current(personality.id)
            if damage := self.services.releases.damage_of(personality.id):
                problems.append(joined(" ", (personality.name, damage)))
        return problems

    def _log(self, waiting: Sequence[Alert]) -> None:
        """Log each alert once, whether or not Discord takes it."""
        for alert in waiting:
            if alert not in self._logged:
                log.log(logging.ERROR if alert.ended_at is None else logging.INFO, "Alert: %s", describe_alert(alert))
        self._logged = set(waiting)

    async def _tell(self, alert: Alert) -> bool:
        """Return False if Discord refused the message and it should be sent later."""
        return await self._send(partial(describe_alert, alert))

    async def _send(self, describe: Callable[[], str]) -> bool:
        """Send the description in the channel's language; return whether Discord took it, or no channel is set."""
        channel_id = self.services.settings.alerts.channel
        if not channel_id:
            return True
        with speaking(languages_of(self.bot).of_channel(channel_id)):
            text = describe()
        try:
            await self.bot.get_partial_messageable(channel_id).send(text[:MAX_MESSAGE_CHARS])
        except DISCORD_ERRORS as error:
            if not self._has_warned:
                log.error(
                    "Alerts cannot be sent to channel %d (%s): allow the bot to see it and to send messages there, or "
                    "set alerts.channel to another channel, or to 0. Trying again every %g s.",
                    channel_id,
                    error,
                    POLL_INTERVAL_S,
                )
            self._has_warned = True
            return False
        self._has_warned = False
        return True

    async def _note_away(self, error: SQLAlchemyError) -> None:
        """Announce that the database is unreachable; it cannot store that, so each bot announces it."""
        if self._away_since is None:
            self._away_since = utc_now()
            log.error("Alert: the database is unreachable: %s", explain(error))
        if not self._away_is_told:
            self._away_is_told = await self._send(partial(describe_away, self._away_since, over=False))

    async def _note_back(self) -> None:
        if self._away_since is None:
            return
        since, was_told = self._away_since, self._away_is_told
        self._away_since, self._away_is_told = None, False
        log.info("The database is reachable again; it was unreachable since %s.", since.isoformat(timespec="seconds"))
        if was_told:
            await self._send(partial(describe_away, since, over=True))
