"""What the demo needs to start: a folder that no other demo uses, and a free port."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from storage.errors import DataDirectoryInUse, SettingsError
from storage.runtime.processes import BOT, sole_process

EARLIER_DEMO_S = 20.0
ANOTHER_FOLDER = "choose another folder with --directory"


@contextlib.contextmanager
def sole_demo(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Lock the demo's folder; an earlier demo gets `EARLIER_DEMO_S` to finish closing."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(sole_process(BOT, directory, remedy=ANOTHER_FOLDER))
        except DataDirectoryInUse:
            say("Waiting for another demo to release the folder …")
            stack.enter_context(sole_process(BOT, directory, EARLIER_DEMO_S, remedy=ANOTHER_FOLDER))
        yield


def require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(f"port {port} is in use: choose another with --port, or 0 for a free one") from error
