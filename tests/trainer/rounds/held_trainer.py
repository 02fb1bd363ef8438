"""A trainer whose rounds stay in the phase that the variable HELD_PHASE names, so that a test can kill them there."""

from __future__ import annotations

import os
import threading

if __name__ == "__mp_main__":  # in a round's process, which multiprocessing starts with this module
    from trainer.progress import ProgressLog, RoundProgress

    write = ProgressLog.__call__

    def write_and_stay(log: ProgressLog, progress: RoundProgress) -> None:
        write(log, progress)
        if progress.phase == os.environ["HELD_PHASE"]:
            threading.Event().wait()

    ProgressLog.__call__ = write_and_stay  # type: ignore[method-assign]
elif __name__ == "__main__":
    from reactune.app import main

    main()
