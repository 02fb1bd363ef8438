"""`/audit`: what admins did with the bot, when and why."""

from __future__ import annotations

from re import Match

import discord
from discord import app_commands
from discord.ext import commands

from bot.guards.access import require_admin
from bot.guards.audit import is_for_admins
from bot.guards.interactions import PersistentButton
from bot.personalities.selection import offer
from bot.services import Services
from bot.text.sanitize import escape_inline, sanitize_reason
from bot.text.splitting import fit_lines
from storage.database.enums import AuditOutcome
from storage.operations.audit import AuditEntry, Wanted, read_trail

SHOWN = 10
MOST_SHOWN = 25
ACTION_CHARS = 40
NOTHING = "No entries in the audit trail match."
NO_ROOM = "-# … and {left} more that don't fit: use a smaller limit"
SIGNS = {AuditOutcome.DONE: "✅", AuditOutcome.REFUSED: "⛔", AuditOutcome.FAILED: "⚠️"}


class AuditTrail(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    async def cog_load(self) -> None:
        self.bot.add_dynamic_items(OlderButton)

    async def cog_unload(self) -> None:
        self.bot.remove_dynamic_items(OlderButton)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.services.settings.discord)
        return True

    @app_commands.command()
    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.describe(
        limit="How many entries to show",
        action="A command such as model promote, or model for all of its commands",
        member="Only what this member did",
    )
    async def audit(
        self,
        interaction: discord.Interaction,
        limit: app_commands.Range[int, 1, MOST_SHOWN] = SHOWN,
        action: app_commands.Range[str, 1, ACTION_CHARS] | None = None,
        member: discord.User | None = None,
    ) -> None:
        """Show what admins did here, newest first."""
        await interaction.response.defer(ephemeral=True)
        wanted = Wanted(
            limit,
            action=_plain(action or ""),
            actor_id=member.id if member else None,
            guild_id=interaction.guild_id,
        )
        await show_audit_page(interaction, self.services, wanted)

    @audit.autocomplete("action")
    async def complete_action(self, _interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        names = [c.qualified_name for c in self.bot.tree.walk_commands() if is_for_admins(c)]  # type: ignore[arg-type]
        return offer(sorted(names), current)


async def show_audit_page(interaction: discord.Interaction, services: Services, wanted: Wanted) -> None:
    """Answer a deferred interaction with the newest matching entries, and a button for older ones."""
    entries = await services.database.read(read_trail, wanted)
    view = discord.ui.View(timeout=None)
    if len(entries) == wanted.limit:
        view.add_item(OlderButton(wanted, entries[-1].id))
    lines = [describe_entry(entry) for entry in entries] or [NOTHING]
    await interaction.edit_original_response(content=fit_lines(lines, NO_ROOM), view=view)


def describe_entry(entry: AuditEntry) -> str:
    """Return an entry in a line: outcome, time, action, admin, subject, reason and note."""
    parts = [
        f"{SIGNS[entry.outcome]} <t:{int(entry.happened_at.timestamp())}:f> **{entry.action}** by {entry.actor}",
        escape_inline(entry.subject),
        f"“{sanitize_reason(entry.reason)}”" if entry.reason else "",
        sanitize_reason(entry.note),
    ]
    return " · ".join(filter(None, parts))


def _plain(action: str) -> str:
    """Return the action without characters that a button's id cannot hold."""
    return " ".join("".join(char for char in action.lower() if char.isalnum() or char in " -").split())


class OlderButton(
    PersistentButton,
    template=r"reactune:audit:(?P<before>\d+):(?P<limit>\d+):(?P<member>\d*):(?P<action>.*)",
):
    def __init__(self, wanted: Wanted, before_id: int) -> None:
        self.wanted = wanted
        self.before_id = before_id
        member = "" if wanted.actor_id is None else wanted.actor_id
        custom_id = f"reactune:audit:{before_id}:{wanted.limit}:{member}:{wanted.action}"
        super().__init__(custom_id, "Older")

    @classmethod
    def parse(cls, match: Match[str]) -> OlderButton:
        member = int(match["member"]) if match["member"] else None
        limit = min(int(match["limit"]), MOST_SHOWN)
        return cls(Wanted(limit, action=match["action"], actor_id=member), int(match["before"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer()
        wanted = self.wanted
        # The server comes from the interaction, not from the button, so no server can read another one's entries.
        page = Wanted(wanted.limit, wanted.action, wanted.actor_id, interaction.guild_id, self.before_id)
        await show_audit_page(interaction, services, page)


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(AuditTrail(bot, services))
