"""Request ids: each message, reaction or command gets one, shared by all work that it causes, also in the logs."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REQUEST_ID_BYTES = 5
"""A trillion ids: short enough to read out, and practically unique for a year of a million answers a day."""

_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def current_request() -> str | None:
    """Return the request id of this task or thread, or None."""
    return _current.get()


def begin_request() -> str:
    """Start a new request for the rest of the task, and return its id."""
    request_id = new_request_id()
    _current.set(request_id)
    return request_id


def ensure_request() -> str:
    """Return the current request id; if there is none, start a new request."""
    return _current.get() or begin_request()


@contextmanager
def working_on(request_id: str | None) -> Iterator[None]:
    """Set the current request, or none; new tasks and threads of asyncio.to_thread inherit it."""
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


def new_request_id() -> str:
    return secrets.token_hex(REQUEST_ID_BYTES)


def note_request(record: logging.LogRecord) -> bool:
    """Give a log record the current request id, unless it has one."""
    request_id = getattr(record, "request_id", None) or current_request()
    record.request_id = request_id
    record.request_note = f" [{request_id}]" if request_id else ""
    return True
