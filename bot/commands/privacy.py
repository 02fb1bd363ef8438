"""`reactune privacy`: what is stored of members."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import typer

from storage.console import AsJson, Config, read_settings, show_plain
from storage.database.database import open_database

privacy = typer.Typer(no_args_is_help=True, help="Privacy: what is stored of members.")


@privacy.command("report")
def show_privacy_report(config: Config = None, as_json: AsJson = False) -> None:
    """Show what is stored of members, by basis and age, and what was agreed, deleted and marked."""
    from bot.privacy.texts import report_lines
    from storage.database.columns import utc_now
    from storage.privacy.report import report_privacy

    settings = read_settings(config)
    database = open_database(settings)
    with contextlib.closing(database), database.snapshot() as session:
        report = report_privacy(session, settings.privacy, utc_now())
    show_plain(asdict(report), "\n".join(report_lines(report)), as_json)
