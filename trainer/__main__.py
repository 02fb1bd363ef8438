"""`python -m trainer`: the learning process alone."""

from __future__ import annotations

import sys

from storage.errors import StorageError
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import TRAINER
from storage.runtime.redaction import redact_secrets
from storage.settings.loading import load_settings
from trainer.rounds.worker import run_trainer


def main() -> int:
    try:
        settings = load_settings()
        redact_secrets(settings)
        set_up_logs(settings, TRAINER)
        run_trainer(settings)
    except StorageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
