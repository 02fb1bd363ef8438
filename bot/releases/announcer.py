"""Announces releases, and shows the progress of rounds."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from discord.ext import commands
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS, is_temporary
from bot.guards.quiet_hours import is_quiet
from bot.personalities.selection import signed
from bot.releases.watcher import ReleaseState
from bot.services import Services
from bot.text.releases import describe_announcement
from bot.text.rounds import describe_round
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import utc_now
from storage.database.enums import CHALLENGER, GateVerdict
from storage.operations.outbox import announce_waiting
from storage.personalities.personalities import Personality, list_personalities, read_personality
from storage.releases.announcements import Announceable, PromotionAnnouncement, prepare_announcement, unannounced
from storage.releases.versions import Version, list_versions, read_alias
from storage.runtime.processes import TRAINER, is_alive
from storage.settings.sections import Settings
from storage.taste.learning import learn_taste
from storage.taste.words import likings, name_likings
from storage.training.rounds import Round, shown_rounds, stop_showing_progress

log = logging.getLogger(__name__)


PROGRESS_INTERVAL_S = 1.0
NO_TRAINER = "⚠️ No trainer is running. The round starts when one does: `reactune trainer`."


class ReleaseAnnouncer:
    """A subscriber of the release watcher."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._bot = bot
        self._services = services
        self._has_warned = False

    async def __call__(self, _before: ReleaseState | None, _now: ReleaseState) -> bool:
        """Return False if something is still not announced, so that the watcher calls again."""
        if not self._services.shards.lead:
            return True
        if is_quiet(self._services.settings.chat, utc_now()):
            return False
        personalities = await self._services.database.read(list_personalities, archived=None)
        return all([await self._announce_all(personality) for personality in personalities])

    async def _announce_all(self, personality: Personality) -> bool:
        database = self._services.database
        find = partial(unannounced, personality_id=personality.id)
        if await database.read(find):
            announce = partial(self._announce, personality)
            # The bot waits for this task when it closes: what is marked as announced must be sent.
            await asyncio.shield(
                self._services.tasks.spawn(announce_waiting(database, find, announce), "announce releases")
            )
        return not await database.read(find)

    async def _announce(self, personality: Personality, news: Announceable) -> bool:
        """Return False if Discord has trouble, so that the announcement is sent later."""
        channel_id = self._services.settings.release.announce_channel
        if not channel_id:
            return True
        announcement = await self._services.database.read(prepare_announcement, news)
        liked = ""
        if isinstance(announcement, PromotionAnnouncement) and announcement.rounds:
            liked = await self._services.database.read(_what_people_like, personality.id, self._services.settings)
        text = signed(personality, describe_announcement(announcement, liked))
        try:
            if not await self._concerns(channel_id, personality):
                return True
            await self._bot.get_partial_messageable(channel_id).send(text[:MAX_MESSAGE_CHARS])
        except DISCORD_ERRORS as error:
            if is_temporary(error):
                log.warning("A release cannot be announced now; trying again: %s", error)
                return False
            if not self._has_warned:
                log.error(
                    "Releases cannot be announced in channel %d (%s): let the bot see it and send messages there, or "
                    "set release.announce_channel to another channel, or to 0.",
                    channel_id,
                    error,
                )
            self._has_warned = True
        return True

    async def _concerns(self, channel_id: int, personality: Personality) -> bool:
        """Return whether the channel's server knows the personality: a server's own one is not announced elsewhere."""
        if personality.guild_id is None:
            return True
        # Another process may serve the channel's server, so it may not be in the cache.
        channel = self._bot.get_channel(channel_id) or await self._bot.fetch_channel(channel_id)
        guild = getattr(channel, "guild", None)
        return guild is not None and guild.id == personality.guild_id


def _what_people_like(session: Session, personality_id: int, settings: Settings) -> str:
    return name_likings(likings(learn_taste(session, personality_id, settings)))


class ProgressMessages:
    """Keeps the messages of rounds up to date, also after a restart."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._bot = bot
        self._services = services
        self._shown: dict[int, str] = {}
        """{round id: text}"""
        self._refused: set[int] = set()
        """Rounds whose last edit Discord refused."""

    def start(self) -> None:
        self._services.tasks.repeat(self._update, PROGRESS_INTERVAL_S, "show the progress of rounds")

    async def text_of(self, round_: Round) -> str:
        def read(session: Session) -> tuple[Personality, str]:
            return read_personality(session, round_.personality_id), _next_step(session, round_)

        whose, next_step = await self._services.database.read(read)
        end = f"\n{next_step}" if next_step else ""
        return signed(whose, describe_round(round_))[: MAX_MESSAGE_CHARS - len(end)] + end

    async def _update(self) -> None:
        """Edit the rounds' messages whose text has changed, and forget a message after its last edit."""
        for round_ in await self._services.database.read(shown_rounds) if self._services.shards.lead else ():
            try:
                exists = await self._show(round_)
            except DISCORD_ERRORS as error:
                if round_.id not in self._refused:
                    log.warning("Discord did not accept the progress of round %d; trying again: %s", round_.id, error)
                self._refused.add(round_.id)
                continue
            self._refused.discard(round_.id)
            if not exists or not round_.is_open:
                self._shown.pop(round_.id, None)
                await self._services.database.run(stop_showing_progress, round_.id)

    async def _show(self, round_: Round) -> bool:
        """Show the round's progress and return whether its message still exists.

        Raises DISCORD_ERRORS if Discord may accept it later.
        """
        if round_.progress_channel_id is None or round_.progress_message_id is None:
            return False
        text = await self.text_of(round_)
        if self._shown.get(round_.id) == text:
            return True
        # Not with the interaction's token, which expires after 15 minutes: a round can take longer.
        channel = self._bot.get_partial_messageable(round_.progress_channel_id)
        message = channel.get_partial_message(round_.progress_message_id)
        try:
            await message.edit(content=text)
        except DISCORD_ERRORS as error:
            if is_temporary(error):
                raise
            log.info("The progress of round %d can no longer be shown: %s", round_.id, error)
            return False
        self._shown[round_.id] = text
        return True


def _next_step(session: Session, round_: Round) -> str:
    """Return what an admin can do about the round now, if anything."""
    if round_.is_open:
        return "" if is_alive(session, TRAINER) else NO_TRAINER
    made = next((v for v in list_versions(session, round_.personality_id) if v.round_id == round_.id), None)
    return _advice(session, made) if made else ""


def _advice(session: Session, made: Version) -> str:
    name = made.name
    if read_alias(session, made.personality_id).target == name:
        return f"{name} answers now. To undo this: `/model rollback`."
    if read_alias(session, made.personality_id, CHALLENGER).target == name:
        return f"People compare {name} with the champion now. Details: `/model canary status`."
    if made.verdict is GateVerdict.PASS:
        return f"To use {name}, run `/model promote {name}`. Details: `/model show {name}`."
    if made.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE:
        return f"People's choices decide about {name} from now on. How far they are: `/model status`."
    return (
        f"To use {name} anyway, run `/model promote {name}` with `override` and a reason. "
        f"Details: `/model show {name}`."
    )
