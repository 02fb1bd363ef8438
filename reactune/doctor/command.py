"""`reactune doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from reactune.console import AsJson, Config, read_settings, show
from storage.settings.sections import Settings


def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check the whole installation and list what to fix."""
    from reactune.doctor.doctor import run_checks
    from reactune.doctor.findings import describe_findings, problems_of

    settings = read_settings(config)
    findings = run_checks(settings, [("Suites", lambda: _describe_suites(settings))])
    show({"findings": [asdict(finding) for finding in findings]}, describe_findings(findings), as_json)
    if problems_of(findings):
        raise typer.Exit(1)


def _describe_suites(settings: Settings) -> str:
    from trainer.evaluation.suites import load_suites

    return ", ".join(f"{suite.name} ({len(suite.cases)} cases)" for suite in load_suites(settings.gate))
