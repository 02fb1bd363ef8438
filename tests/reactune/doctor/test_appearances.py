"""The doctor says where personalities with a name of their own speak as the bot itself."""

from __future__ import annotations

from contextlib import closing

import discord
import pytest
from discord.http import Route

from reactune.doctor.appearances import check_appearances
from reactune.doctor.findings import Hint
from storage.database.database import open_database
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality
from storage.settings.loading import load_settings
from tests.reactune.doctor.test_servers import TOGGLED, discord_with


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Return what the doctor says of a bot with these permissions in two servers."""

    async def check(permissions: discord.Permissions, display_name: str = "Ebba", **settings: str) -> str:
        data = {"REACTUNE_DATA__DIRECTORY": str(tmp_path), "DISCORD_TOKEN": "right"}
        loaded = load_settings(environment=data | settings)
        with closing(open_database(loaded)) as database, database.transaction() as session:
            create_personality(session, "ebba", Card(display_name=display_name, system_prompt="x"), by="test")
        async with discord_with(TOGGLED, [3, 4], "right", permissions) as address:
            monkeypatch.setattr(Route, "BASE", address)
            return await check_appearances(loaded)

    return check


async def test_with_the_permission_all_is_well(check):
    said = await check(discord.Permissions(manage_webhooks=True))
    assert said == "ebba speaks with a name or a picture of their own in 2 servers"


async def test_without_it_the_servers_are_named(check):
    with pytest.raises(Hint, match=r"in 2 servers of 2 \(server 0, server 1\), where the bot has no permission"):
        await check(discord.Permissions())


async def test_without_message_content_it_says_so_before_it_asks_discord(check):
    with pytest.raises(Hint, match=r"switch on discord\.message_content_intent"):
        await check(discord.Permissions(), REACTUNE_DISCORD__MESSAGE_CONTENT_INTENT="false")


async def test_without_a_name_nothing_is_asked(check):
    assert await check(discord.Permissions(), display_name="") == "no personality has a name or a picture of its own"
