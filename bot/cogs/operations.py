"""Metrics and health over HTTP, one alert for each problem, and `/audit`: admins' actions, with times and reasons."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from re import Match

import discord
from aiohttp import web
from discord import app_commands
from discord.ext import commands
from discord.utils import format_dt
from sqlalchemy.exc import SQLAlchemyError

from bot.discord_errors import DISCORD_ERRORS
from bot.guards.access import require_admin
from bot.guards.audit import is_for_admins
from bot.guards.interactions import AdminCog, BotCog, PersistentButton
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext, speaking
from bot.operations import health
from bot.operations.alerts import describe_alert, describe_away, local_alerts, shared_alerts
from bot.personalities.selection import offer
from bot.services import Services
from bot.text.sanitize import escape_inline, sanitize_reason
from bot.text.splitting import MAX_MESSAGE_CHARS, fit_lines
from storage.database.columns import utc_now
from storage.database.engine import FAILURES, explain
from storage.database.enums import AuditOutcome
from storage.insights.model_status import read_facts
from storage.operations.alerts import EVERYBODY, Alert, AlertKind, alerts_to_announce, has_changed, record_alerts
from storage.operations.audit import AuditEntry, AuditQuery, read_trail
from storage.operations.outbox import announce_waiting
from storage.personalities.personalities import list_personalities
from storage.runtime.processes import worker_name
from storage.sentences import joined

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 30.0
DELAY_INTERVAL_S = 0.5
SHOWN = 10
MOST_SHOWN = 25
ACTION_CHARS = 40
SIGNS = {AuditOutcome.DONE: "✅", AuditOutcome.REFUSED: "⛔", AuditOutcome.FAILED: "⚠️"}


class Operations(BotCog):
    """Serves the metrics and health pages, and follows the connection to Discord."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self._pages: web.AppRunner | None = None
        self._due_at: float | None = None

    async def cog_load(self) -> None:
        self.services.gateway.watch_logs()
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
        if self._pages is not None:
            await self._pages.cleanup()

    async def _measure_delay(self) -> None:
        """Record the delay of this turn."""
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
        if await database.read(alerts_to_announce):
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

    async def _tell(self, alert: Alert) -> bool:
        """Return False if Discord refused the message and it should be sent later."""
        describe = partial(describe_alert, alert)
        if not await self._send(describe):
            return False
        log.log(logging.ERROR if alert.ended_at is None else logging.INFO, "Alert: %s", describe())
        return True

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
                    "set alerts.channel to another channel, or to 0. Trying again every %g s. Waiting: %s",
                    channel_id,
                    error,
                    POLL_INTERVAL_S,
                    describe(),
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


class AuditTrail(AdminCog):
    @app_commands.command()
    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.describe(
        limit="How many entries to show",
        action="A command such as version promote, or version for all of its commands",
        member="Only what this member did",
    )
    async def audit(
        self,
        interaction: discord.Interaction,
        limit: app_commands.Range[int, 1, MOST_SHOWN] = SHOWN,
        action: app_commands.Range[str, 1, ACTION_CHARS] | None = None,
        member: discord.User | None = None,
    ) -> None:
        """Show what admins did here, newest first."""
        await interaction.response.defer(ephemeral=True)
        wanted = AuditQuery(
            limit,
            action=_plain(action or ""),
            actor_id=member.id if member else None,
            guild_ids=(interaction.guild_id or 0,),
        )
        await show_audit_page(interaction, self.services, wanted)

    @audit.autocomplete("action")
    async def complete_action(self, _interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        names = [c.qualified_name for c in self.bot.tree.walk_commands() if is_for_admins(c)]  # pyrefly: ignore[bad-argument-type]
        return offer(sorted(names), current)


async def show_audit_page(interaction: discord.Interaction, services: Services, wanted: AuditQuery) -> None:
    """Answer a deferred interaction with the newest matching entries, and a button for older ones."""
    entries = await services.database.read(read_trail, wanted)
    view = discord.ui.View(timeout=None)
    if len(entries) == wanted.limit:
        view.add_item(OlderButton(wanted, entries[-1].id))
    lines = [describe_entry(entry) for entry in entries] or [gettext("No entries in the audit trail match.")]
    no_room = gettext("… and {left} more that don't fit: use a smaller limit")
    await interaction.edit_original_response(content=fit_lines(lines, f"-# {no_room}"), view=view)


def _plain(action: str) -> str:
    """Return the action without characters that a button's id cannot hold."""
    return " ".join("".join(char for char in action.lower() if char.isalnum() or char in " -").split())


class OlderButton(
    PersistentButton,
    template=r"reactune:audit:(?P<before>\d+):(?P<limit>\d+):(?P<member>\d*):(?P<action>.*)",
):
    def __init__(self, wanted: AuditQuery, before_id: int) -> None:
        self.wanted = wanted
        self.before_id = before_id
        member = "" if wanted.actor_id is None else wanted.actor_id
        custom_id = f"reactune:audit:{before_id}:{wanted.limit}:{member}:{wanted.action}"
        super().__init__(custom_id, gettext("Older"))

    @classmethod
    def parse(cls, match: Match[str]) -> OlderButton:
        member = int(match["member"]) if match["member"] else None
        limit = min(int(match["limit"]), MOST_SHOWN)
        return cls(AuditQuery(limit, action=match["action"], actor_id=member), int(match["before"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer()
        wanted = self.wanted
        # The server comes from the interaction, not from the button, so no server can read another one's entries.
        here = (interaction.guild_id or 0,)
        page = AuditQuery(wanted.limit, wanted.action, wanted.actor_id, here, self.before_id)
        await show_audit_page(interaction, services, page)


def describe_entry(entry: AuditEntry) -> str:
    """Return an entry in a line: outcome, time, action, admin, subject, reason and note."""
    parts = [
        f"{SIGNS[entry.outcome]} {format_dt(entry.happened_at, 'f')} "
        + gettext("**{action}** by {who}", action=entry.action, who=entry.actor),
        escape_inline(entry.subject),
        f"“{sanitize_reason(entry.reason)}”" if entry.reason else "",
        sanitize_reason(entry.note),
    ]
    return " · ".join(filter(None, parts))


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    bot.add_dynamic_items(OlderButton)
    for cog in (Operations, AlertWatch, AuditTrail):
        await bot.add_cog(cog(bot, services))
