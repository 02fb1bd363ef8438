"""`/personality`: admins create personalities, write their cards, name and picture them, and bind them to channels."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from io import BytesIO
from typing import Literal

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.attachments.files import fetch_file
from bot.background import retry_until_available
from bot.errors import UserFacingError
from bot.guards.access import user_label
from bot.guards.audit import action_of, run_audited
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
from bot.personalities.descriptions import describe_appearance
from bot.personalities.pages import answer_with_personality, answer_with_personality_list, read_obstacles
from bot.personalities.selection import offer_personalities, require_own
from bot.text.rounds import describe_import
from bot.text.sanitize import escape_inline
from bot.text.splitting import answer_in_full
from storage.adapters.folder_store import AS_TRAINED
from storage.database.enums import Scope
from storage.personalities.bindings import MAX_STRENGTH, BindingPlace, bind, unbind
from storage.personalities.cards import MAX_DISPLAY_NAME_CHARS, renamed, require_name
from storage.personalities.personalities import Personality, change_card, personality_named, read_personality
from storage.personalities.pictures import MAX_PICTURE_FILE_BYTES, ONE_COLOUR, clean_picture, set_picture
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

PLACE = gettext_noop("A channel, thread or category; without it, here")
SERVER = gettext_noop("In the whole server")
NONE_IN_SERVER = gettext_noop(
    "No personality is bound in the whole server itself. `/personality show` lists all bindings."
)
NONE_IN_PLACE = gettext_noop("No personality is bound in this place itself. `/personality show` lists all bindings.")
NO_APPEARANCE = gettext_noop(
    "Give it a `name` or a `picture`, or choose under `reset` what goes back to the bot's own."
)

Somewhere = (
    discord.TextChannel
    | discord.VoiceChannel
    | discord.StageChannel
    | discord.ForumChannel
    | discord.CategoryChannel
    | discord.Thread
)


class Personalities(
    AdminCog, commands.GroupCog, group_name="personality", group_description="Personalities of the bot"
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

    @app_commands.command()
    @app_commands.describe(personality="The personality to show; without it, the list of them")
    @app_commands.autocomplete(personality=offer_personalities)
    async def show(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """List the personalities and where they answer, or show one: its card, version and places."""
        await interaction.response.defer(ephemeral=True)
        if personality is None:
            await answer_with_personality_list(interaction, self.services)
        else:
            found = await self._named(interaction, personality)
            await answer_with_personality(interaction, self.services, found)

    # Names and pictures

    @commands.Cog.listener()
    async def on_webhooks_update(self, channel: discord.abc.GuildChannel) -> None:
        self.services.webhooks.look_again(channel.id)

    @app_commands.command()
    @app_commands.describe(
        personality="The personality that gets a name or picture",
        name="What people see above its messages",
        picture="PNG, JPEG, GIF or WebP, beside its messages",
        reset="What goes back to the bot's own",
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def appearance(
        self,
        interaction: discord.Interaction,
        personality: str,
        name: app_commands.Range[str, 1, MAX_DISPLAY_NAME_CHARS] | None = None,
        picture: discord.Attachment | None = None,
        reset: Literal["name", "picture"] | None = None,
    ) -> None:
        """Give a personality a name and a picture of its own, or the bot's again."""
        await interaction.response.defer(ephemeral=True)
        found = await self._named(interaction, personality)
        require_own(self.services, found, {interaction.guild_id or 0})
        if not (name or picture or reset):
            raise UserFacingError(NO_APPEARANCE)
        card = renamed(found.card, name or "") if name or reset == "name" else found.card
        by = user_label(interaction.user)
        content = await _clean_picture(picture) if picture else None

        def write(session: Session) -> Personality:
            change_card(session, found, card, by=by)
            if content or reset == "picture":
                set_picture(session, found.id, content)
            return read_personality(session, found.id)

        now = await run_audited(interaction, action_of(interaction), write)
        log.info("%s changed the appearance of %s.", by, found.name)
        said = gettext(
            "**{name}** appears {how} from its next answer on. Older messages keep theirs.",
            name=now.name,
            how=describe_appearance(now),
        )
        await answer_privately(interaction, "\n".join([said, *await read_obstacles(interaction, self.services, now)]))

    # Files

    @app_commands.command(name="export")
    @app_commands.describe(
        personality="The personality to export", version="A version such as v3, to export with its adapter"
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
            by, guild_id = user_label(interaction.user), interaction.guild_id or 0
            lines.append(await add_lorebook(self.services.library, imported, guild_id=guild_id, added_by=by))
        await answer_in_full(interaction, lines, "\n".join(lines), "import.txt")

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

        replaced = await run_audited(interaction, action_of(interaction), write)
        log.info("%s bound %s to %s %d at strength %g.", by, found.name, where.scope, where.id, strength)
        said = describe_binding(found, where, strength, replaced)
        await answer_privately(interaction, "\n".join([said, *await read_obstacles(interaction, self.services, found)]))
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

        unbound = await run_audited(interaction, action_of(interaction), write)
        log.info("%s unbound %s from %s %d.", user_label(interaction.user), unbound, where.scope, where.id)
        said = gettext(
            "Unbound **{name}** {where}. To undo this, use `/personality bind {name}`.",
            name=unbound,
            where=describe_place(where),
        )
        await answer_privately(interaction, said)

    async def _named(self, interaction: discord.Interaction, name: str) -> Personality:
        return await self.services.database.read(personality_named, name, interaction.guild_id)


async def _clean_picture(file: discord.Attachment) -> bytes:
    content = await fetch_file(file, MAX_PICTURE_FILE_BYTES)
    picture = await asyncio.to_thread(clean_picture, content)
    if picture is None:
        raise UserFacingError(ONE_COLOUR)
    return picture
