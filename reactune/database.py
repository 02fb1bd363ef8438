"""The commands that need the database alone: audit, db, backup, restore."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reactune.console import AsJson, Config, progress, read_settings, show, show_plain
from reactune.operator import operator_action, record_command
from storage.database.database import open_database
from storage.errors import SettingsError
from storage.operations.audit import Entry, Wanted, read_trail
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import BOT, TRAINER, sole_process

db = typer.Typer(no_args_is_help=True, help="The database: migrate, copy.")


def show_audit(
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many lines, newest first.")] = 50,
    action: Annotated[str, typer.Option(help='A command such as "model promote", or "model" for all of them.')] = "",
    member: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="A member's Discord id; 0 is the command line.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show who did what with an admin's rights, when and why."""
    with contextlib.closing(open_database(read_settings(config))) as database, database.snapshot() as session:
        entries = read_trail(session, Wanted(limit, action=action, actor_id=member))
    lines = [_audit_line(entry) for entry in entries] or ["Nothing stands in the audit trail for that."]
    show_plain({"entries": [asdict(entry) for entry in entries]}, "\n".join(lines), as_json)


def _audit_line(entry: Entry) -> str:
    where = f"in {entry.guild_id}" if entry.guild_id else ""
    parts = [entry.action, f"by {entry.actor}", where, entry.subject, entry.reason, entry.outcome, entry.note]
    return " · ".join([f"{entry.happened_at:%Y-%m-%d %H:%M:%S}", *filter(None, parts)])


@db.command("migrate")
def migrate_database(config: Config = None, as_json: AsJson = False) -> None:
    """Bring the database to the newest schema, as every start does."""
    from storage.database.database import open_migrated
    from storage.database.migrate import newest_schema

    settings = read_settings(config)
    set_up_logs(settings, "db")
    database, before = open_migrated(settings.database_url, settings.database)
    database.close()
    after = newest_schema()
    text = (
        f"The schema is {after} already." if before == after else f"The schema went from {before or 'none'} to {after}."
    )
    show({"from": before, "to": after}, text, as_json)


@db.command("copy")
def copy_database(
    target_url: Annotated[str, typer.Argument(help="Address of an empty database; without it, see --to-env.")] = "",
    *,
    to_env: Annotated[
        str,
        typer.Option("--to-env", help="Environment variable with the address, which keeps a password out of sight."),
    ] = "COPY_TO_URL",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Copy everything into another database, SQLite or PostgreSQL; stop bot and trainer first."""
    from storage.backups.copy import copy_rows, describe_copy
    from storage.database.database import open_address

    settings = read_settings(config)
    address = target_url or os.environ.get(to_env, "")
    name = "the target" if target_url else to_env
    if not address:
        raise SettingsError(f"no target is named: give its address, or put it into the environment as {to_env}")
    with (
        sole_process(BOT, settings.data.directory),
        sole_process(TRAINER, settings.data.directory),
        contextlib.closing(open_database(settings)) as source,
        contextlib.closing(open_address(address, settings.database, name)) as target,
        progress() as say,
    ):
        copied = copy_rows(source, target, say)
    text = f"{describe_copy(copied)}\n\nEvery row was read back. Set database.url to the new address, then start again."
    show_plain({"tables": [asdict(table) for table in copied]}, text, as_json)


def backup(
    file: Annotated[Path, typer.Argument(help="A new file, such as reactune-2026-11-26.tar.gz.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write database and adapters to one file, while the bot runs."""
    from storage.backups.backup import make_backup

    with progress() as say:
        made = make_backup(read_settings(config), file, say)
    lacking = len(made.missing_adapters)
    warning = f" {lacking} adapters are gone or damaged and not in it: see `reactune doctor`." if lacking else ""
    held = f"{sum(made.rows.values())} rows and {len(made.adapters)} adapters"
    show(asdict(made), f"**{file}** holds {held}, and was read back.{warning}", as_json)
    if lacking:
        raise typer.Exit(1)  # whoever removes older backups after a good one must keep them


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `reactune backup` wrote.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let rows that are there make way; they are saved first.")
    ] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup back, into SQLite or PostgreSQL; stop bot and trainer first."""
    from storage.backups.backup import restore_backup

    with progress() as say:
        done = restore_backup(read_settings(config), file, say, replace=replace)
    made_at = f"{done.backup.made_at:%Y-%m-%d %H:%M} UTC"
    record_command(config, DEFAULT_PERSONALITY, operator_action("restore", f"{file.name}, of {made_at}"))
    parts = [f"The state of {made_at} is back."]
    if done.saved:
        parts.append(f"What was there before is in {done.saved}.")
    if lacking := len(done.backup.missing_adapters):
        parts.append(f"{lacking} adapters were not in it: their versions cannot answer, see `reactune doctor`.")
    if done.kept_deletions:
        parts.append(f"{done.kept_deletions} members had taken their data or consent back since: that was done again.")
    show(asdict(done), " ".join(parts), as_json)
