"""`reactune bot`: the bot without the trainer."""

from __future__ import annotations

from reactune.console import Config, read_settings
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import BOT


def serve(config: Config = None) -> None:
    """Run the bot on Discord, without the trainer."""
    from bot.runner import run_bot

    settings = read_settings(config)
    set_up_logs(settings, BOT)
    run_bot(settings)
