"""Who may steer the model; checked by the bot itself, whatever Discord's own command permissions say."""

from __future__ import annotations

import discord
from discord import app_commands

from storage.settings import DiscordSettings


class NotAnAdmin(app_commands.CheckFailure):
    def __init__(self) -> None:
        super().__init__("Only admins may do this: it needs Manage Server, or a role that the operator named.")


def require_admin(user: discord.User | discord.Member, settings: DiscordSettings) -> None:
    """Raise NotAnAdmin unless `is_admin` says yes."""
    if not is_admin(user, settings):
        raise NotAnAdmin


def is_admin(user: discord.User | discord.Member, settings: DiscordSettings) -> bool:
    """Return whether the user has Manage Server, or one of discord.admin_roles, in the server they act in."""
    if not isinstance(user, discord.Member):
        return False
    return user.guild_permissions.manage_guild or has_named_role(user, settings)


def has_named_role(user: discord.User | discord.Member, settings: DiscordSettings) -> bool:
    """Return whether the operator named a role of the user in discord.admin_roles."""
    return isinstance(user, discord.Member) and any(role.id in settings.admin_roles for role in user.roles)


def named(user: discord.User | discord.Member) -> str:
    """Return what an admin is called in an audit trail."""
    return f"{user.name} ({user.id})"[:64]
