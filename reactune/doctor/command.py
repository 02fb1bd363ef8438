"""`reactune doctor`: runs all checks and prints what to fix."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import typer

from bot.arenas.prompt_bank import read_bank
from reactune.console import AsJson, Config, read_settings, show
from reactune.doctor import database, machine, models, servers
from reactune.doctor.findings import Check, Finding, FindingStatus, find
from reactune.doctor.machine import check_clock, check_packages
from storage.adapters import open_store
from storage.models.bundled import encoder_name
from storage.privacy.consent import describe_bases
from storage.settings.sections import Settings


def run_checks(settings: Settings, further: Iterable[Check] = ()) -> list[Finding]:
    """Return a finding for each check, the caller's `further` ones last.

    Invalid settings raise before this is called.
    """
    checks = [*_checks(settings), *further]
    return [Finding("Settings", FindingStatus.OK, "valid"), *(find(what, check) for what, check in checks)]


def _checks(settings: Settings) -> Iterator[Check]:
    yield "Packages", check_packages
    yield "Disk", lambda: machine.check_disk(settings.data.directory, settings.alerts.min_free_gb)
    yield "Open files", machine.check_open_files
    yield "Logs", lambda: machine.check_log_file(settings.logs)
    yield "Metrics", lambda: machine.check_pages(settings.metrics)
    yield "Permissions", lambda: machine.check_permissions(settings.data.directory)
    yield "Access", lambda: servers.check_access_list(settings)
    yield "Database", lambda: database.check_database(settings)
    yield "Backups", lambda: database.check_backups(settings)
    yield "Clock", lambda: check_clock(settings)
    yield "Adapter store", lambda: open_store(settings).examine()
    yield "Base model", lambda: models.check_base_model(settings)
    yield "Memory", lambda: machine.check_memory(models.find_base(settings).path)
    yield "GPU", machine.check_gpu
    yield "Engine", lambda: models.check_engine(settings)
    if settings.model.engine == "remote":
        yield "Spending", lambda: models.check_spending(settings)
    yield "Coherence model", lambda: models.check_coherence_model(settings)
    yield "Sentence encoder", encoder_name
    yield "Personalities", lambda: models.check_personalities(settings)
    yield "Champions", lambda: models.check_champions(settings)
    yield "Trainer", lambda: database.check_trainer(settings)
    yield "Training", lambda: models.check_training(settings)
    yield "Token", lambda: asyncio.run(servers.check_token(settings))
    yield "Prompt bank", lambda: read_bank(settings.arena.prompts).describe()
    yield "Arenas", lambda: servers.check_arenas(settings.arena)
    yield "Retention", lambda: database.check_retention(settings)
    yield (
        "Announcements",
        lambda: servers.check_channel("release.announce_channel", settings.release.announce_channel),
    )
    yield "Alerts", lambda: servers.check_channel("alerts.channel", settings.alerts.channel)
    yield "Training basis", lambda: describe_bases(settings.privacy).removeprefix("Training basis: ")


def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check the whole installation and list what to fix."""
    from reactune.doctor.findings import describe_findings, problems_of

    settings = read_settings(config)
    findings = run_checks(settings, [("Suites", lambda: _describe_suites(settings))])
    show({"findings": [asdict(finding) for finding in findings]}, describe_findings(findings), as_json)
    if problems_of(findings):
        raise typer.Exit(1)


def _describe_suites(settings: Settings) -> str:
    from trainer.evaluation.suites import load_suites

    return ", ".join(f"{suite.name} ({len(suite.cases)} cases)" for suite in load_suites(settings.gate))
