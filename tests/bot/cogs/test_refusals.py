"""Answers to admin commands, refusals included, are only visible to the person who used the command."""

from __future__ import annotations

import pytest

from tests.bot.guards.test_audit import OPTIONS
from tests.word_encoder import WordEncoder

GROUPS = ("arena", "knowledge", "personality", "votes")


@pytest.fixture
def load_encoder():
    return WordEncoder


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.split()[0] in GROUPS])
async def test_answers_and_refusals_are_private(place, env, name):
    for root in env.backend.commands[None].values():
        root.update(default_member_permissions=None)
    for who in (place.grace, place.ada):
        result = await who.slash(place.channel, name, **OPTIONS[name])
        assert result.modal is not None or result.ephemeral, who
    assert "Only admins can do this" in result.response.content
