"""`/personality`: admins create personalities, write their cards, name and picture them, and bind them to channels."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from io import BytesIO

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.attachments.files import fetch_file
from bot.background import retry_until_available
from bot.errors import UserFacingError
from bot.guards.access import is_admin, user_label
from bot.guards.audit import run_audited
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import AdminCog
from bot.knowledge.lorebook import add_lorebook
from bot.localization.sentences import gettext, translated
from bot.personalities.binding import (
    chosen_place,
    describe_binding,
    describe_place,
    describe_replaced,
    places_of,
    post_greeting,
    unbind_deleted,
)
from bot.personalities.card_files import export_card, import_attachment, version_file
from bot.personalities.card_form import CardForm
from bot.personalities.descriptions import NEXT_STEP, card_lines, describe_appearance, describe_obstacles, list_lines
from bot.personalities.selection import offer, offer_personalities, require_own
from bot.services import Services
from bot.text.rounds import describe_import
from bot.text.sanitize import escape_inline
from bot.text.splitting import answer_in_full
from storage.adapters.folder_store import AS_TRAINED
from storage.database.enums import Scope
from storage.models.personality_imports import ImportedPersonality
from storage.personalities.bindings import MAX_STRENGTH, BindingPlace, bind, list_bindings, unbind
from storage.personalities.cards import MAX_DISPLAY_NAME_CHARS, format_card, renamed, require_name
from storage.personalities.personalities import (
    CARD_SUFFIX,
    Personality,
    archive_personality,
    change_card,
    list_personalities,
    personality_named,
    read_personality,
    restore_personality,
)
from storage.personalities.pictures import MAX_PICTURE_FILE_BYTES, ONE_COLOUR, clean_picture, set_picture
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
    commands.GroupCog,
    group_name="personality",
    group_description="Personalities of the bot",
):
    # Deleted places

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        for place in places_of(channel)[:1]:
            await self.services.database.run(unbind, place)

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        await self.services.database.run(unbind, BindingPlace(Scope.THREAD, payload.thread_id))

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        unbind_all = partial(unbind_deleted, self.bot, self.services.database)
        unbinding = retry_until_available(unbind_all, "Removing bindings of deleted places")
        self.services.tasks.spawn(unbinding, "bindings of deleted places")

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
        lines = await services.database.read(list_lines, interaction.guild_id or 0, services.settings)
        await answer_in_full(interaction, lines, "\n".join(lines), "personalities.txt")

    @app_commands.command()
    @app_commands.describe(personality="The personality to show")
    @app_commands.autocomplete(personality=offer_personalities)
    async def show(self, interaction: discord.Interaction, personality: str) -> None:
        """Show a personality's card, its version, and where it answers."""
        await interaction.response.defer(ephemeral=True)
        found = await self._named(interaction, personality)
        services = self.services
        lines = await services.database.read(card_lines, found, interaction.guild_id or 0, services.settings)
        lines += await self._obstacles(interaction, found)
        await answer_in_full(interaction, lines, format_card(found.card), f"{found.name}{CARD_SUFFIX}")

    @app_commands.command()
    @app_commands.describe(personality="The personality to archive")
    @app_commands.autocomplete(personality=offer_personalities)
    async def archive(self, interaction: discord.Interaction, personality: str) -> None:
        """Archive a personality; its versions and votes are kept."""
        name = await self._change(interaction, personality, archive_personality, "archived")
        said = gettext("Archived **{name}**. To bring it back, use `/personality restore {name}`.", name=name)
        await answer_privately(interaction, said)

    @app_commands.command()
    @app_commands.describe(personality="An archived personality")
    async def restore(self, interaction: discord.Interaction, personality: str) -> None:
        """Restore an archived personality."""
        name = await self._change(interaction, personality, restore_personality, "restored")
        restored = gettext("Restored **{name}**.", name=name)
        await answer_privately(interaction, f"{restored} {gettext(NEXT_STEP, name=name)}")

    @restore.autocomplete("personality")
    async def complete_archived(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        if not is_admin(interaction.user, self.services.settings.discord):
            return []
        list_all = list_personalities
        archived = await self.services.database.read(list_all, interaction.guild_id, archived=True)
        return offer([personality.name for personality in archived], current)

    # Names and pictures

    @commands.Cog.listener()
    async def on_webhooks_update(self, channel: discord.abc.GuildChannel) -> None:
        self.services.webhooks.look_again(channel.id)

    @app_commands.command(name="name")
    @app_commands.describe(
        personality="The personality to name", name="What people see above its messages; without it, the bot's name"
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def name_it(
        self,
        interaction: discord.Interaction,
        personality: str,
        name: app_commands.Range[str, 1, MAX_DISPLAY_NAME_CHARS] | None = None,
    ) -> None:
        """Let a personality speak under a name of its own, or under the bot's again."""
        found = await self._own(interaction, personality)
        card, by = renamed(found.card, name or ""), user_label(interaction.user)
        await run_audited(interaction, change_card, found, card, by=by)
        log.info("%s named %s %r.", by, found.name, card.display_name)
        await self._say_how_it_appears(interaction, found)

    @app_commands.command(name="picture")
    @app_commands.describe(
        personality="The personality that gets the picture",
        file="PNG, JPEG, GIF or WebP; without it, the bot's picture",
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def picture_it(
        self, interaction: discord.Interaction, personality: str, file: discord.Attachment | None = None
    ) -> None:
        """Give a personality a picture of its own, or the bot's again."""
        found = await self._own(interaction, personality)
        picture = await _clean_picture(file) if file else None
        await run_audited(interaction, set_picture, found.id, picture)
        log.info("%s %s the picture of %s.", user_label(interaction.user), "set" if file else "removed", found.name)
        await self._say_how_it_appears(interaction, found)

    async def _own(self, interaction: discord.Interaction, name: str) -> Personality:
        """Return the personality, which the admin may change."""
        await interaction.response.defer(ephemeral=True)
        found = await self._named(interaction, name)
        require_own(self.services, found, {interaction.guild_id or 0})
        return found

    async def _say_how_it_appears(self, interaction: discord.Interaction, before: Personality) -> None:
        now = await self.services.database.read(read_personality, before.id)
        said = gettext(
            "**{name}** appears {how} from its next answer on. Older messages keep theirs.",
            name=now.name,
            how=describe_appearance(now),
        )
        await answer_privately(interaction, "\n".join([said, *await self._obstacles(interaction, now)]))

    async def _obstacles(self, interaction: discord.Interaction, personality: Personality) -> list[str]:
        find = partial(list_bindings, guild_id=interaction.guild_id, personality_id=personality.id)
        bindings = await self.services.database.read(find)
        return describe_obstacles(self.services.webhooks, interaction.guild, personality, bindings)

    # Files

    @app_commands.command(name="export")
    @app_commands.describe(
        personality="The personality to export",
        version="A version such as v3, to export with its adapter",
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def export_personality(
        self, interaction: discord.Interaction, personality: str, version: str | None = None
    ) -> None:
        """Get a personality's card as a file, or one of its versions as a zip file."""
        await interaction.response.defer(ephemeral=True)
        found = await self._named(interaction, personality)
        if version is None:
            name, content = export_card(found)
            file = discord.File(BytesIO(content), name)
            text = gettext(
                "The card of **{name}**. Import it with `/personality import`, or put it into a `personalities` "
                "folder.",
                name=found.name,
            )
        else:
            file = await version_file(self.services, found, version, interaction.filesize_limit)
            text = gettext(
                "**{name}** as a peft adapter. Import it with `/personality import`; its README.md says how it was "
                "trained.",
                name=found.name,
            )
        await interaction.followup.send(text, file=file, ephemeral=True)

    @app_commands.command(name="import")
    @app_commands.describe(
        file="A card (.toml), a SillyTavern card (.json, .png), or a zip file from `/personality export`",
        name="The personality's name; without it, the card's or the file's name",
    )
    async def import_personality(
        self, interaction: discord.Interaction, file: discord.Attachment, name: str | None = None
    ) -> None:
        """Import a card, or an exported version as a new version."""
        await interaction.response.defer(ephemeral=True)
        imported = await import_attachment(interaction, self.services, file, name)
        log.info("%s imported %s into %s.", user_label(interaction.user), file.filename, imported.personality.name)
        lines = [describe_import(imported), *(escape_inline(translated(note)) for note in imported.notes)]
        if imported.lorebook:
            lines.append(await self._add_lorebook(interaction, imported))
        await answer_in_full(interaction, lines, "\n".join(lines), "import.txt")

    async def _add_lorebook(self, interaction: discord.Interaction, imported: ImportedPersonality) -> str:
        return await add_lorebook(
            self.services.library,
            imported,
            guild_id=interaction.guild_id or 0,
            added_by=user_label(interaction.user),
        )

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
        strength: app_commands.Range[float, 0.0, MAX_STRENGTH] = AS_TRAINED,
    ) -> None:
        """Let a personality answer in a thread, channel, category or the whole server."""
        await interaction.response.defer(ephemeral=True)
        found = await self._named(interaction, personality)
        where = chosen_place(interaction, place, server=server)
        by, guild_id = user_label(interaction.user), interaction.guild_id or 0

        def write(session: Session) -> str:
            before = bind(session, where, found, guild_id=guild_id, strength=strength, by=by)
            return describe_replaced(session, before)

        replaced = await run_audited(interaction, write)
        log.info("%s bound %s to %s %d at strength %g.", by, found.name, where.scope, where.id, strength)
        said = describe_binding(found, where, strength, replaced)
        await answer_privately(interaction, "\n".join([said, *await self._obstacles(interaction, found)]))
        await post_greeting(self.services, found, place or interaction.channel, where)

    @app_commands.command(name="unbind")
    @app_commands.describe(place=PLACE, server=SERVER)
    async def unbind_from(
        self, interaction: discord.Interaction, place: Somewhere | None = None, *, server: bool = False
    ) -> None:
        """Unbind a personality here; the server's or default one takes over."""
        await interaction.response.defer(ephemeral=True)
        where = chosen_place(interaction, place, server=server)

        def write(session: Session) -> str:
            before = unbind(session, where)
            if before is None:
                raise UserFacingError(NONE_IN_SERVER if where.scope is Scope.SERVER else NONE_IN_PLACE)
            return read_personality(session, before.personality_id).name

        unbound = await run_audited(interaction, write)
        log.info("%s unbound %s from %s %d.", user_label(interaction.user), unbound, where.scope, where.id)
        said = gettext(
            "Unbound **{name}** {where}. To undo this, use `/personality bind {name}`.",
            name=unbound,
            where=describe_place(where),
        )
        await answer_privately(interaction, said)

    async def _change(
        self, interaction: discord.Interaction, name: str, change: Callable[[Session, Personality], object], did: str
    ) -> str:
        """Archive or restore a personality of this server, and return its name."""
        found = await self._own(interaction, name)
        await run_audited(interaction, change, found)
        log.info("%s %s the personality %s.", user_label(interaction.user), did, found.name)
        return found.name

    async def _named(self, interaction: discord.Interaction, name: str) -> Personality:
        return await self.services.database.read(personality_named, name, interaction.guild_id)


async def _clean_picture(file: discord.Attachment) -> bytes:
    content = await fetch_file(file, MAX_PICTURE_FILE_BYTES)
    picture = await asyncio.to_thread(clean_picture, content)
    if picture is None:
        raise UserFacingError(ONE_COLOUR)
    return picture


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Personalities(bot, services))
