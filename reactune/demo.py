"""What the demo needs before it starts: its folder for itself, and a free port."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from storage.errors import SettingsError
from storage.runtime.processes import BOT, sole_process

EARLIER_DEMO_S = 20.0


@contextlib.contextmanager
def sole_demo(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the demo's folder; an earlier demo gets a moment to finish closing."""
    say("Waiting for the demo's folder …")
    with sole_process(BOT, directory, EARLIER_DEMO_S, remedy="give --directory another folder"):
        yield


def require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(f"port {port} is in use: give --port another one, or 0 for a free one") from error
