"""Sets up logs: their level, places and line format."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from storage.errors import SettingsError
from storage.runtime.redaction import Redactor, hide_in_logs, secrets_of
from storage.runtime.requests import note_request
from storage.settings.sections import LogSettings, Settings

HUMAN = "%(asctime)s %(levelname)s %(name)s: %(message)s%(request_note)s"
FIELDS = ("levelname", "name", "message", "request_id")
NAMES = {"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"}
FILE = "file"
CHATTY = ("alembic", "apscheduler", "discord", "filelock")
"""Libraries that log warnings only; discord.py's debug lines would hold members' messages."""


def set_up_logs(settings: Settings, process: str, *, least: int = logging.NOTSET) -> None:
    """Log to standard error and, if logs.file is set, to the file of `process`; only from the level `least` up.

    Secrets from the settings are hidden. If the root logger already has handlers, as in tests, nothing changes.
    Raises SettingsError if the file cannot be written.
    """
    if logging.root.handlers:
        return
    level = max(least, logging.getLevelNamesMapping()[settings.logs.level.upper()])
    logging.basicConfig(level=level, handlers=list(_handlers(settings.logs, process)))
    hide_in_logs(Redactor(secrets_of(settings)))
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def log_fatal_error(message: str) -> None:
    """Write why the process ends to the log file and to JSON logs; people get the sentence on standard error."""
    record = {"name": "reactune", "levelno": logging.ERROR, "levelname": "ERROR", "msg": message}
    handlers = {handler.name: handler for handler in logging.root.handlers}
    for name in handlers.keys() & {FILE, "json"}:
        handlers[name].handle(logging.makeLogRecord(record))
    if "json" not in handlers:
        print(f"reactune: {message}", file=sys.stderr)


def log_file(settings: LogSettings, process: str) -> Path | None:
    """Return the log file of a process; each has its own, because rotating a shared file would lose lines."""
    if not settings.file:
        return None
    path = Path(settings.file).expanduser()
    return path.with_suffix(f".{process}{path.suffix}")


def _handlers(settings: LogSettings, process: str) -> Iterator[logging.Handler]:
    handlers: dict[str, logging.Handler] = {settings.format: logging.StreamHandler()}
    if path := log_file(settings, process):
        handlers[FILE] = _rotating(path, settings)
    for name, handler in handlers.items():
        handler.name = name
        handler.setFormatter(_formatter(settings, process))
        handler.addFilter(note_request)
        yield handler


class _LogFile(RotatingFileHandler):
    """Reports a full disk once, instead of a traceback per line, and continues when there is space again."""

    _was_failing = False
    _has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        self._has_failed = False
        super().emit(record)
        self._was_failing = self._has_failed

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        if not self._was_failing:
            print(f"Cannot write to {self.baseFilename} ({error.strerror}); log lines are lost.", file=sys.stderr)
        self._has_failed = True
        stream, self.stream = self.stream, None  # the next line reopens it
        with suppress(OSError):  # closing flushes the buffered lines
            if stream is not None:
                stream.close()


def _rotating(path: Path, settings: LogSettings) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _LogFile(path, maxBytes=settings.max_bytes, backupCount=settings.keep, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"logs.file: {path} cannot be written ({error.strerror}): choose another file, or leave it empty"
        ) from error


def _formatter(settings: LogSettings, process: str) -> logging.Formatter:
    if settings.format == "human":
        return logging.Formatter(HUMAN)
    return JsonFormatter(
        FIELDS,
        style="__sequence__",
        rename_fields=NAMES,
        static_fields={"process": process, "pid": os.getpid()},
        reserved_attrs=[*vars(logging.makeLogRecord({})), "message", "asctime", "request_note"],
        timestamp="time",
        json_ensure_ascii=False,
    )
