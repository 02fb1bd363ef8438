"""`/help`: how to talk with the bot, and the commands that this person may use here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import discord
from discord import app_commands
from discord.enums import AppCommandType

from bot.guards.access import is_admin
from bot.guards.audit import is_for_admins
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import BotCog
from bot.localization.sentences import gettext
from storage.wording import gettext_noop

HOW = gettext_noop(
    "Mention me, reply to me or write me a direct message, and I answer. React to my answers with 👍 or 👎: that "
    "teaches me how you like to be answered. 🔁 gives another answer."
)
IN_MENUS = gettext_noop("In the menu of a message, under Apps: {names}")
FOR_ADMINS = gettext_noop("For admins")

Slash = app_commands.Command[Any, ..., Any] | app_commands.Group


class Help(BotCog):
    @app_commands.command()
    async def help(self, interaction: discord.Interaction) -> None:
        """See what I can do, and the commands that you may use here."""
        tree, is_in_server = self.bot.tree, interaction.guild is not None
        known = tree.get_commands(type=AppCommandType.chat_input)
        slash = [one for one in known if is_in_server or not one.guild_only]
        menus = [gettext(one.name) for one in tree.get_commands(type=AppCommandType.message) if not is_for_admins(one)]
        lines = [*_lines(one for one in slash if not _is_for_admins(one))]
        lines.append(gettext(IN_MENUS, names=", ".join(f"*{name}*" for name in sorted(menus))))
        embeds = [discord.Embed(description="\n".join(lines))]
        if is_admin(interaction.user, self.services.settings.discord):
            of_admins = "\n".join(_lines(one for one in slash if _is_for_admins(one)))
            embeds.append(discord.Embed(title=gettext(FOR_ADMINS), description=of_admins))
        await answer_privately(interaction, gettext(HOW), embeds=embeds)


def _is_for_admins(one: Slash) -> bool:
    return one.default_permissions is not None


def _lines(found: Iterable[Slash]) -> Iterator[str]:
    """Yield a line for each command, and one for each group with the names of its commands."""
    for one in sorted(found, key=lambda command: command.name):
        parts = " · ".join(sorted(part.name for part in one.commands)) if isinstance(one, app_commands.Group) else ""
        yield f"`/{f'{one.name} {parts}'.strip()}` {gettext(one.description)}"
