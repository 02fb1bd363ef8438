"""`python -m bot`: the talking process alone."""

from __future__ import annotations

import logging
import sys

from bot.errors import BotError
from bot.runner import run_bot
from storage.errors import StorageError
from storage.safekeeping import keep_safe
from storage.settings import load_settings


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = load_settings()
        keep_safe(settings)
        run_bot(settings)
    except (BotError, StorageError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
