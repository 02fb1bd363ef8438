"""`python -m bot`: runs only the bot process."""

from __future__ import annotations

import sys

from bot.errors import BotError, ConnectionRefused
from bot.runner import run_bot
from storage.errors import DataDirectoryInUse, SettingsError, StorageError, TokenInUse
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import BOT
from storage.runtime.redaction import redact_secrets
from storage.settings.loading import load_settings

NEEDS_A_PERSON = (ConnectionRefused, DataDirectoryInUse, SettingsError, TokenInUse)
"""These exit with code 2: a restart would not help."""


def main() -> int:
    try:
        settings = load_settings()
        redact_secrets(settings)
        set_up_logs(settings, BOT)
        run_bot(settings)
    except (BotError, StorageError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, NEEDS_A_PERSON) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
