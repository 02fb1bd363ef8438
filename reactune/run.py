"""`reactune run` and `reactune bot`: the bot on Discord, with the trainer or without."""

from __future__ import annotations

from collections.abc import Callable

from reactune.console import Config, progress, read_settings
from reactune.trainer import supervised_trainer
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import BOT
from storage.settings.sections import Settings


def serve(config: Config = None) -> None:
    """Run the bot on Discord, without the trainer."""
    from bot.runner import run_bot

    settings = read_settings(config)
    set_up_logs(settings, BOT)
    run_bot(settings)


def run(config: Config = None) -> None:
    """Run the bot on Discord, together with the trainer."""
    from bot.runner import require_token, run_bot
    from storage.runtime.schedules import parse_schedule
    from trainer.rounds.schedule import SETTING

    settings = read_settings(config)
    set_up_logs(settings, BOT)
    parse_schedule(SETTING, settings.training.schedule)
    require_token(settings)
    with progress() as say:
        prepare_base(settings, say)
    with supervised_trainer(config, {}):
        run_bot(settings)


def prepare_base(settings: Settings, say: Callable[[str], None]) -> None:
    """Find, download or convert the base model and report progress; only the first time takes a while."""
    from storage.models.base_model import resolve_base_model

    say("Looking for the base model …")
    resolve_base_model(settings.model.base, settings.data.directory, say)
