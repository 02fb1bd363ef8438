"""The request that work belongs to: a message, a reaction or a command, and all that follows from it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REQUEST_ID_BYTES = 5
"""A trillion ids: a member can read one out, and none comes twice in a year of a million answers a day."""

_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def current_request() -> str | None:
    """Return the id of the request that this task or thread works on, if it works on one."""
    return _current.get()


def begin_request() -> str:
    """Begin a request, for the rest of the task, and return its id."""
    request_id = new_request_id()
    _current.set(request_id)
    return request_id


def take_up() -> str:
    """Return the current request's id; what belongs to none begins one."""
    return _current.get() or begin_request()


@contextmanager
def working_on(request_id: str | None) -> Iterator[None]:
    """Work on the request, or on none; tasks that begin meanwhile inherit it, and threads of asyncio.to_thread."""
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


def new_request_id() -> str:
    return secrets.token_hex(REQUEST_ID_BYTES)
