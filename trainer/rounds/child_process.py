"""What each process of a round does first, so that it leaves nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from tqdm import tqdm

from storage.runtime.log_setup import set_up_logs
from storage.runtime.redaction import redact_secrets
from storage.settings.sections import Settings


def set_up_child(settings: Settings, name: str, log_level: int) -> None:
    """Set up a spawned process, whose log is called by `name` and holds nothing below `log_level`."""
    exit_with_parent()
    keep_locks_inside()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the trainer decides
    redact_secrets(settings)
    set_up_logs(settings, name, least=log_level)


def exit_with_parent() -> None:
    """End this process as soon as the one that spawned it is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was not spawned by another one"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)  # sys.exit would end this thread alone

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


def keep_locks_inside() -> None:
    """Let progress bars, even those that are not shown, be guarded by a lock that ends with this process.

    tqdm's own is a semaphore of the system: Python warns of it as leaked where the process that made it was killed.
    """
    tqdm.set_lock(threading.RLock())
