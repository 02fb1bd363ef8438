"""Sends weekly messages to servers that want them, about the lessons of their people."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from discord.ext import commands
from sqlalchemy.orm import Session

from bot.background import DueTimes
from bot.discord_errors import DISCORD_ERRORS
from bot.guards.access import is_quiet
from bot.localization.sentences import day_of_year, gettext, listing, ngettext
from bot.releases.announcer import News, NewsChannels
from bot.services import Services
from bot.text.taste import describe_counts, describe_liked_so_far
from storage.database.columns import utc_now
from storage.database.enums import GateVerdict
from storage.insights.model_status import Week, read_week, week_trigger
from storage.personalities.bindings import speaks_in
from storage.personalities.personalities import Personality, list_personalities
from storage.runtime.schedules import begin_schedule
from storage.servers import schedule_of_weeks

INTERVAL_S = 60.0
OF_OPERATOR = "weeks of the operator"


class WeeklyPlace(NamedTuple):
    """A channel that hears of each week, and the schedule that says when."""

    schedule: str
    generation: int
    channel_id: int
    guild_id: int | None
    """The channel's server; None for the operator's channel."""


class WeeklyMessages:
    """Sends each weekly message once: the week is marked first, so that no failure in between repeats it.

    Where Discord has trouble, the message is sent later, unless the bot restarts before.
    """

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._bot = bot
        self._services = services
        self._channels = NewsChannels(bot, services)
        self._due = DueTimes(services.database)
        self._trigger = week_trigger()
        self._late: list[tuple[int, News]] = []
        """News that could not be sent yet."""

    async def start(self) -> None:
        if self._is_operators:
            await self._services.database.run(begin_schedule, OF_OPERATOR, None)
        self._services.tasks.repeat(self._tell_due, INTERVAL_S, "tell what people taught")

    @property
    def _is_operators(self) -> bool:
        release = self._services.settings.release
        return release.weekly and bool(release.announce_channel)

    async def _tell_due(self) -> None:
        services = self._services
        # A week that is marked as told before the bot is connected would be lost.
        if not (services.shards.lead and self._bot.is_ready()) or is_quiet(services.settings.chat, utc_now()):
            return
        waiting = self._late.copy()
        self._late.clear()
        self._late += [late for late in waiting if not await self._channels.tell(*late)]
        for place in self._places():
            if await self._due.take(place.schedule, place.generation, self._trigger):
                # The bot waits for this task when it closes: what is marked as told must be sent.
                services.tasks.spawn(self._tell(place), "weekly message")

    def _places(self) -> Iterator[WeeklyPlace]:
        for setup in self._services.setups.all():
            if setup.choices.weekly and setup.choices.announce_channel:
                channel_id, schedule = setup.choices.announce_channel, schedule_of_weeks(setup.guild_id)
                yield WeeklyPlace(schedule, setup.generation, channel_id, setup.guild_id)
        if self._is_operators:
            yield WeeklyPlace(OF_OPERATOR, 0, self._services.settings.release.announce_channel, None)

    async def _tell(self, place: WeeklyPlace) -> None:
        """Tell the channel of every personality that answers there, and for which something happened."""
        for personality in await self._services.database.read(_speaking_in, place.guild_id):
            if place.guild_id is None and not await self._concerns(place.channel_id, personality):
                continue
            week: Week = await self._services.database.read(read_week, personality.id, self._services.settings)
            news = News(personality, partial(describe_week, week), None)
            if not week.is_empty and not await self._channels.tell(place.channel_id, news):
                self._late.append((place.channel_id, news))

    async def _concerns(self, channel_id: int, personality: Personality) -> bool:
        try:
            return await self._channels.concerns(channel_id, personality)
        except DISCORD_ERRORS:
            return personality.guild_id is None


def _speaking_in(session: Session, guild_id: int | None) -> list[Personality]:
    """Return the personalities that answer somewhere in the server, or all of them if it is None."""
    known = list_personalities(session, guild_id)
    return [one for one in known if guild_id is None or speaks_in(session, one, guild_id)]


def describe_week(week: Week) -> str:
    dates = {"begins": day_of_year(week.begins), "ends": day_of_year(week.ends)}
    lines = [
        f"🗓️ **{gettext('What you taught me, {begins} to {ends}', **dates)}**",
        _said(week),
        describe_liked_so_far(week.liked),
        _versions(week),
        _next_step(week),
    ]
    return "\n".join(filter(None, lines))


def _said(week: Week) -> str:
    if not week.counts.total:
        return gettext("Nobody voted or chose.")
    return gettext("I got {votes}. Thank you!", votes=describe_counts(week.counts))


def _versions(week: Week) -> str:
    said = []
    if week.made:
        said.append(
            ngettext(
                "A new version was made: {versions}.",
                "New versions were made: {versions}.",
                len(week.made),
                versions=listing([version.name for version in week.made]),
            )
        )
    if week.was_promoted:
        said.append(gettext("{version} has been answering since this week.", version=week.champion))
    if week.rival:
        names = {"version": week.rival.name, "champion": week.champion}
        said.append(gettext("{version} is being compared with {champion}, blind.", **names))
    return " ".join(said)


def _next_step(week: Week) -> str:
    if week.rival:
        version = week.rival.name
        said = gettext("Next: `/choose` shows ten blind comparisons; they decide about {version}.", version=version)
    elif week.newest and week.newest.verdict is GateVerdict.PASS:
        version = week.newest.name
        said = gettext("Next: an admin decides about {version}, with `/version promote {version}`.", version=version)
    elif week.first_choices_left:
        said = ngettext(
            "Next: {count} more choice makes a good first version. `/choose` shows ten comparisons.",
            "Next: {count} more choices make a good first version. `/choose` shows ten comparisons.",
            week.first_choices_left,
        )
    else:
        said = gettext("Next: `/choose` shows ten comparisons, and each choice says more than a thumb.")
    return said
