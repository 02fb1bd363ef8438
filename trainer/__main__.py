"""`python -m trainer`: the learning process alone."""

from __future__ import annotations

import sys

from storage.errors import StorageError
from storage.safekeeping import keep_safe
from storage.settings import load_settings
from trainer.logs import log_to_stderr
from trainer.worker import run_trainer


def main() -> int:
    log_to_stderr()
    try:
        settings = load_settings()
        keep_safe(settings)
        run_trainer(settings)
    except StorageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
