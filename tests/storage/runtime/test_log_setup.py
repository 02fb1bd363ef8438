"""Logs: for people or for a collector, with the request that a line belongs to, in files that do not grow for ever."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path

import pytest

from storage.errors import SettingsError
from storage.runtime.log_setup import log_fatal_error, log_file, set_up_logs
from storage.runtime.requests import working_on
from storage.settings.sections import LogSettings, Settings

log = logging.getLogger("reactune.test")


@pytest.fixture
def told(monkeypatch, capsys):
    """Set logs up with these settings, log something, and return the lines on standard error."""
    monkeypatch.setattr(logging.root, "handlers", [])
    level = logging.root.level

    def tell(work, process="bot", *, least=logging.NOTSET, **settings) -> list[str]:
        logging.root.handlers = []
        set_up_logs(Settings(logs=LogSettings(**settings)), process, least=least)
        work()
        for handler in logging.root.handlers:
            handler.close()
        return capsys.readouterr().err.splitlines()

    yield tell
    logging.root.setLevel(level)


def fail() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        log.exception("it %s", "failed", extra={"reply": 7})


def test_a_line_names_the_request_that_it_belongs_to(told):
    with working_on("a1b2c3d4e5"):
        (line,) = told(lambda: log.info("answered"))
    assert line.endswith("INFO reactune.test: answered [a1b2c3d4e5]")
    (line,) = told(lambda: log.info("started"))
    assert line.endswith("INFO reactune.test: started")


def test_a_vote_is_logged_under_the_request_of_its_reply(told):
    with working_on("of-the-vote"):
        (line,) = told(lambda: log.info("a vote", extra={"request_id": "of-reply"}))
    assert line.endswith("a vote [of-reply]")


def test_why_a_process_ends_is_a_sentence_for_people_and_a_record_for_programs_and_files(told, tmp_path):
    def end() -> None:
        log_fatal_error("no token")

    assert told(end, file=str(tmp_path / "x.log")) == ["reactune: no token"]
    assert (tmp_path / "x.bot.log").read_text().endswith("ERROR reactune: no token\n")
    (line,) = told(end, format="json")
    assert (json.loads(line)["level"], json.loads(line)["message"]) == ("ERROR", "no token")


def test_json_is_an_object_on_a_line_whatever_happened(told):
    with working_on("a1b2c3d4e5"):
        (line,) = told(fail, format="json", process="trainer")
    record = json.loads(line)
    assert datetime.fromisoformat(record.pop("time")).utcoffset().total_seconds() == 0
    exception, pid = record.pop("exception"), record.pop("pid")
    assert exception.startswith("Traceback")
    assert exception.endswith("ValueError: a\nb")
    assert pid > 0
    assert record == {
        "level": "ERROR",
        "logger": "reactune.test",
        "message": "it failed",
        "request_id": "a1b2c3d4e5",
        "process": "trainer",
        "reply": 7,
    }


def test_less_severe_messages_are_left_out(told):
    def speak() -> None:
        log.info("minor")
        log.warning("major")

    assert len(told(speak)) == 2
    assert len(told(speak, level="warning")) == 1
    assert len(told(speak, least=logging.WARNING)) == 1


def test_each_process_has_a_file_that_is_put_aside_when_full_and_pruned(told, tmp_path):
    settings = {"file": str(tmp_path / "logs" / "reactune.log"), "max_bytes": 200, "keep": 2}

    def speak() -> None:
        for number in range(30):
            log.info("line %d", number)

    told(speak, process="trainer", **settings)
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["reactune.trainer.log", "reactune.trainer.log.1", "reactune.trainer.log.2"]
    assert "line 29" in (tmp_path / "logs" / names[0]).read_text()


def test_a_file_that_cannot_be_written_is_a_sentence(told, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(SettingsError, match=r"^logs\.file: .*cannot be written .*choose another file"):
        told(lambda: None, file=str(tmp_path / "taken" / "reactune.log"))


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no device that is always full")
def test_a_full_disk_is_logged_once_and_the_log_continues_when_there_is_room(told, tmp_path):
    file = tmp_path / "log.bot.txt"
    file.symlink_to("/dev/full")

    def work() -> None:
        log.info("one")
        log.info("two")
        file.unlink()
        log.info("three")

    lines = told(work, file=str(tmp_path / "log.txt"))
    assert [line.rpartition(" ")[2] for line in lines if "INFO" in line] == ["one", "two", "three"]
    assert [line for line in lines if "INFO" not in line] == [
        f"Cannot write to {file} (No space left on device); log lines are lost."
    ]
    assert file.read_text().endswith("three\n")


def test_without_a_file_there_is_none():
    assert log_file(LogSettings(), "bot") is None
    assert log_file(LogSettings(file="r"), "bot") == Path("r.bot")
