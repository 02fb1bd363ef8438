"""Records actions with an admin's rights in Discord in the audit trail, including refused attempts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import discord
from discord import app_commands
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.guards.access import user_label
from bot.services import services_of
from storage.database.database import Database
from storage.database.enums import AuditOutcome
from storage.operations.audit import AuditedAction, audited, record_action
from storage.wording import shorten

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

VALUE_CHARS = 60
NOTED = "reactune:audited"
ALSO_FOR_ADMINS = frozenset({"reset"})
"""Commands that members can use in their own conversation, and admins everywhere."""

AnyCommand = app_commands.Command[Any, ..., Any] | app_commands.ContextMenu | None


def is_for_admins(command: AnyCommand) -> bool:
    """Return whether a command uses an admin's rights."""
    if command is None:
        return False
    if isinstance(command, app_commands.ContextMenu):
        return command.default_permissions is not None
    root = command.root_parent or command
    return root.default_permissions is not None or command.qualified_name in ALSO_FOR_ADMINS


def action_of(interaction: discord.Interaction, action: str = "", subject: str = "") -> AuditedAction:
    """Return the action of an interaction: a command with its options, or the action of a button or a form."""
    command = interaction.command
    options = dict(iter(interaction.namespace)) if command is not None else {}
    reason = str(options.pop("reason", None) or "")
    given = ", ".join(f"{name}: {_value(value)}" for name, value in options.items() if value is not None)
    return AuditedAction(
        actor=user_label(interaction.user),
        actor_id=interaction.user.id,
        guild_id=interaction.guild_id,
        action=action or (command.qualified_name if command else "unknown"),
        subject=subject or given,
        reason=reason,
    )


def _value(value: object) -> str:
    if isinstance(value, discord.Attachment):
        return shorten(value.filename, VALUE_CHARS)
    return str(id_) if (id_ := getattr(value, "id", None)) else shorten(" ".join(str(value).split()), VALUE_CHARS)


async def run_audited(
    interaction: discord.Interaction,
    audited_action: AuditedAction,
    work: Callable[Concatenate[Session, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run `work` like `Database.run`, and write the audit line in the same transaction."""
    services = services_of(interaction)
    result = await services.database.run(audited(audited_action, work), *args, **kwargs)
    interaction.extras[NOTED] = True
    return result


async def run_audited_action(
    interaction: discord.Interaction,
    act: Callable[Concatenate[Database, AuditedAction, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an action on a thread; it records itself, in the transaction of its change."""
    database = services_of(interaction).database
    result = await asyncio.to_thread(act, database, action_of(interaction), *args, **kwargs)
    interaction.extras[NOTED] = True
    return result


async def record_done(interaction: discord.Interaction, audited_action: AuditedAction) -> None:
    """Record that an action was done; opening a form is not an action yet."""
    if interaction.response.type is not discord.InteractionResponseType.modal:
        await record_outcome(interaction, audited_action, AuditOutcome.DONE)


async def record_outcome(
    interaction: discord.Interaction, audited_action: AuditedAction, outcome: AuditOutcome, note: str = ""
) -> None:
    """Record an outcome unless one is recorded already, so that an error after a done action is left out."""
    if interaction.extras.get(NOTED):
        return
    interaction.extras[NOTED] = True
    try:
        await services_of(interaction).database.run(record_action, audited_action, outcome, note)
    except SQLAlchemyError as error:
        log.error(
            "A line could not be written to the audit trail (%s): %s by %s, %s",
            error,
            audited_action.action,
            audited_action.actor,
            outcome,
        )
