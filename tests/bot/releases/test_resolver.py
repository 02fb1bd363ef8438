"""The bot's start notices that somebody edited model.base."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bot.releases.resolver import open_base
from storage.database.database import open_database
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.releases.bases import base_in_use
from storage.releases.promotion import promote
from storage.releases.versions import read_alias
from storage.settings.sections import DataSettings, DiscordSettings, ModelSettings, Settings
from tests.past import add_version


async def test_an_edited_base_moves_the_champions_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = BaseModel("old", tmp_path, "a" * 16, "LlamaForCausalLM")
    new = replace(old, name="new", revision="b" * 16)
    settings = Settings(data=DataSettings(directory=tmp_path), model=ModelSettings(base="/models/new"))
    with closing(open_database(settings)) as database:
        database.call(ensure_personality)
        await open_base(database, settings, old)
        with database.transaction() as session:
            promote(session, 1, add_version(session, None), expected_generation=0, by="ann", reason="")
        other_shard = settings.model_copy(update={"discord": DiscordSettings(shards=[1], shard_count=2)})
        await open_base(database, other_shard, new)
        assert (used := database.call(base_in_use)) is not None
        assert used.name == "old", "the process with the first shard decides"
        with caplog.at_level(logging.WARNING):
            assert await open_base(database, settings, new) == new
        assert "The base model is now new: base answers as default (before: v1)." in caplog.text
        await open_base(database, settings, new)
        assert database.call(read_alias, 1).generation == 2
