"""A secret that is planted comes out nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOKEN = ".".join(("MTIzNDU2Nzg5MDEyMzQ1Njc4OTA", "GabcdE", "x" * 30))  # no real one
PASSWORD = "hunter2-hunter2"

CRASH = """
import logging, os, sys, threading
from pathlib import Path
import reactune
reactune._log_to_stderr(logging.INFO)
settings = reactune._settings(None)
print(repr(settings), settings)
logging.getLogger("x").error("the token is %s", settings.discord_token.get_secret_value())
print(Path("/proc/self/cmdline").read_text() if os.path.exists("/proc/self/cmdline") else sys.argv)
thread = threading.Thread(target=lambda: 1 / len("" if settings.database_url else "x"))
thread.start(); thread.join()
raise RuntimeError("no database at " + settings.database_url + " for " + settings.discord_token.get_secret_value())
"""


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


def test_the_trainer_beside_the_bot_gets_its_secrets_from_the_environment() -> None:
    source = (Path(__file__).parents[1] / "reactune.py").read_text(encoding="utf-8")
    command = source.partition("def _trainer_beside")[2].partition("def keep_running")[0]
    assert "settings" not in command
