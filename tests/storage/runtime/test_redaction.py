from __future__ import annotations

import io
import logging
import os
import re
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from storage.database.database import open_database
from storage.runtime.redaction import RedactingFormatter, Redactor, Reporter, redact_secrets, secrets_of
from storage.settings.sections import DatabaseSettings, DataSettings, Settings

ROOT = Path(__file__).parents[3]
TOKEN = ".".join(("MTIzNDU2Nzg5MDEyMzQ1Njc4OTA", "GabcdE", "x" * 30))  # no real one
PLANTED = Settings(
    database=DatabaseSettings(url="postgresql+psycopg://bot:p%40ss-word@db.example/reactune"),
    discord_token=SecretStr(TOKEN),
)
SECRETS = (TOKEN, "p%40ss-word", "p@ss-word")


def test_every_secret_of_the_settings_is_known() -> None:
    assert secrets_of(PLANTED) == set(SECRETS)
    assert secrets_of(Settings()) == set()


@pytest.mark.threat("T70")
def test_logs_and_their_tracebacks_show_no_secret() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter(logging.Formatter("%(message)s"), Redactor(secrets_of(PLANTED))))
    log = logging.Logger("planted")
    log.addHandler(handler)
    try:
        raise RuntimeError(f"cannot log in with {TOKEN}")
    except RuntimeError:
        log.exception("as %s at %s", "p@ss-word", PLANTED.database_url)
    written = stream.getvalue()
    assert not any(secret in written for secret in SECRETS)
    assert "cannot log in with ***" in written
    assert "as *** at postgresql+psycopg://bot:***@db.example/reactune" in written


def test_a_traceback_that_ends_the_process_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError(f"token {TOKEN}")
    Reporter(Redactor(set()))(RuntimeError, error, None)  # one that is not this process's own
    assert capsys.readouterr().err == "RuntimeError: token ***\n"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.threat("T71")
def test_nobody_else_may_read_what_is_kept(tmp_path: Path) -> None:
    settings = Settings(data=DataSettings(directory=tmp_path / "data"))
    before = os.umask(0o022)
    try:
        redact_secrets(settings)
        database = open_database(settings)
        with database.transaction():
            files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
            folder = stat.S_IMODE((tmp_path / "data").stat().st_mode)
        database.close()
    finally:
        os.umask(before)
    assert folder == 0o700
    assert "reactune.db-wal" in files
    assert set(files.values()) == {0o600}


@pytest.mark.threat("T66")
def test_no_model_runs_its_own_code() -> None:
    for path in (path for room in ("bot", "trainer", "storage") for path in (ROOT / room).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"trust_remote_code\s*=\s*(?!False)", text), path
        assert not re.search(r"\b(torch\.load|pickle\.loads?|eval|exec|os\.system)\(", text.replace(".eval()", "")), (
            path
        )
        assert "shell=True" not in text, path
