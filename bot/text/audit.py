"""Texts about the audit trail."""

from __future__ import annotations

from discord.utils import format_dt

from bot.localization.sentences import gettext
from bot.text.sanitize import escape_inline, sanitize_reason
from storage.database.enums import AuditOutcome
from storage.operations.audit import AuditEntry

SIGNS = {AuditOutcome.DONE: "✅", AuditOutcome.REFUSED: "⛔", AuditOutcome.FAILED: "⚠️"}


def describe_entry(entry: AuditEntry) -> str:
    """Return an entry in a line: outcome, time, action, admin, subject, reason and note."""
    parts = [
        f"{SIGNS[entry.outcome]} {format_dt(entry.happened_at, 'f')} "
        + gettext("**{action}** by {who}", action=entry.action, who=entry.actor),
        escape_inline(entry.subject),
        f"“{sanitize_reason(entry.reason)}”" if entry.reason else "",
        sanitize_reason(entry.note),
    ]
    return " · ".join(filter(None, parts))
