"""Runs a module in a process of its own, for files that may be damaged or malicious."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

MEMORY_BYTES = 2_000_000_000
NICENESS = 10
# A malicious file must not find the bot's token in the environment.
INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL", "SYSTEMROOT")


def run_apart(module: str, arguments: list[str], content: bytes, timeout_s: float) -> dict[str, Any]:
    """Run the module with the content as its standard input, and return the JSON object that it writes.

    Raises TimeoutError, and ValueError if it crashed.
    """
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, timeout=timeout_s, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{module} took longer than {timeout_s:g} s") from error
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def limit_process() -> None:
    """Limit the memory of this process, so that a small file cannot unpack to a huge one, and let the bot go first."""
    with contextlib.suppress(AttributeError):  # not on Windows
        os.nice(NICENESS)
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on Windows, and not above a stricter limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
