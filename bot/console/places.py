"""Servers, channels and places of personalities by the names that the bot knows, and links to Discord."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import discord

from bot.console.page import Here
from bot.errors import UserFacingError
from bot.guards.access import allows_server
from bot.personalities.binding import places_of
from storage.database.enums import NOBODY, Scope
from storage.personalities.bindings import Binding, BindingPlace

SPEAKS_IN = (discord.TextChannel, discord.VoiceChannel, discord.StageChannel, discord.ForumChannel)
NOT_SERVED = "I don't serve that server, or you don't administer it. Reload this page."
NO_CHANNEL = "I can't see this channel: give me View Channel, or choose another place."

_MENTION = re.compile(r"<(#|@&|@!?)(\d+)>")


@dataclass(frozen=True)
class AnswerSource:
    """The place of an answer."""

    name: str
    link: str | None
    """Link to the answer's message; None if the visitor cannot open it: in direct messages, and in the demo."""


def visible_servers(here: Here) -> list[discord.Guild]:
    """Return the servers that the visitor may see, by name."""
    seen = (guild for guild in here.bot.guilds if here.visitor.may_see_server(guild.id))
    return sorted(seen, key=lambda guild: (guild.name.casefold(), guild.id))


def source_of(here: Here, guild_id: int | None, channel_id: int, link: str | None) -> AnswerSource:
    """Return the channel's name, with the link to the answer's message, if it has one."""
    can_open = guild_id is not None and here.services.fixed_basis is None
    return AnswerSource(_name(here, guild_id, channel_id), link if can_open else None)


def _name(here: Here, guild_id: int | None, channel_id: int) -> str:
    if channel_id == NOBODY:
        return "console"
    if guild_id is None:
        return "direct message"
    channel = _find_channel(here, guild_id, channel_id)
    return f"#{channel}" if channel else "a closed thread or deleted channel"


def name_channels(here: Here, found: Iterable[tuple[int, int]]) -> dict[int, str]:
    """Return the names of the channels, given as (server, channel), by their ids; those that are gone are left out."""
    channels = filter(None, (_find_channel(here, guild_id, channel_id) for guild_id, channel_id in found))
    by_name = sorted(channels, key=lambda channel: (channel.guild.name.casefold(), channel.guild.id, str(channel)))
    several = len(visible_servers(here)) > 1
    return {channel.id: f"#{channel} ({channel.guild})" if several else f"#{channel}" for channel in by_name}


def _find_channel(here: Here, guild_id: int, channel_id: int) -> discord.abc.GuildChannel | discord.Thread | None:
    # Through the server: to look a channel up by its id alone, discord.py asks every server.
    server = here.bot.get_guild(guild_id)
    return server.get_channel_or_thread(channel_id) if server else None


def with_names(here: Here, text: str) -> str:
    """Return the text with the names of channels, roles and members in place of Discord's marks."""

    def name(found: re.Match[str]) -> str:
        id_ = int(found[2])
        for guild in visible_servers(here):
            known = (
                guild.get_channel_or_thread(id_) if found[1] == "#" else guild.get_role(id_) or guild.get_member(id_)
            )
            if known is not None and (found[1] != "#" or here.visitor.may_see_channel(guild.id, id_)):
                return f"{found[1][0]}{known.name}"
        return found[0]

    return _MENTION.sub(name, text)


@dataclass(frozen=True)
class ShownPlace:
    """A place that a personality can be bound to."""

    id: int
    name: str
    bound: str
    """The personality that is bound there, if any."""


def servers_of(here: Here) -> list[discord.Guild]:
    """Return the servers where the visitor may bind the personality, by name."""
    access, owner = here.services.settings.access, here.personality.guild_id
    return [guild for guild in visible_servers(here) if allows_server(guild.id, access) and owner in (None, guild.id)]


def group_places(
    here: Here, guild: discord.Guild, bound: Mapping[BindingPlace, str]
) -> Iterator[tuple[str, list[ShownPlace]]]:
    """Yield each category with its channels as Discord orders them, then the active threads."""

    def shown(channel: discord.abc.GuildChannel | discord.Thread, name: str) -> ShownPlace:
        return ShownPlace(channel.id, name, bound.get(places_of(channel)[0], ""))

    seen = _visible_in(here, guild)
    for category, channels in guild.by_category():
        own = [shown(category, "all of this category")] if category and category in seen else []
        visible = [shown(one, f"#{one.name}") for one in channels if isinstance(one, SPEAKS_IN) and one in seen]
        if own or visible:
            yield category.name if category else "Channels", own + visible
    if threads := [shown(thread, thread.name) for thread in guild.threads if thread in seen]:
        yield "Threads", threads


def _visible_in(here: Here, guild: discord.Guild) -> set[discord.abc.GuildChannel | discord.Thread]:
    """Return the channels and threads of the server that both the bot and the visitor can see."""
    threads = (thread for thread in guild.threads if thread.parent is not None)  # else its permissions are unknown
    channels = (one for one in (*guild.channels, *threads) if one.permissions_for(guild.me).view_channel)
    return {one for one in channels if here.visitor.may_see_channel(guild.id, one.id)}


def find_place(here: Here, server: int, place: int | None) -> tuple[BindingPlace, object]:
    """Return the place with its channel; without a `place` it is the whole server. Raises UserFacingError."""
    guild = next((guild for guild in servers_of(here) if guild.id == server), None)
    if guild is None:
        raise UserFacingError(NOT_SERVED)
    if place is None:
        return BindingPlace(Scope.SERVER, guild.id), None
    channel = guild.get_channel_or_thread(place)
    if channel is None or channel not in _visible_in(here, guild):
        raise UserFacingError(NO_CHANNEL)
    return places_of(channel)[0], channel


def name_of_place(here: Here, binding: Binding) -> str:
    """Return the place in words, such as "#tea in Server" or "all of Server"."""
    guild = here.bot.get_guild(binding.guild_id)
    server = guild.name if guild else f"a server that I don't see ({binding.guild_id})"
    if binding.scope is Scope.SERVER:
        return f"all of {server}"
    channel = guild.get_channel_or_thread(binding.place_id) if guild else None
    is_known = channel is not None and here.visitor.may_see_channel(binding.guild_id, binding.place_id)
    return f"#{channel.name} in {server}" if is_known else f"a {binding.scope} in {server}"


def home_server(here: Here) -> int | None:
    """Return the server that a new personality belongs to; None if it is the operator's, for all servers."""
    if here.visitor.servers is None:
        return None
    server = here.form.id("server")
    if server not in here.visitor.servers:
        raise UserFacingError(NOT_SERVED)
    return server


def lorebook_server(here: Here) -> int | None:
    """Return the server that the operator chose for an imported lorebook; None if there is no choice."""
    chosen = here.form.text("lorebook", "")
    return next((guild.id for guild in visible_servers(here) if str(guild.id) == chosen), None)
