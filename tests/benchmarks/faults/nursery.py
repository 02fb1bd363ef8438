"""A process that has imported what a bot needs and forks one for each line that it reads, so that a start costs little.

What is killed with -9 is a bot's process all the same; only its imports were done before.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from contextlib import suppress

from tests.benchmarks.faults import bot_process


def main() -> None:
    bot_process.import_all()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system takes the dead away
    pid = 0
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _live(order)
        print(pid, flush=True)
    with suppress(ProcessLookupError):  # the bench is gone: the last bot must not outlive it
        os.kill(pid or os.getpid(), signal.SIGKILL)


def _live(order: dict[str, object]) -> None:
    """Become the bot; never return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(str(order["folder"]))
    os.environ.update(order["environment"])  # type: ignore[call-overload]
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 1
    try:
        bot_process.main()
        code = 0
    except BaseException:
        traceback.print_exc()  # os._exit shows none
    finally:
        sys.stderr.flush()
        # Not sys.exit: what the parent holds is not this process's to end.
        os._exit(code)


if __name__ == "__main__":
    main()
