"""Shows admins who did what with the bot's rights, when and why."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.app import ReactuneBot
from bot.guards.access import AccessChecked, require_admin
from bot.guards.audit import is_for_admins
from bot.guards.error_handler import answer_privately, member_message
from bot.personalities.selection import offer
from bot.text.attachments import fit_lines
from bot.text.sanitize import escape_inline, sanitize_reason
from storage.database.enums import AuditOutcome
from storage.operations.audit import Entry, Wanted, read_trail

SHOWN = 10
MOST_SHOWN = 25
ACTION_CHARS = 40
NOTHING = "Nothing stands in the audit trail for that."
SIGNS = {AuditOutcome.DONE: "✅", AuditOutcome.REFUSED: "⛔", AuditOutcome.FAILED: "⚠️"}


class AuditTrail(commands.Cog):
    def __init__(self, bot: ReactuneBot) -> None:
        self.bot = bot

    async def cog_load(self) -> None:
        self.bot.add_dynamic_items(OlderButton)

    async def cog_unload(self) -> None:
        self.bot.remove_dynamic_items(OlderButton)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.bot.settings.discord)
        return True

    @app_commands.command()
    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.describe(
        limit="How many lines", action="A command such as model promote, or model for all of them", member="Whose"
    )
    async def audit(
        self,
        interaction: discord.Interaction,
        limit: app_commands.Range[int, 1, MOST_SHOWN] = SHOWN,
        action: app_commands.Range[str, 1, ACTION_CHARS] | None = None,
        member: discord.User | None = None,
    ) -> None:
        """Show what admins did here, when and why, newest first."""
        await interaction.response.defer(ephemeral=True)
        wanted = Wanted(
            limit,
            action=_plain(action or ""),
            actor_id=member.id if member else None,
            guild_id=interaction.guild_id,
        )
        await show_audit_page(interaction, self.bot, wanted)

    @audit.autocomplete("action")
    async def complete_action(self, _interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        names = [c.qualified_name for c in self.bot.tree.walk_commands() if is_for_admins(c)]  # type: ignore[arg-type]
        return offer(sorted(names), current)


async def show_audit_page(interaction: discord.Interaction, bot: ReactuneBot, wanted: Wanted) -> None:
    """Answer a deferred interaction with the newest lines that are wanted, and a button for older ones."""
    entries = await bot.database.read(read_trail, wanted)
    view = discord.ui.View(timeout=None)
    if len(entries) == wanted.limit:
        view.add_item(OlderButton(wanted, entries[-1].id))
    lines = [describe_entry(entry) for entry in entries] or [NOTHING]
    await interaction.edit_original_response(content=fit_lines(lines, "-# … and {left} more: ask for fewer"), view=view)


def describe_entry(entry: Entry) -> str:
    """Return a line for Discord: when, what, by whom, on what, why, and what became of it."""
    parts = [
        f"{SIGNS[entry.outcome]} <t:{int(entry.happened_at.timestamp())}:f> **{entry.action}** by {entry.actor}",
        escape_inline(entry.subject),
        f"“{sanitize_reason(entry.reason)}”" if entry.reason else "",
        sanitize_reason(entry.note),
    ]
    return " · ".join(filter(None, parts))


def _plain(action: str) -> str:
    """Return the action without what a button's id cannot hold."""
    return " ".join("".join(char for char in action.lower() if char.isalnum() or char in " -").split())


class OlderButton(
    AccessChecked,
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"reactune:audit:(?P<before>\d+):(?P<limit>\d+):(?P<member>\d*):(?P<action>.*)",
):
    """Works after a restart as well: its id holds all it needs."""

    def __init__(self, wanted: Wanted, before_id: int) -> None:
        self.wanted = wanted
        self.before_id = before_id
        member = "" if wanted.actor_id is None else wanted.actor_id
        custom_id = f"reactune:audit:{before_id}:{wanted.limit}:{member}:{wanted.action}"
        super().__init__(discord.ui.Button(label="Older", custom_id=custom_id))

    @classmethod
    async def from_custom_id(
        cls, _interaction: discord.Interaction, _item: discord.ui.Item[Any], match: Any, /
    ) -> OlderButton:
        member = int(match["member"]) if match["member"] else None
        limit = min(int(match["limit"]), MOST_SHOWN)
        return cls(Wanted(limit, action=match["action"], actor_id=member), int(match["before"]))

    async def callback(self, interaction: discord.Interaction) -> None:
        bot = interaction.client
        assert isinstance(bot, ReactuneBot)
        try:
            require_admin(interaction.user, bot.settings.discord)
            await interaction.response.defer()
            # The server is the one where it is pressed, whatever the id says.
            wanted = self.wanted
            page = Wanted(wanted.limit, wanted.action, wanted.actor_id, interaction.guild_id, self.before_id)
            await show_audit_page(interaction, bot, page)
        except Exception as error:
            await answer_privately(interaction, member_message(error))


async def setup(bot: ReactuneBot) -> None:
    await bot.add_cog(AuditTrail(bot))
