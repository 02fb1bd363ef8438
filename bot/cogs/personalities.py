"""`/personality`: admins create personalities, write their cards, and bind them to channels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.background import retry_until_available
from bot.cogs.appearance import Appearance
from bot.cogs.card_files import CardFiles
from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError
from bot.guards.access import is_admin, user_label
from bot.guards.audit import run_audited
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import AdminCog
from bot.localization.sentences import gettext
from bot.personalities import selection
from bot.personalities.card_form import CardForm
from bot.personalities.greeting import post_greeting
from bot.personalities.selection import NEXT_STEP, offer, offer_personalities, places_of, require_own
from bot.services import Services
from bot.text.splitting import answer_in_full
from storage.adapters.folder_store import AS_TRAINED
from storage.database.enums import Scope
from storage.personalities import bindings, personalities
from storage.personalities.cards import format_card, require_name
from storage.personalities.personalities import Personality
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

PLACE = gettext_noop("A channel, thread or category; without it, here")
SERVER = gettext_noop("In the whole server")
NONE_IN_SERVER = gettext_noop(
    "No personality is bound in the whole server itself. `/personality list` shows all bindings."
)
NONE_IN_PLACE = gettext_noop("No personality is bound in this place itself. `/personality list` shows all bindings.")

Somewhere = (
    discord.TextChannel
    | discord.VoiceChannel
    | discord.StageChannel
    | discord.ForumChannel
    | discord.CategoryChannel
    | discord.Thread
)


class Personalities(
    AdminCog,
    CardFiles,
    Appearance,
    commands.GroupCog,
    group_name="personality",
    group_description="Personalities of the bot",
):
    # Deleted places

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        for place in places_of(channel)[:1]:
            await self.services.database.run(bindings.unbind, place)

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        await self.services.database.run(bindings.unbind, bindings.BindingPlace(Scope.THREAD, payload.thread_id))

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        unbind = partial(retry_until_available, self._unbind_deleted, "Removing bindings of deleted places")
        self.services.tasks.spawn(unbind(), "bindings of deleted places")

    async def _unbind_deleted(self) -> None:
        """Remove the bindings of places that were deleted while the bot was offline."""
        for binding in await self.services.database.read(bindings.list_bindings):
            guild = self.bot.get_guild(binding.guild_id)
            if guild is None or guild.unavailable or binding.scope is Scope.SERVER:
                continue
            if guild.get_channel_or_thread(binding.place_id) is None and await self._is_deleted(binding.place_id):
                place = bindings.BindingPlace(binding.scope, binding.place_id)
                await self.services.database.run(bindings.unbind, place)

    async def _is_deleted(self, place_id: int) -> bool:
        """Ask Discord: archived threads are not in the cache."""
        try:
            await self.bot.fetch_channel(place_id)
        except discord.NotFound:
            return True
        except DISCORD_ERRORS as error:
            log.warning("Discord did not answer whether place %d exists; asking at the next start: %s", place_id, error)
        return False

    # Cards

    @app_commands.command()
    @app_commands.describe(name="Lower-case letters, digits and hyphens, such as night-owl")
    async def create(self, interaction: discord.Interaction, name: str) -> None:
        """Create a personality in a form."""
        require_name(name)
        await interaction.response.send_modal(CardForm(self.services, name, None))

    @app_commands.command()
    @app_commands.describe(personality="The personality to change")
    @app_commands.autocomplete(personality=offer_personalities)
    async def edit(self, interaction: discord.Interaction, personality: str) -> None:
        """Change a personality's card in a form."""
        found = await self._named(interaction, personality)
        require_own(self.services, found, {interaction.guild_id or 0})
        await interaction.response.send_modal(CardForm(self.services, found.name, found))

    @app_commands.command(name="list")
    async def list_all(self, interaction: discord.Interaction) -> None:
        """List the personalities, their versions, and where they answer."""
        await interaction.response.defer(ephemeral=True)
        services = self.services
        lines = await services.database.read(selection.list_lines, interaction.guild_id or 0, services.settings)
        await answer_in_full(interaction, lines, "\n".join(lines), "personalities.txt")

    @app_commands.command()
    @app_commands.describe(personality="The personality to show")
    @app_commands.autocomplete(personality=offer_personalities)
    async def show(self, interaction: discord.Interaction, personality: str) -> None:
        """Show a personality's card, its version, and where it answers."""
        await interaction.response.defer(ephemeral=True)
        found = await self._named(interaction, personality)
        services = self.services
        lines = await services.database.read(selection.card_lines, found, interaction.guild_id or 0, services.settings)
        lines += await self._obstacles(interaction, found)
        await answer_in_full(interaction, lines, format_card(found.card), f"{found.name}{personalities.CARD_SUFFIX}")

    @app_commands.command()
    @app_commands.describe(personality="The personality to archive")
    @app_commands.autocomplete(personality=offer_personalities)
    async def archive(self, interaction: discord.Interaction, personality: str) -> None:
        """Archive a personality; its versions and votes are kept."""
        name = await self._change(interaction, personality, personalities.archive_personality, "archived")
        said = gettext("Archived **{name}**. To bring it back, use `/personality restore {name}`.", name=name)
        await answer_privately(interaction, said)

    @app_commands.command()
    @app_commands.describe(personality="An archived personality")
    async def restore(self, interaction: discord.Interaction, personality: str) -> None:
        """Restore an archived personality."""
        name = await self._change(interaction, personality, personalities.restore_personality, "restored")
        restored = gettext("Restored **{name}**.", name=name)
        await answer_privately(interaction, f"{restored} {gettext(NEXT_STEP, name=name)}")

    @restore.autocomplete("personality")
    async def complete_archived(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        if not is_admin(interaction.user, self.services.settings.discord):
            return []
        list_all = personalities.list_personalities
        archived = await self.services.database.read(list_all, interaction.guild_id, archived=True)
        return offer([personality.name for personality in archived], current)

    # Places

    @app_commands.command(name="bind")
    @app_commands.describe(
        personality="The personality to bind",
        place=PLACE,
        server=SERVER,
        strength="How strongly its training counts: 0 is the base model, 1 is as trained",
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def bind_to(
        self,
        interaction: discord.Interaction,
        personality: str,
        place: Somewhere | None = None,
        *,
        server: bool = False,
        strength: app_commands.Range[float, 0.0, bindings.MAX_STRENGTH] = AS_TRAINED,
    ) -> None:
        """Let a personality answer in a thread, channel, category or the whole server."""
        await interaction.response.defer(ephemeral=True)
        found = await self._named(interaction, personality)
        where = _place(interaction, place, server=server)
        by, guild_id = user_label(interaction.user), interaction.guild_id or 0

        def write(session: Session) -> str:
            before = bindings.bind(session, where, found, guild_id=guild_id, strength=strength, by=by)
            return selection.describe_replaced(session, before)

        replaced = await run_audited(interaction, write)
        log.info("%s bound %s to %s %d at strength %g.", by, found.name, where.scope, where.id, strength)
        said = selection.describe_binding(found, where, strength, replaced)
        await answer_privately(interaction, "\n".join([said, *await self._obstacles(interaction, found)]))
        await post_greeting(self.services, found, place or interaction.channel, where)

    @app_commands.command(name="unbind")
    @app_commands.describe(place=PLACE, server=SERVER)
    async def unbind_from(
        self, interaction: discord.Interaction, place: Somewhere | None = None, *, server: bool = False
    ) -> None:
        """Unbind a personality here; the server's or default one takes over."""
        await interaction.response.defer(ephemeral=True)
        where = _place(interaction, place, server=server)

        def write(session: Session) -> str:
            before = bindings.unbind(session, where)
            if before is None:
                raise UserFacingError(NONE_IN_SERVER if where.scope is Scope.SERVER else NONE_IN_PLACE)
            return personalities.read_personality(session, before.personality_id).name

        unbound = await run_audited(interaction, write)
        log.info("%s unbound %s from %s %d.", user_label(interaction.user), unbound, where.scope, where.id)
        said = gettext(
            "Unbound **{name}** {where}. To undo this, use `/personality bind {name}`.",
            name=unbound,
            where=selection.describe_place(where),
        )
        await answer_privately(interaction, said)

    async def _change(
        self, interaction: discord.Interaction, name: str, change: Callable[[Session, Personality], object], did: str
    ) -> str:
        """Archive or restore a personality of this server, and return its name."""
        await interaction.response.defer(ephemeral=True)
        found = await self._named(interaction, name)
        require_own(self.services, found, {interaction.guild_id or 0})
        await run_audited(interaction, change, found)
        log.info("%s %s the personality %s.", user_label(interaction.user), did, found.name)
        return found.name

    async def _named(self, interaction: discord.Interaction, name: str) -> Personality:
        return await self.services.database.read(personalities.personality_named, name, interaction.guild_id)


def _place(interaction: discord.Interaction, place: Somewhere | None, *, server: bool) -> bindings.BindingPlace:
    """Return the place of a binding; raises UserFacingError if the options contradict each other."""
    if server and place is not None:
        raise UserFacingError("Choose either a place or the whole server.")
    if server:
        return bindings.BindingPlace(Scope.SERVER, interaction.guild_id or 0)
    nested = places_of(place or interaction.channel)
    if not nested:
        raise UserFacingError("I can't see this channel: give me View Channel, or choose another place.")
    return nested[0]


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Personalities(bot, services))
