"""A secret that is planted comes out nowhere."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reactune.doctor.findings import find
from reactune.run import supervised_trainer
from storage.database.database import open_database
from storage.runtime.redaction import Redactor, secrets_of
from storage.settings.loading import load_settings

TOKEN = ".".join(("MTIzNDU2Nzg5MDEyMzQ1Njc4OTA", "GabcdE", "x" * 30))  # no real one
PASSWORD = "hunter2-hunter2"

ROOT = Path(__file__).parents[1]
CRASH = """
import logging, os, sys, threading
from pathlib import Path
from storage.runtime.redaction import redact_secrets
from storage.settings.loading import load_settings
from storage.runtime.log_setup import set_up_logs
settings = load_settings()
redact_secrets(settings)
set_up_logs(settings, "bot")
print(repr(settings), settings)
logging.getLogger("x").error("the token is %s", settings.discord_token.get_secret_value())
print(Path("/proc/self/cmdline").read_text() if os.path.exists("/proc/self/cmdline") else sys.argv)
thread = threading.Thread(target=lambda: 1 / len("" if settings.database_url else "x"))
thread.start(); thread.join()
raise RuntimeError("no database at " + settings.database_url + " for " + settings.discord_token.get_secret_value())
"""


@pytest.mark.threat("T70")
def test_logs_reprs_arguments_and_tracebacks_hold_no_secret(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("REACTUNE_")},
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "DISCORD_TOKEN": TOKEN,
            "REACTUNE_DATABASE__URL": f"postgresql+psycopg://bot:{PASSWORD}@127.0.0.1:1/none",
        },
        timeout=60,
        check=False,
    )
    everything = done.stdout + done.stderr
    assert done.returncode == 1
    assert "the token is ***" in everything
    assert "ZeroDivisionError" in everything
    assert "RuntimeError: no database at postgresql+psycopg://bot:***@127.0.0.1:1/none for ***" in everything
    assert TOKEN not in everything
    assert PASSWORD not in everything


def test_an_unreachable_database_is_reported_without_its_password() -> None:
    settings = load_settings(
        environment={"REACTUNE_DATABASE__URL": f"postgresql+psycopg://bot:{PASSWORD}@127.0.0.1:1/none"}
    )
    finding = find("Database", lambda: str(open_database(settings)), Redactor(secrets_of(settings)))
    assert finding.status == "problem"
    assert "127.0.0.1:1" in finding.message
    assert PASSWORD not in finding.message


def test_every_program_keeps_its_settings_safe_and_hands_none_to_a_child_by_argument() -> None:
    commands = [str(path.relative_to(ROOT)) for path in (ROOT / "reactune").rglob("*.py") if path.name != "shared.py"]
    source = (ROOT / "reactune" / "shared.py").read_text(encoding="utf-8")
    assert source.count("load_settings(") == source.count("redact_secrets(settings)") == 1
    for name in [*commands, "tests/benchmarks/command_line.py"]:
        assert "load_settings" not in (ROOT / name).read_text(encoding="utf-8"), name
    assert "settings" not in inspect.getsource(supervised_trainer)
