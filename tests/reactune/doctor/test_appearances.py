"""The doctor says where personalities with a name of their own speak as the bot itself."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Return what the doctor says of a bot with these permissions in servers of so many members."""

    async def check(
        permissions: discord.Permissions,
        display_name: str = "Ebba",
        guild_id: int | None = None,
        members: Sequence[int] = (3, 4),
        **settings: str,
    ) -> str:
        data = {"REACTUNE_DATA__DIRECTORY": str(tmp_path), "DISCORD_TOKEN": "right"}
        loaded = load_settings(environment=data | settings)
        with closing(open_database(loaded)) as database, database.transaction() as session:
            card = Card(display_name=display_name, system_prompt="x")
            create_personality(session, "ebba", card, by="test", guild_id=guild_id)
        async with discord_with(TOGGLED, [*members], "right", permissions) as address:
            monkeypatch.setattr(Route, "BASE", address)
            return await check_appearances(loaded)

    return check


async def test_with_the_permission_all_is_well(check):
    said = await check(discord.Permissions(manage_webhooks=True))
    assert said == "ebba speaks with a name or a picture of their own in 2 servers"


async def test_without_it_the_servers_are_named(check):
    with pytest.raises(Hint, match=r"in 2 servers of 2 \(server 0, server 1\), where the bot has no permission"):
        await check(discord.Permissions())


async def test_a_servers_own_personality_is_looked_for_in_that_server_only(check):
    with pytest.raises(Hint, match=r"in 1 server of 1 \(server 1\), where the bot has no permission"):
        await check(discord.Permissions(), guild_id=1456074443980800101)


async def test_all_servers_are_asked_about(check):
    said = await check(discord.Permissions(manage_webhooks=True), members=[1] * 401)
    assert said == "ebba speaks with a name or a picture of their own in 401 servers"


async def test_without_message_content_it_says_so_before_it_asks_discord(check):
    with pytest.raises(Hint, match=r"switch on discord\.message_content_intent"):
        await check(discord.Permissions(), REACTUNE_DISCORD__MESSAGE_CONTENT_INTENT="false")


async def test_without_a_name_nothing_is_asked(check):
    assert await check(discord.Permissions(), display_name="") == "no personality has a name or a picture of its own"
