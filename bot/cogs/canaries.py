"""Tries versions on a share of conversations, watches how members like them, and tells members what changed."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import aiohttp
import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.chat.message_stream import is_temporary
from bot.cogs.models import offer_versions
from bot.guards.access import require_admin, user_label
from bot.guards.audit import run_audited
from bot.personalities.selection import WHOSE, administered_personality, chosen_personality, offer_personalities, signed
from bot.releases.watcher import ReleaseState
from bot.services import Services
from bot.text.releases import describe_announcement, describe_canary, describe_last_canary
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import utc_now
from storage.database.engine import FAILURES
from storage.errors import StorageError
from storage.operations.outbox import tell_waiting
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.announcements import Announceable, news_to_tell, prepare_announcement
from storage.releases.canaries import (
    Ending,
    Reading,
    conclude_canary,
    latest_canary,
    note_numbers,
    read_canary,
    start_canary,
    stop_canary,
)
from storage.releases.versions import ask_gate, find_version, name_of, version_named
from storage.settings.sections import VoteSettings
from storage.votes.quarantines import hold_back_bursts

log = logging.getLogger(__name__)

INTERVAL_S = 3.0


class Canaries(app_commands.Group):
    """`/model canary …`"""

    def __init__(self, services: Services) -> None:
        super().__init__(name="canary", description="Try a version on a share of conversations")
        self.services = services

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.services.settings.discord)
        return True

    @app_commands.command()
    @app_commands.describe(
        version="A version such as v3",
        share="Share of conversations that it answers, such as 0.1",
        reason="Why; it is kept in the audit trail",
        override="Try it although it did not pass the gate; say why",
        personality=WHOSE,
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def start(
        self,
        interaction: discord.Interaction,
        version: str,
        *,
        share: app_commands.Range[float, 0.01, 0.99] | None = None,
        reason: str = "",
        override: bool = False,
        personality: str | None = None,
    ) -> None:
        """Let a version answer a share of conversations, until votes decide whether it stays."""
        await interaction.response.defer()
        services, by = self.services, user_label(interaction.user)
        whose = await administered_personality(services, interaction, personality)
        challenger = await services.database.read(version_named, whose.id, version)
        await services.database.read(ask_gate, challenger, override=override, reason=reason)
        await asyncio.to_thread(services.releases.open, challenger)
        canary = await run_audited(
            interaction,
            start_canary,
            whose.id,
            challenger,
            services.settings.release,
            share=share,
            by=by,
            reason=reason or "started in Discord",
            override=override,
        )
        log.info("%s started a canary of %s of %s", by, name_of(challenger), whose.name)
        text = (
            f"**{name_of(challenger)}** answers {canary.share:.0%} of conversations from now on. Votes decide "
            "whether it becomes champion or goes: see `/model canary status`, end it with `/model canary stop`."
        )
        await interaction.edit_original_response(content=signed(whose, text))

    @start.autocomplete("version")
    async def complete_version(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return await offer_versions(self.services, interaction, current)

    @app_commands.command()
    @app_commands.describe(reason="Why; it is kept in the audit trail", personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def stop(self, interaction: discord.Interaction, reason: str = "", personality: str | None = None) -> None:
        """End the canary: the champion answers everywhere."""
        await interaction.response.defer()
        whose, by = (
            await administered_personality(self.services, interaction, personality),
            user_label(interaction.user),
        )
        await run_audited(interaction, stop_canary, whose.id, by=by, reason=reason)
        log.info("%s stopped the canary of %s", by, whose.name)
        release = await self.services.releases.current(whose.id)
        text = f"The canary is stopped: **{release.name}** answers everywhere."
        await interaction.edit_original_response(content=signed(whose, text))

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def status(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Show how members like the version that is tried, beside the champion."""
        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        text = await self.services.database.read(_canary_status, whose.id, self.services.settings.votes)
        await interaction.followup.send(signed(whose, text)[:MAX_MESSAGE_CHARS], ephemeral=True)


def _canary_status(session: Session, personality_id: int, settings: VoteSettings) -> str:
    reading = read_canary(session, personality_id, settings)
    if reading is not None:
        return describe_canary(reading, utc_now())
    last = latest_canary(session, personality_id)
    return describe_last_canary(last, name_of(find_version(session, last.challenger_id)) if last else "")


class ReleaseWatch(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._canaries = Canaries(services)
        self._has_warned = False

    async def cog_load(self) -> None:
        model = self.bot.tree.get_command("model")
        assert isinstance(model, app_commands.Group), "bot.cogs.models is loaded first"
        model.add_command(self._canaries)
        self.services.release_watcher.subscribe(self._announce)
        self._repeating = self.services.tasks.repeat(self._evaluate_all, INTERVAL_S, "evaluate canaries")

    async def cog_unload(self) -> None:
        self._repeating.cancel()  # the commands go with those they were added to

    async def _evaluate_all(self) -> None:
        if self.services.shards.lead:
            for personality in await self.services.database.read(list_personalities, archived=None):
                await self._evaluate_safely(personality)

    async def _evaluate_safely(self, personality: Personality) -> None:
        """Evaluate one personality's canary, so that its failure does not stop the others."""
        try:
            await self._evaluate(personality)
        except FAILURES:
            raise
        except StorageError as error:
            log.warning("The canary of %s continues for now: %s.", personality.name, error)
        except Exception:
            log.exception("The canary of %s could not be evaluated; trying again.", personality.name)

    async def _announce(self, _before: ReleaseState | None, _now: ReleaseState) -> bool:
        """Announce promotions and canaries; return False if Discord did not take one of them."""
        if not self.services.shards.lead:
            return True
        personalities = await self.services.database.read(list_personalities, archived=None)
        return all([await self._announce_one(personality) for personality in personalities])

    async def _announce_one(self, personality: Personality) -> bool:
        find = partial(news_to_tell, personality_id=personality.id)
        if await self.services.database.read(find):
            tell = partial(self._tell, personality)
            # A task that the bot waits for when it closes: what is marked as told must be told.
            await asyncio.shield(
                self.services.tasks.spawn(tell_waiting(self.services.database, find, tell), "announce releases")
            )
        return not await self.services.database.read(find)

    async def _evaluate(self, personality: Personality) -> None:
        """End the canary if its votes say so, or if the challenger cannot answer."""
        reading = await self.services.database.read(read_canary, personality.id, self.services.settings.votes)
        if reading is None:
            return
        if await self.services.releases.open_challenger(reading.canary) is None:
            await self.services.release_watcher.look()  # that ended the canary
            return
        if reading.ending is not None:
            # Votes that turn out to be bought decide nothing: the next look counts without them.
            votes = self.services.settings.votes
            if not await asyncio.to_thread(hold_back_bursts, self.services.database, personality.id, votes):
                await self._conclude(reading, reading.ending)
        elif reading.numbers != reading.canary.numbers:
            await self.services.database.run(note_numbers, reading)

    async def _conclude(self, reading: Reading, ending: Ending) -> None:
        if await self.services.database.run(conclude_canary, reading, ending):
            log.info("The canary of %s: %s (%s).", reading.challenger.name, ending.status, ending.reason)
            await self.services.release_watcher.look()

    async def _tell(self, personality: Personality, news: Announceable) -> bool:
        """Return False where Discord is in trouble and the news should be told later."""
        channel_id = self.services.settings.release.announce_channel
        if not channel_id:
            return True
        text = signed(personality, describe_announcement(await self.services.database.read(prepare_announcement, news)))
        try:
            if not await self._concerns(channel_id, personality):
                return True
            await self.bot.get_partial_messageable(channel_id).send(text[:MAX_MESSAGE_CHARS])
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            if not isinstance(error, discord.HTTPException) or is_temporary(error):
                log.warning("A release cannot be announced yet: %s", error)
                return False
            self._warn(channel_id, error)
        return True

    async def _concerns(self, channel_id: int, personality: Personality) -> bool:
        """Return whether the channel's members may hear of the personality: another server's own is none of theirs."""
        if personality.guild_id is None:
            return True
        # Asked of Discord where another process serves the channel's server.
        channel = self.bot.get_channel(channel_id) or await self.bot.fetch_channel(channel_id)
        guild = getattr(channel, "guild", None)
        return guild is not None and guild.id == personality.guild_id

    def _warn(self, channel_id: int, error: discord.HTTPException) -> None:
        if not self._has_warned:
            log.error(
                "Releases cannot be announced in channel %d (%s): let the bot see it and send messages there, or set "
                "release.announce_channel to another channel, or to 0.",
                channel_id,
                error,
            )
        self._has_warned = True


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(ReleaseWatch(bot, services))
