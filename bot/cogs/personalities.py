"""Lets admins make personalities, write their cards, and say where each of them speaks."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from io import BytesIO
from pathlib import Path

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.access import is_admin, require_admin, user_label
from bot.guards.audit import action_of, run_audited, run_audited_as
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import Form
from bot.personalities.card_form import (
    EXAMPLES_HELP,
    FIELD_CHARS,
    SAMPLING_HELP,
    card_from_form,
    format_examples,
    format_sampling,
)
from bot.personalities.selection import offer, offer_personalities, places_of
from bot.services import Services
from bot.text.attachments import answer_in_full
from bot.text.rounds import describe_import
from bot.text.sanitize import escape_inline, sanitize_markdown
from storage.adapters.folder_store import AS_TRAINED
from storage.database.enums import Scope
from storage.models.personality_export import Provenance, read_provenance, zip_version
from storage.models.personality_import import ImportedPersonality, import_personality_file
from storage.personalities.bindings import (
    MAX_STRENGTH,
    Binding,
    BindingPlace,
    bind,
    list_bindings,
    unbind,
    unbind_server,
)
from storage.personalities.cards import (
    MAX_CARD_BYTES,
    MAX_DESCRIPTION_CHARS,
    MAX_GREETING_CHARS,
    Card,
    format_card,
    require_name,
)
from storage.personalities.personalities import (
    CARD_SUFFIX,
    Personality,
    archive_personality,
    change_card,
    create_personality,
    list_personalities,
    personality_named,
    read_personality,
    restore_personality,
)
from storage.releases.versions import read_alias, version_named
from storage.wording import count

log = logging.getLogger(__name__)

SHOWN_EXAMPLES = 3
MAX_ATTACHMENT_BYTES = 100_000_000
NEXT_STEP = (
    "`/personality bind {name}` lets it speak somewhere, `/model train personality:{name} learn_from:examples` makes "
    "its first version."
)
PLACE = "Where: a channel, thread or category; without it, here"
SERVER = "In the whole server"

Somewhere = (
    discord.TextChannel
    | discord.VoiceChannel
    | discord.StageChannel
    | discord.ForumChannel
    | discord.CategoryChannel
    | discord.Thread
)


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class Personalities(commands.GroupCog, group_name="personality", group_description="Who the bot is, and where"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.services.settings.discord)
        return True

    # Places that are gone

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        for place in places_of(channel)[:1]:
            await self.services.database.run(unbind, place)

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        await self.services.database.run(unbind, BindingPlace(Scope.THREAD, payload.thread_id))

    @commands.Cog.listener()
    async def on_guild_remove(self, guild: discord.Guild) -> None:
        await self.services.database.run(unbind_server, guild.id)

    # Cards

    @app_commands.command()
    @app_commands.describe(name="Lower-case letters, digits and hyphens, such as night-owl")
    async def create(self, interaction: discord.Interaction, name: str) -> None:
        """Make a personality: a form asks how it talks."""
        require_name(name)
        await interaction.response.send_modal(CardForm(self.services, name, None))

    @app_commands.command()
    @app_commands.autocomplete(personality=offer_personalities)
    async def edit(self, interaction: discord.Interaction, personality: str) -> None:
        """Change how a personality talks: a form with its card."""
        whose = await self._named(interaction, personality)
        require_own(self.services, interaction, whose)
        await interaction.response.send_modal(CardForm(self.services, whose.name, whose))

    @app_commands.command(name="list")
    async def list_all(self, interaction: discord.Interaction) -> None:
        """List the personalities, what answers for each, and where they speak."""
        await interaction.response.defer(ephemeral=True)
        lines = await self.services.database.read(_list_lines, interaction.guild_id or 0)
        await answer_in_full(interaction, lines, "\n".join(lines), "personalities.txt")

    @app_commands.command()
    @app_commands.autocomplete(personality=offer_personalities)
    async def show(self, interaction: discord.Interaction, personality: str) -> None:
        """Show a personality's card, what answers for it, and where it speaks."""
        await interaction.response.defer(ephemeral=True)
        whose = await self._named(interaction, personality)
        lines = await self.services.database.read(_card_lines, whose, interaction.guild_id or 0)
        await answer_in_full(interaction, lines, format_card(whose.card), f"{whose.name}{CARD_SUFFIX}")

    @app_commands.command(name="export")
    @app_commands.describe(version="With the adapter of a version such as v3, as a zip file")
    @app_commands.autocomplete(personality=offer_personalities)
    async def export_personality(
        self, interaction: discord.Interaction, personality: str, version: str | None = None
    ) -> None:
        """Send a personality's card as a file, or a version with its card and model card."""
        await interaction.response.defer(ephemeral=True)
        whose = await self._named(interaction, personality)
        if version is None:
            file = discord.File(BytesIO(format_card(whose.card).encode()), f"{whose.name}{CARD_SUFFIX}")
            text = f"The card of **{whose.name}**. `/personality import` reads it, as does a `personalities` folder."
        else:
            file = await self._export_version(interaction, whose, version)
            text = f"**{whose.name}**, ready for peft and for `/personality import`. Its README.md says what made it."
        await interaction.followup.send(text, file=file, ephemeral=True)

    async def _export_version(self, interaction: discord.Interaction, whose: Personality, version: str) -> discord.File:
        def read(session: Session) -> Provenance | None:
            found = version_named(session, whose.id, version)
            return read_provenance(session, whose, found, self.services.settings) if found else None

        origin = await self.services.database.read(read)
        if origin is None:
            raise UserFacingError("The base model has no adapter to export: name a version such as v1.")
        packed = await asyncio.to_thread(zip_version, self.services.adapters, self.services.base, origin)
        if len(packed) > interaction.filesize_limit:
            raise UserFacingError(
                f"That export has {len(packed) / 1e6:.0f} MB, more than Discord takes here: the operator can run "
                f"`reactune personality export {whose.name} FOLDER`."
            )
        return discord.File(BytesIO(packed), f"{whose.name}-{origin.versions[0].name}.zip")

    @app_commands.command(name="import")
    @app_commands.describe(
        file="A card (.toml), or a zip file as `/personality export` writes it",
        name="Its name; without it, that of the file",
    )
    async def import_personality(
        self, interaction: discord.Interaction, file: discord.Attachment, name: str | None = None
    ) -> None:
        """Take a card, or an adapter as a new version, into a personality of that name."""
        await interaction.response.defer(ephemeral=True)
        _require_importable(file)
        by, guild_id = user_label(interaction.user), interaction.guild_id
        content, services = await file.read(), self.services

        def take() -> ImportedPersonality:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / Path(file.filename).name
                path.write_bytes(content)
                return import_personality_file(
                    services.database,
                    services.adapters,
                    services.base,
                    path,
                    name=name or path.stem,
                    model_base=services.settings.model.base,
                    by=by,
                    guild_id=guild_id,
                    may_change=lambda whose: require_own(services, interaction, whose),
                )

        imported = await asyncio.to_thread(take)
        log.info("%s imported %s into %s", by, file.filename, imported.personality.name)
        await answer_privately(interaction, describe_import(imported))

    @app_commands.command()
    @app_commands.autocomplete(personality=offer_personalities)
    async def archive(self, interaction: discord.Interaction, personality: str) -> None:
        """Put a personality away; its versions and votes stay, and it can be restored."""
        await interaction.response.defer(ephemeral=True)
        whose = await self._named(interaction, personality)
        require_own(self.services, interaction, whose)
        await run_audited(interaction, archive_personality, whose)
        log.info("%s archived the personality %s", user_label(interaction.user), whose.name)
        await answer_privately(
            interaction, f"**{whose.name}** is archived. `/personality restore {whose.name}` brings it back."
        )

    @app_commands.command()
    @app_commands.describe(personality="An archived one")
    async def restore(self, interaction: discord.Interaction, personality: str) -> None:
        """Bring an archived personality back."""
        await interaction.response.defer(ephemeral=True)
        whose = await self._named(interaction, personality)
        require_own(self.services, interaction, whose)
        await run_audited(interaction, restore_personality, whose)
        log.info("%s restored the personality %s", user_label(interaction.user), whose.name)
        await answer_privately(interaction, f"**{whose.name}** is back. {NEXT_STEP.format(name=whose.name)}")

    @restore.autocomplete("personality")
    async def complete_archived(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        if not is_admin(interaction.user, self.services.settings.discord):
            return []
        archived = await self.services.database.read(list_personalities, interaction.guild_id, archived=True)
        return offer([personality.name for personality in archived], current)

    # Places

    @app_commands.command(name="bind")
    @app_commands.describe(
        place=PLACE, server=SERVER, strength="How strongly its training counts: 0 is the base model, 1 as trained"
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
        """Let a personality speak in a place; the most specific of nested places decides."""
        await interaction.response.defer(ephemeral=True)
        whose = await self._named(interaction, personality)
        where = _place(interaction, place, server=server)
        by, guild_id = user_label(interaction.user), interaction.guild_id or 0

        def write(session: Session) -> str:
            before = bind(session, where, whose, guild_id=guild_id, strength=strength, by=by)
            return _who(session, before)

        before = await run_audited(interaction, write)
        log.info("%s bound %s to %s %d at strength %g", by, whose.name, where.scope, where.id, strength)
        await answer_privately(
            interaction,
            f"**{whose.name}** speaks {_mention(where)} from the next message on{_at(strength)}{before}. "
            f"`/personality unbind` takes it back.",
        )
        await self._greet(whose, place or interaction.channel, where)

    @app_commands.command(name="unbind")
    @app_commands.describe(place=PLACE, server=SERVER)
    async def unbind_from(
        self, interaction: discord.Interaction, place: Somewhere | None = None, *, server: bool = False
    ) -> None:
        """Take a place's personality away; then that of the place around it speaks."""
        await interaction.response.defer(ephemeral=True)
        where = _place(interaction, place, server=server)

        def write(session: Session) -> str:
            before = unbind(session, where)
            if before is None:
                raise UserFacingError(
                    f"Nothing is bound {_mention(where)} itself: `/personality list` shows what is bound."
                )
            return read_personality(session, before.personality_id).name

        before = await run_audited(interaction, write)
        log.info("%s unbound %s from %s %d", user_label(interaction.user), before, where.scope, where.id)
        await answer_privately(
            interaction,
            f"**{before}** is not bound {_mention(where)} any more; `/personality bind {before}` undoes it.",
        )

    async def _named(self, interaction: discord.Interaction, name: str) -> Personality:
        return await self.services.database.read(personality_named, name, interaction.guild_id)

    async def _greet(self, personality: Personality, channel: object, where: BindingPlace) -> None:
        """Say the greeting in the channel or thread itself; nobody is greeted in a category or a whole server."""
        if not personality.card.greeting or where.scope not in (Scope.CHANNEL, Scope.THREAD):
            return
        if isinstance(channel, discord.abc.Messageable):
            try:
                await channel.send(sanitize_markdown(personality.card.greeting, self.services.settings.output))
            except discord.HTTPException as error:
                log.warning("%s could not greet: %s", personality.name, error)


class CardForm(Form):
    """Writes a new personality's card, or a changed one; examples that a form cannot hold stay as they are."""

    action = "personality card"

    def require(self, interaction: discord.Interaction) -> None:
        require_admin(interaction.user, self._services.settings.discord)

    def __init__(self, services: Services, name: str, before: Personality | None) -> None:
        super().__init__(title=f"{'Edit' if before else 'Create'} {name}")
        self._services = services
        self._name = name
        self._before = before
        self._inputs: dict[str, discord.ui.TextInput[CardForm]] = {}
        card = before.card if before else Card()
        self._ask("description", "Description", card.description, MAX_DESCRIPTION_CHARS, "One sentence, for lists.")
        prompt = "What it is told before every conversation. Empty is the prompt of the settings."
        self._ask("system_prompt", "System prompt", card.system_prompt, FIELD_CHARS, prompt, long=True)
        self._ask("greeting", "Greeting", card.greeting, MAX_GREETING_CHARS, "Said where it is bound.", long=True)
        self._ask("sampling", "Sampling", format_sampling(card.sampling), 200, SAMPLING_HELP[:100])
        examples = format_examples(card.examples)
        if examples is not None:
            self._ask("examples", "Example dialogues", examples, FIELD_CHARS, EXAMPLES_HELP[:100], long=True)

    def _ask(self, key: str, label: str, text: str, limit: int, help_text: str, *, long: bool = False) -> None:
        style = discord.TextStyle.paragraph if long else discord.TextStyle.short
        field: discord.ui.TextInput[CardForm] = discord.ui.TextInput(
            style=style, default=text or None, max_length=limit, required=False, custom_id=key
        )
        self._inputs[key] = field
        self.add_item(discord.ui.Label(text=label, description=help_text, component=field))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        before = self._before
        card = card_from_form(
            {key: field.value for key, field in self._inputs.items()}, before.card if before else Card()
        )
        by, guild_id = user_label(interaction.user), interaction.guild_id

        def write(session: Session) -> str:
            if before is None:
                create_personality(session, self._name, card, by=by, guild_id=guild_id)
                return f"**{self._name}** is made. {NEXT_STEP.format(name=self._name)}"
            return _describe_change(before.name, changed=change_card(session, before, card, by=by))

        outcome = await run_audited_as(interaction, action_of(interaction, self.action, self._name), write)
        log.info("%s wrote the card of %s", by, self._name)
        await answer_privately(interaction, outcome)


def _require_importable(file: discord.Attachment) -> None:
    """Raise UserFacingError on another kind of file, and on one that is too large to be taken from Discord."""
    is_card = file.filename.endswith(CARD_SUFFIX)
    if not is_card and not file.filename.endswith(".zip"):
        raise UserFacingError(f"{file.filename} is neither a card (.toml) nor an export (.zip).")
    limit = MAX_CARD_BYTES if is_card else MAX_ATTACHMENT_BYTES
    if file.size > limit:
        raise UserFacingError(
            f"{file.filename} is larger than {limit // 1_000_000} MB: the operator can run "
            "`reactune personality import`."
        )


def require_own(services: Services, interaction: discord.Interaction, personality: Personality) -> None:
    """Raise UserFacingError unless the server may change the personality.

    Its own it may; the operator's only where the bot serves no other server, which would find itself changed.
    """
    if personality.guild_id is None and services.access.serves_several_servers():
        raise UserFacingError(
            f"{personality.name} is the operator's and speaks in other servers too, so only its file changes it. "
            "`/personality export` and `import` under another name give this server a copy."
        )
    if personality.guild_id not in (None, interaction.guild_id):
        raise UserFacingError(f"{personality.name} belongs to another server.")


def _describe_change(name: str, *, changed: bool) -> str:
    if not changed:
        return f"The card of **{name}** said that already: nothing was changed."
    return f"The card of **{name}** is changed, from the next message on; the one before is kept in the database."


def _list_lines(session: Session, guild_id: int) -> list[str]:
    lines = []
    for personality in list_personalities(session, guild_id):
        champion = read_alias(session, personality.id).target
        bound = list_bindings(session, guild_id=guild_id, personality_id=personality.id)
        speaks = ", ".join(_where(binding) for binding in bound) or (
            "where nothing else is bound" if personality.is_default else "nowhere yet"
        )
        about = f" · {escape_inline(personality.card.description)}" if personality.card.description else ""
        examples = count(len(personality.card.examples), "example")
        lines.append(f"**{personality.name}**{about} · {champion} answers · {examples} · speaks {speaks}")
    return lines


def _card_lines(session: Session, personality: Personality, guild_id: int) -> list[str]:
    card = personality.card
    champion = read_alias(session, personality.id).target
    bound = list_bindings(session, guild_id=guild_id, personality_id=personality.id)
    lines = [f"**{personality.name}** · {champion} answers"]
    lines += [escape_inline(card.description)] if card.description else []
    lines += ["⚠️ It is archived."] if personality.archived_at else []
    lines.append(f"**Speaks:** {', '.join(map(_where, bound)) or 'nowhere that it is bound to'}")
    lines.append(f"**System prompt:** {escape_inline(card.system_prompt) or 'that of the settings'}")
    lines += [f"**Greeting:** {escape_inline(card.greeting)}"] if card.greeting else []
    lines.append(f"**Sampling:** {format_sampling(card.sampling) or 'that of the settings'}")
    lines.append(f"**Examples:** {len(card.examples)}")
    lines += [
        f"> {escape_inline(example.dialogue[0])}\n{escape_inline(example.dialogue[1])}"
        for example in card.examples[:SHOWN_EXAMPLES]
    ]
    return lines


def _place(interaction: discord.Interaction, place: Somewhere | None, *, server: bool) -> BindingPlace:
    """Return the place that a command names; raises UserFacingError on two at once."""
    if server and place is not None:
        raise UserFacingError("Choose one: a place, or the whole server.")
    if server:
        return BindingPlace(Scope.SERVER, interaction.guild_id or 0)
    nested = places_of(place or interaction.channel)
    if not nested:
        raise UserFacingError("I cannot see this channel: let me view it, or name another place.")
    return nested[0]


def _mention(place: BindingPlace) -> str:
    return "in the whole server" if place.scope is Scope.SERVER else f"in <#{place.id}>"


def _where(binding: Binding) -> str:
    return _mention(BindingPlace(binding.scope, binding.place_id)) + _at(binding.strength)


def _at(strength: float) -> str:
    return "" if strength == AS_TRAINED else f" at strength {strength:g}"


def _who(session: Session, before: Binding | None) -> str:
    if before is None:
        return ""
    return f" (before: {read_personality(session, before.personality_id).name}{_at(before.strength)})"


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Personalities(bot, services))
