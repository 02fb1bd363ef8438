"""The commands that only need the database: audit, db, backup, restore."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reactune.shared import (
    AsJson,
    Config,
    operator_action,
    progress,
    read_settings,
    reading,
    record_command,
    show,
    show_plain,
)
from storage.database.database import open_database
from storage.errors import SettingsError
from storage.operations.audit import AuditEntry, AuditQuery, list_actions, read_trail
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import BOT, TRAINER, require_unused, sole_process
from storage.settings.loading import NO_OVERRIDES, OWN_FILE, variable_name
from storage.wording import count

db = typer.Typer(no_args_is_help=True, help="Migrate or copy the database.")


def show_audit(
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Maximum entries, newest first.")] = 50,
    action: Annotated[
        str, typer.Option(help='Only this command, such as "version promote", or this group, such as "version".')
    ] = "",
    member: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Only this member's Discord ID; 0 is the command line.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the audit trail: which admin did what, when and why."""
    with reading(read_settings(config)) as session:
        entries = read_trail(session, AuditQuery(limit, action=action, actor_id=member))
        lines = [_audit_line(entry) for entry in entries] or [_no_entries(list_actions(session))]
    show_plain({"entries": [asdict(entry) for entry in entries]}, "\n".join(lines), as_json)


def _no_entries(actions: Sequence[str]) -> str:
    known = f" Its actions so far: {', '.join(actions)}." if actions else ""
    return f"The audit trail has no such entries.{known}"


def _audit_line(entry: AuditEntry) -> str:
    where = f"in {entry.guild_id}" if entry.guild_id else ""
    parts = [entry.action, f"by {entry.actor}", where, entry.subject, entry.reason, entry.outcome, entry.note]
    return " · ".join([f"{entry.happened_at:%Y-%m-%d %H:%M:%S}", *filter(None, parts)])


@db.command("migrate")
def migrate_database(config: Config = None, as_json: AsJson = False) -> None:
    """Upgrade the database to the newest schema, as every start does."""
    from storage.database.migrate import newest_schema

    settings = read_settings(config)
    set_up_logs(settings, "db")
    with contextlib.closing(open_database(settings)) as database:
        before, after = database.schema_before, newest_schema()
    text = f"The database is up to date (schema {after})." if before == after else f"Upgraded the schema to {after}."
    show({"from": before, "to": after}, text, as_json)


@db.command("copy")
def copy_database(
    target_url: Annotated[str, typer.Argument(help="Address of an empty database (default: from --to-env).")] = "",
    *,
    to_env: Annotated[
        str,
        typer.Option("--to-env", help="Environment variable with the address; hides its password from the history."),
    ] = "COPY_TO_URL",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Copy all data to another database, SQLite or PostgreSQL. Stop the bot and trainer first."""
    from storage.backups.copy import copy_rows, describe_copy
    from storage.database.database import open_address

    settings = read_settings(config)
    address = target_url or os.environ.get(to_env, "")
    name = "the target" if target_url else to_env
    if not address:
        raise SettingsError(f"the target is missing: give its address, or set it as {to_env} in the environment")
    with (
        sole_process(BOT, settings.data.directory),
        sole_process(TRAINER, settings.data.directory),
        contextlib.closing(open_database(settings)) as source,
        contextlib.closing(open_address(address, settings.database, name)) as target,
        progress() as say,
    ):
        source.fetch(require_unused, settings.data.directory)
        copied = copy_rows(source, target, say)
    text = f"{describe_copy(copied)}\n\nAll rows are verified. Set database.url to the new address, then start again."
    show_plain({"tables": [asdict(table) for table in copied]}, text, as_json)


def backup(
    file: Annotated[Path, typer.Argument(help="File to write, such as reactune-2026-11-26.tar.gz.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Back up the database, the adapters and reactune.toml to one file. The bot can keep running."""
    from storage.backups.backup import make_backup

    with progress() as say:
        made = make_backup(read_settings(config), file, say, config or OWN_FILE)
    contents = f"{count(sum(made.rows.values()), 'row')} and {count(len(made.adapters), 'adapter')}"
    text = f"Wrote {contents} to **{file}** and verified it."
    if made.missing_adapters:
        missing = count(len(made.missing_adapters), "adapter")
        text += f" {missing} could not be backed up (missing or damaged): see `reactune doctor`."
    show(asdict(made), text, as_json)
    if made.missing_adapters:
        raise typer.Exit(1)  # so that a script does not delete older, complete backups


def restore(
    file: Annotated[Path, typer.Argument(help="File written by `reactune backup`.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the existing rows; they are backed up first.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option("--into", help="Restore into this folder instead, and leave the bot's data and settings alone."),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into SQLite or PostgreSQL. Stop the bot and trainer first."""
    from storage.backups.backup import restore_backup

    own, overrides = config or OWN_FILE, NO_OVERRIDES
    if into is not None:
        places = {("data", "directory"): str(into), ("data", "adapters"): "", ("database", "url"): ""}
        own, overrides = into / OWN_FILE, {variable_name(*name): place for name, place in places.items()}
    with progress() as say:
        done = restore_backup(read_settings(config, overrides), file, say, replace=replace, own=own)
    made_at = f"{done.backup.made_at:%Y-%m-%d %H:%M} UTC"
    if into is None:
        record_command(config, DEFAULT_PERSONALITY, operator_action("restore", f"{file.name}, of {made_at}"))
    parts = [f"Restored the backup of {made_at}."]
    if done.saved:
        parts.append(f"The previous data is in {done.saved}.")
    if missing := len(done.backup.missing_adapters):
        parts.append(f"{count(missing, 'adapter')} missing from the backup, so their versions cannot answer.")
    if done.kept_deletions:
        members = count(done.kept_deletions, "member")
        parts.append(f"{members} deleted data or opted out after the backup: this was applied again.")
    if done.deleted_rows:
        parts.append(f"Not restored: {count(done.deleted_rows, 'row')} deleted after the backup.")
    if done.settings:
        parts.append(_describe_settings(done.settings, own))
    show(asdict(done), " ".join(parts), as_json)


def _describe_settings(file: Path, own: Path) -> str:
    if file == own:
        return f"Its settings are in {file}."
    return f"Its settings are in {file}: copy what you want to keep into {own}."
