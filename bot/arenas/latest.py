"""*Latest arenas*, a button for admins: the server's arenas with their results, the prompt bank and the schedule."""

from __future__ import annotations

import discord
from sqlalchemy.orm import Session

from bot.arenas.board import describe_arena
from bot.arenas.prompts import describe_bank
from bot.guards.access import require_admin
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import PersistentButton
from bot.localization.sentences import gettext
from bot.personalities.selection import active_personality
from bot.servers.draft import describe_arenas
from bot.services import Services
from storage.votes.arenas import Arena, ArenaAnswer, read_arena_answers, recent_arenas
from storage.wording import gettext_noop

SHOWN_ARENAS = 5
NO_ARENAS = gettext_noop("No arenas yet. Start one with `/arena start`.")


class ArenasButton(PersistentButton, template=r"reactune:arenas"):
    def __init__(self) -> None:
        super().__init__("reactune:arenas", gettext("Latest arenas"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer(ephemeral=True, thinking=True)
        guild_id = interaction.guild_id or 0
        latest = await services.database.read(_latest, guild_id)
        lines = [describe_arena(arena, answers) for arena, answers in latest] or [gettext(NO_ARENAS)]
        personality = (await active_personality(services, interaction.channel)).personality
        lines += [await describe_bank(services, personality), _describe_schedule(services, guild_id)]
        await answer_privately(interaction, "\n".join(lines))


def _latest(session: Session, guild_id: int) -> list[tuple[Arena, list[ArenaAnswer]]]:
    recent = recent_arenas(session, guild_id, SHOWN_ARENAS)
    return [(arena, read_arena_answers(session, arena.id)) for arena in recent]


def _describe_schedule(services: Services, guild_id: int) -> str:
    """Return the schedule in words: the server's choice, else the operator's."""
    setup, own, chat = services.setups.find(guild_id), services.settings.arena, services.settings.chat
    if setup is not None:
        when = f"{describe_arenas(setup.choices)} (`/setup`)"
    elif own.schedule:
        when = gettext("`{schedule}` UTC in {channel}", schedule=own.schedule, channel=f"<#{own.channel}>")
    else:
        return gettext("**Schedule:** none; admins start arenas")
    said = gettext("**Schedule:** {when}", when=when)
    if not chat.quiet_hours:
        return said
    hours = f"{chat.quiet_hours} {chat.time_zone}"
    return gettext("{schedule}, but not in quiet hours ({hours})", schedule=said, hours=hours)
