from __future__ import annotations

import logging
from types import SimpleNamespace

import discord
import pytest
from discord import app_commands

from bot.guards.error_handler import OUTDATED, TOO_LATE, is_expected, member_message


async def test_a_command_that_an_update_took_away_or_changed_asks_to_reload(env, caplog):
    changed = app_commands.CommandSignatureMismatch(env.bot.tree.get_command("suggest"))
    for error in (app_commands.CommandNotFound("suggest", []), changed):
        assert member_message(error) == OUTDATED
        assert is_expected(error)
    assert caplog.records == []


async def test_only_the_admin_who_called_a_command_sees_why_it_is_refused(place):
    for command, options in (
        ("version promote", {"version": "v9"}),
        ("version rollback", {}),
        ("version train", {"personality": "nobody"}),
    ):
        result = await place.grace.slash(place.channel, command, **options)
        assert [followup.ephemeral for followup in result.followups] == [True], command
        assert result.response is None
    assert place.channel.history() == []


@pytest.mark.parametrize(("status", "code"), [(404, 10062), (401, 50027)])
def test_an_expired_interaction_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture, status: int, code: int
) -> None:
    response = SimpleNamespace(status=status, reason="")
    late = discord.HTTPException(response, {"code": code, "message": "too late"})  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO):
        assert member_message(late) == TOO_LATE
    (record,) = caplog.records
    assert record.exc_info is None
    assert "this machine is too busy" in record.getMessage()
