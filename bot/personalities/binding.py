"""The places where a personality answers: bindings in words, the greeting there, and deleted places."""

from __future__ import annotations

import logging

import discord
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError
from bot.localization.sentences import gettext
from bot.services import Services
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import split_message
from storage.adapters.folder_store import AS_TRAINED
from storage.database.database import Database
from storage.database.enums import Scope
from storage.personalities.bindings import Binding, BindingPlace, list_bindings, unbind
from storage.personalities.personalities import Personality, read_personality

log = logging.getLogger(__name__)


def places_of(channel: object) -> list[BindingPlace]:
    """Return the places, most specific first, whose bindings decide about a channel.

    There are none for direct messages, nor for a channel that the bot cannot see.
    """
    if isinstance(channel, discord.Thread):
        return [
            BindingPlace(Scope.THREAD, channel.id),
            BindingPlace(Scope.CHANNEL, channel.parent_id),
            *_around(channel.parent or channel),
        ]
    if isinstance(channel, discord.abc.GuildChannel):
        own = Scope.CATEGORY if isinstance(channel, discord.CategoryChannel) else Scope.CHANNEL
        return [BindingPlace(own, channel.id), *_around(channel)]
    return []


def _around(channel: discord.abc.GuildChannel | discord.Thread) -> list[BindingPlace]:
    category_id = channel.category_id if isinstance(channel, discord.abc.GuildChannel) else None
    category = [BindingPlace(Scope.CATEGORY, category_id)] if category_id else []
    return [*category, BindingPlace(Scope.SERVER, channel.guild.id)]


def chosen_place(interaction: discord.Interaction, place: object | None, *, server: bool) -> BindingPlace:
    """Return the place of a binding; raises UserFacingError if the options contradict each other."""
    if server and place is not None:
        raise UserFacingError("Choose either a place or the whole server.")
    if server:
        return BindingPlace(Scope.SERVER, interaction.guild_id or 0)
    nested = places_of(place or interaction.channel)
    if not nested:
        raise UserFacingError("I can't see this channel: give me View Channel, or choose another place.")
    return nested[0]


def describe_binding(personality: Personality, place: BindingPlace, strength: float, replaced: str) -> str:
    where = at_strength(describe_place(place), strength)
    return " ".join(
        [
            gettext("**{name}** answers {where} from the next message on.", name=personality.name, where=where),
            *([gettext("It replaces {other}.", other=replaced)] if replaced else []),
            gettext("To undo this, use `/personality unbind`."),
        ]
    )


def describe_replaced(session: Session, before: Binding | None) -> str:
    """Return the personality that was bound before and its strength, or an empty text."""
    if before is None:
        return ""
    return at_strength(read_personality(session, before.personality_id).name, before.strength)


def describe_place(place: BindingPlace) -> str:
    if place.scope is Scope.SERVER:
        return gettext("in the whole server")
    return gettext("in {places}", places=f"<#{place.id}>")


def at_strength(what: str, strength: float) -> str:
    return what if strength == AS_TRAINED else gettext("{what} at strength {strength}", what=what, strength=strength)


async def post_greeting(services: Services, personality: Personality, channel: object, where: BindingPlace) -> None:
    """Post the greeting in a channel or thread; a category or a whole server gets none."""
    if not personality.card.greeting or where.scope not in (Scope.CHANNEL, Scope.THREAD):
        return
    if isinstance(channel, discord.abc.Messageable) and isinstance(channel, discord.abc.GuildChannel | discord.Thread):
        try:
            guise = await services.webhooks.guise_of(personality, channel.guild.id, where.id)
            for part in split_message(sanitize_markdown(personality.card.greeting, services.settings.output)):
                await (guise or channel).send(part)
        except DISCORD_ERRORS as error:
            log.warning("Could not post the greeting of %s: %s", personality.name, error)


async def unbind_deleted(bot: discord.Client, database: Database) -> None:
    """Remove the bindings of places that were deleted while the bot was offline."""
    for binding in await database.read(list_bindings):
        guild = bot.get_guild(binding.guild_id)
        if guild is None or guild.unavailable or binding.scope is Scope.SERVER:
            continue
        if guild.get_channel_or_thread(binding.place_id) is None and await _is_deleted(bot, binding.place_id):
            await database.run(unbind, BindingPlace(binding.scope, binding.place_id))


async def _is_deleted(bot: discord.Client, place_id: int) -> bool:
    """Ask Discord: archived threads are not in the cache."""
    try:
        await bot.fetch_channel(place_id)
    except discord.NotFound:
        return True
    except DISCORD_ERRORS as error:
        log.warning("Discord did not answer whether place %d exists; asking at the next start: %s", place_id, error)
    return False
