"""Setup that each process of a round needs, so that it leaves nothing behind."""

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
    """Set up a spawned process. `name` appears in its log, which holds nothing below `log_level`."""
    exit_with_parent()
    use_process_local_bar_lock()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of the terminal; the trainer decides
    redact_secrets(settings)
    set_up_logs(settings, name, least=log_level)


def exit_with_parent() -> None:
    """End this process as soon as its parent has ended, for whatever reason."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was not spawned by another one"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)  # sys.exit would only end this thread

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


def use_process_local_bar_lock() -> None:
    """Guard progress bars, even hidden ones, by a lock that ends with this process.

    tqdm's default lock is a system semaphore. If the process that made it is killed, Python warns that it leaked.
    """
    tqdm.set_lock(threading.RLock())
