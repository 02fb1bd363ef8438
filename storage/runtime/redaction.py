"""Makes a process's new files private, and hides secrets in its logs and tracebacks."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from pydantic import BaseModel, SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from storage.settings.sections import Settings

OWNER_ONLY = 0o077
HIDDEN = "***"
MIN_CHARS = 4
"""Hiding a shorter "secret" would hide parts of ordinary words."""
# A Discord token: an id in base64, a timestamp and a signature. Other bots' tokens are hidden too.
TOKEN = re.compile(r"\b[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}")


def redact_secrets(settings: Settings) -> None:
    """Make the files that this process creates private, and hide the settings' secrets in its logs.

    Child processes inherit the file mode, but must call this for their own logs.
    """
    if os.name == "posix":
        os.umask(OWNER_ONLY)
    hide_in_logs(Redactor(secrets_of(settings)))


def secrets_of(settings: Settings) -> set[str]:
    """Return every secret in the settings; a database password both decoded and as written in the address."""
    found = {secret.get_secret_value() for secret in _hidden_fields(settings)}
    try:
        url = make_url(settings.database_url)
    except (ArgumentError, ValueError):
        found.add(settings.database.url)
    else:
        password = url.password or ""
        found |= {password, settings.database.url.partition("://")[2].partition("@")[0].partition(":")[2]}
    return {secret.strip() for secret in found if len(secret.strip()) >= MIN_CHARS}


def _hidden_fields(section: BaseModel) -> Iterator[SecretStr]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, SecretStr):
            yield value
        elif isinstance(value, BaseModel):
            yield from _hidden_fields(value)


class Redactor:
    """Replaces secrets with three stars."""

    def __init__(self, secrets: set[str]) -> None:
        longest_first = sorted(secrets, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if secrets else None

    def __call__(self, text: str) -> str:
        text = TOKEN.sub(HIDDEN, text)
        return self._secrets.sub(HIDDEN, text) if self._secrets else text


class RedactingFormatter(logging.Formatter):
    """Wraps another formatter and hides secrets in its output, tracebacks included."""

    def __init__(self, inner: logging.Formatter, redact: Redactor) -> None:
        super().__init__()
        self.inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        # The inner formatter caches the exception's text in the record, where other handlers would print it.
        text = self._redact(self.inner.format(record))
        record.exc_text = None
        return text


def hide_in_logs(redact: Redactor) -> None:
    """Hide secrets in the output of the root logger's handlers, and in tracebacks that end a process or thread."""
    for handler in logging.getLogger().handlers:
        inner = handler.formatter or logging.Formatter()
        inner = inner.inner if isinstance(inner, RedactingFormatter) else inner
        handler.setFormatter(RedactingFormatter(inner, redact))
    # Hooks that someone else installed, such as a test runner, stay.
    if sys.excepthook is sys.__excepthook__ or isinstance(sys.excepthook, Reporter):
        sys.excepthook = Reporter(redact)
    if threading.excepthook is threading.__excepthook__ or isinstance(threading.excepthook, ThreadReporter):
        threading.excepthook = ThreadReporter(redact)


@dataclass(frozen=True)
class Reporter:
    """Writes the traceback that ends the process."""

    redact: Redactor

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(self.redact("".join(traceback.format_exception(kind, error, trace))))


@dataclass(frozen=True)
class ThreadReporter:
    """Writes the traceback that ends a thread, unless it ended with sys.exit."""

    redact: Redactor

    def __call__(self, args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            trace = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
            sys.stderr.write(self.redact("".join(trace)))
