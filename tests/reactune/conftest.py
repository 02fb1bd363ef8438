"""Commands meet the settings that the bot is tested with."""

from tests.bot.conftest import overrides, settings

__all__ = ["overrides", "settings"]
