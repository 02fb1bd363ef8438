"""The demo's settings."""

from __future__ import annotations

from bot.demo.page import demo_overrides
from storage.settings.loading import load_settings


def test_bot_and_trainer_log_only_warnings_to_the_demos_console(tmp_path):
    overrides = demo_overrides(str(tmp_path), channel_id=1)
    assert load_settings(environment=overrides).logs.level == "warning"
