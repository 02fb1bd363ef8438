"""The demo's stand-in for a server that sees measures pictures, and says that it is one."""

from __future__ import annotations

from bot.attachments.pictures import look_at
from bot.demo.stand_in import with_stand_in
from storage.settings.sections import PictureSettings, Settings
from tests.bot.attachments.conftest import picture


async def test_it_measures_a_picture_and_says_that_it_cannot_see():
    async with with_stand_in(Settings()) as settings:
        said = await look_at(picture(640, 480), "what is it?", settings)
    assert said.startswith("This description comes from the demo's stand-in for a model that sees. It cannot see.")
    assert said.endswith("which is 640 by 480 pixels and on average red.")


async def test_a_server_that_is_configured_is_used():
    own = Settings(pictures=PictureSettings(server="http://gpu:8001"))
    async with with_stand_in(own) as settings:
        assert settings == own
