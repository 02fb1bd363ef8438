"""`reactune doctor`: runs all checks and prints what to fix."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict

import typer

from reactune.doctor.findings import Check, Finding, FindingStatus, describe_findings, find, problems_of
from reactune.shared import AsJson, Config, read_settings, show
from storage.runtime.redaction import Redactor, secrets_of
from storage.settings.sections import Settings


def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check the whole installation and list what to fix."""
    findings = run_checks(read_settings(config))
    show({"findings": [asdict(finding) for finding in findings]}, describe_findings(findings), as_json)
    if problems_of(findings):
        raise typer.Exit(1)


def run_checks(settings: Settings) -> list[Finding]:
    """Return a finding for each check. Invalid settings raise before this is called."""
    redact = Redactor(secrets_of(settings))
    found = (find(what, check, redact) for what, check in list_checks(settings))
    return [Finding("Settings", FindingStatus.OK, "valid"), *found]


def list_checks(settings: Settings) -> Iterator[Check]:
    # Imported here, because they import the bot and the trainer, and every command imports this module.
    from reactune.doctor import attachments, database, discord_side, machine, models
    from storage.adapters.stores import open_store
    from storage.conversations.prompt_bank import read_bank
    from storage.models.bundled import encoder_name
    from storage.privacy.consent import describe_bases
    from trainer.evaluation.suites import load_suites

    yield "Packages", machine.check_packages
    yield "Disk", lambda: machine.check_disk(settings.data.directory, settings.alerts.min_free_gb)
    yield "Open files", machine.check_open_files
    yield "Logs", lambda: machine.check_log_file(settings.logs)
    yield "Metrics", lambda: machine.check_pages(settings.metrics)
    yield "Console", lambda: machine.check_console(settings)
    yield "Permissions", lambda: machine.check_permissions(settings.data.directory)
    yield "Access", lambda: discord_side.check_access_list(settings)
    yield "Database", lambda: database.check_database(settings)
    yield "Servers", lambda: discord_side.check_setups(settings)
    yield "Backups", lambda: database.check_backups(settings)
    yield "Clock", lambda: machine.check_clock(settings)
    yield "Adapter store", lambda: open_store(settings).examine()
    yield "Base model", lambda: models.check_base_model(settings)
    yield "Chat template", lambda: models.check_chat_template(settings)
    yield "Memory", lambda: models.check_memory(settings)
    yield "GPU", machine.check_gpu
    yield "Engine", lambda: models.check_engine(settings)
    if settings.model.engine == "remote":
        yield "Spending", lambda: models.check_spending(settings)
    yield "Pictures", lambda: attachments.check_pictures(settings)
    yield "Voice messages", lambda: attachments.check_voice(settings)
    yield "Coherence model", lambda: models.check_coherence_model(settings)
    yield "Sentence encoder", encoder_name
    yield "Personalities", lambda: models.check_personalities(settings)
    yield "Versions in use", lambda: models.check_champions(settings)
    yield "Trainer", lambda: database.check_trainer(settings)
    yield "Training", lambda: models.check_training(settings)
    yield "Token", lambda: asyncio.run(discord_side.check_token(settings))
    yield "Appearances", lambda: asyncio.run(discord_side.check_appearances(settings))
    yield "Prompt bank", lambda: read_bank(settings.arena.prompts).describe()
    yield "Arenas", lambda: discord_side.check_arenas(settings.arena)
    yield "Retention", lambda: database.check_retention(settings)
    announcements = settings.release.announce_channel
    yield "Announcements", lambda: discord_side.check_channel("release.announce_channel", announcements)
    yield "Alerts", lambda: discord_side.check_channel("alerts.channel", settings.alerts.channel)
    yield "May be used for training", lambda: describe_bases(settings.privacy).partition(": ")[2]
    yield "Suites", lambda: ", ".join(f"{s.name} ({len(s.cases)} cases)" for s in load_suites(settings.gate))
