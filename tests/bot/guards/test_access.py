from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bot.app
from bot.guards.access import DenialReason, denial_of, is_quiet
from bot.guards.access import Requester as Where
from bot.guards.interactions import Form, PersistentItem
from storage.database.columns import utc_now
from storage.database.tables import ReplyRow, VoteEventRow
from storage.settings.sections import EVERY_SERVER, AccessSettings, ChatSettings

HERE, ELSEWHERE, CATEGORY, CHANNEL, ROLE = 1, 2, 3, 4, 5


def where(**changes: Any) -> Where:
    return Where(
        **{"server_id": HERE, "channel_ids": frozenset({CHANNEL, CATEGORY}), "role_ids": frozenset()} | changes
    )


@pytest.mark.parametrize(
    ("access", "place", "refusal"),
    [
        ({}, where(), DenialReason.SERVER),
        ({"servers": (ELSEWHERE,)}, where(), DenialReason.SERVER),
        ({"servers": (ELSEWHERE,)}, where(is_admin=True), DenialReason.SERVER),
        ({"servers": (HERE,)}, where(), None),
        ({"servers": (EVERY_SERVER,)}, where(), None),
        ({"servers": (HERE,), "channels": (9,)}, where(), DenialReason.CHANNEL),
        ({"servers": (HERE,), "channels": (9,)}, where(is_admin=True), DenialReason.CHANNEL),
        ({"servers": (HERE,), "channels": (9, CATEGORY)}, where(), None),
        ({"servers": (HERE,), "roles": (ROLE,)}, where(), DenialReason.ROLE),
        ({"servers": (HERE,), "roles": (ROLE,)}, where(role_ids=frozenset({ROLE, 8})), None),
        ({"servers": (HERE,), "roles": (ROLE,)}, where(is_admin=True), None),
        ({"servers": (HERE,), "roles": (ROLE,)}, where(role_ids=None), None),
    ],
)
def test_only_what_the_operator_named_is_served(
    access: dict[str, Any], place: Where, refusal: DenialReason | None
) -> None:
    assert denial_of(place, AccessSettings(**access)) is refusal


IDS = st.integers(1, 6)


@given(IDS, st.frozensets(IDS), st.frozensets(IDS), st.booleans(), st.frozensets(IDS), st.frozensets(IDS))
@pytest.mark.threat("T5")
def test_roles_that_a_server_chose_only_narrow_what_the_operator_allows(
    server: int,
    channels: frozenset[int],
    roles: frozenset[int],
    admin: bool,
    ours: frozenset[int],
    theirs: frozenset[int],
) -> None:
    who, access = Where(server, channels, roles, is_admin=admin), AccessSettings(servers=(0,), roles=tuple(ours))
    refused = denial_of(who, access, theirs)
    assert refused is (denial_of(who, access) or denial_of(who, AccessSettings(servers=(0,), roles=tuple(theirs))))


@given(IDS, st.frozensets(IDS), st.frozensets(IDS), st.booleans())
@pytest.mark.threat("T1")
def test_without_settings_nobody_is_served(
    server: int, channels: frozenset[int], roles: frozenset[int], admin: bool
) -> None:
    assert denial_of(Where(server, channels, roles, is_admin=admin), AccessSettings()) is DenialReason.SERVER


@pytest.mark.threat("T3")
def test_every_button_and_form_checks_access() -> None:
    import discord

    def below(cls: type) -> set[type]:
        return {cls}.union(*(below(sub) for sub in cls.__subclasses__()))

    assert bot.app.COGS
    ours = [cls for cls in below(discord.ui.DynamicItem) | below(discord.ui.Modal) if cls.__module__.startswith("bot.")]
    assert ours
    assert all(issubclass(cls, PersistentItem | Form) for cls in ours)


class TestNobodyNamed:
    @pytest.fixture
    def overrides(self) -> dict[str, str]:
        return {"REACTUNE_ACCESS__SERVERS": ""}

    @pytest.mark.threat("T2", "T7")
    async def test_a_mention_is_refused_once_in_an_hour_and_leaves_no_row(self, place, engine, rows):
        await place.ada.send(place.channel, f"{place.mention} hi")
        await place.bo.send(place.channel, f"{place.mention} hello?")
        await place.ada.send(place.channel, "nobody is asked")
        assert place.contents.count(DenialReason.SERVER.value) == 1
        await place.ada.send_dm("hi")
        assert rows(ReplyRow) == []
        assert engine.requests == []
        refused = await place.grace.slash(place.channel, "version status")
        assert refused.response.content == DenialReason.SERVER.value
        shown = await place.ada.slash(place.channel, "privacy")
        assert "I store none of your messages, votes or notes" in shown.response.content, "a command for one's own data"

    async def test_the_operator_reads_which_line_to_add(self, place, env, caplog):
        with caplog.at_level(logging.WARNING):
            guild = env.create_guild("Another")
            await env.settle()
            await env.bot.on_guild_join(env.bot.get_guild(guild.id))
        assert f'The server "Another" ({guild.id}) is not allowed' in caplog.text
        assert f"access.servers = [{guild.id}] in reactune.toml" in caplog.text


class TestRoles:
    @pytest.fixture
    def overrides(self) -> dict[str, str]:
        return {"REACTUNE_ACCESS__ROLES": "12345"}

    async def test_members_without_the_role_neither_talk_nor_vote_and_admins_do(self, place, rows, votes):
        await place.ada.send(place.channel, f"{place.mention} hi")
        assert DenialReason.ROLE.value in place.contents
        answer = await place.ask("hi", who=place.grace)
        await place.ada.react(answer, "👍")
        await place.ada.react(answer, "🔁")
        assert rows(VoteEventRow) == []
        await place.grace.react(answer, "👍")
        assert list(votes(1)) == [place.grace.id]
        assert len(rows(ReplyRow)) == 1

    @pytest.mark.threat("T4")
    async def test_a_vote_from_outside_is_not_found_after_a_restart_either(self, place, env, rows, new_bot):
        answer = await place.ask("hi", who=place.grace)
        await place.ada.react(answer, "👍")
        await place.grace.react(answer, "👎")
        await env.restart_bot(new_bot())
        assert {row.user_id for row in rows(VoteEventRow)} == {place.grace.id}

    async def test_a_direct_message_needs_the_role_as_well_and_another_answer_the_membership(
        self, place, env, engine, new_bot
    ):
        await place.ada.send_dm("hi")
        assert engine.requests == []
        await place.grace.send_dm("hi")
        assert len(engine.requests) == 1
        await env.restart_bot(new_bot())  # which remembers nobody's membership
        place.channel.guild.remove_member(place.grace)
        await place.grace.user.set_reaction(place.grace.user.dm_channel.last_message, "🔁", reacted=True)
        assert len(engine.requests) == 1

    async def test_a_member_whose_server_discord_did_not_tell_of_is_answered_when_it_does(self, place, env, engine):
        env.inject_error("GET", "/guilds/*/members/*", status=503, times=1)
        await place.grace.send_dm("hi")
        assert engine.requests == []
        await place.grace.send_dm("hi")
        assert len(engine.requests) == 1


class TestChannels:
    @pytest.fixture
    def overrides(self) -> dict[str, str]:
        return {"REACTUNE_ACCESS__CHANNELS": "12345"}

    async def test_other_channels_are_not_served(self, place, engine):
        await place.ada.send(place.channel, f"{place.mention} hi")
        assert DenialReason.CHANNEL.value in place.contents
        assert engine.requests == []


async def test_members_of_a_served_server_may_write_directly(place, engine):
    await place.ada.send_dm("hi")
    assert len(engine.requests) == 1


class TestNoDirectMessages:
    @pytest.fixture
    def overrides(self) -> dict[str, str]:
        return {"REACTUNE_ACCESS__DIRECT_MESSAGES": "false"}

    async def test_nobody_is_answered_directly(self, place, engine):
        await place.ada.send_dm("hi")
        assert engine.requests == []


def around_now() -> str:
    """Return quiet hours that are now."""
    start, end = utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1)
    return f"{start:%H:%M}-{end:%H:%M}"


@pytest.mark.parametrize(
    ("hours", "zone", "at", "quiet"),
    [
        ("", "UTC", "2026-01-01 03:00", False),
        ("22:00-07:00", "UTC", "2026-01-01 21:59", False),
        ("22:00-07:00", "UTC", "2026-01-01 22:00", True),
        ("22:00-07:00", "UTC", "2026-01-02 06:59", True),
        ("22:00-07:00", "UTC", "2026-01-02 07:00", False),
        ("9:30 - 10:00", "UTC", "2026-01-01 09:45", True),
        ("9:30 - 10:00", "UTC", "2026-01-01 22:00", False),
        ("22:00-07:00", "Europe/Berlin", "2026-01-01 21:30", True),  # 22:30 there
        ("22:00-07:00", "Europe/Berlin", "2026-07-01 20:30", True),  # 22:30 there, in summer
        ("22:00-07:00", "Europe/Berlin", "2026-07-01 05:30", False),
        ("22:00-07:00", "Asia/Kolkata", "2026-01-01 01:29", True),
    ],
)
def test_quiet_hours_are_those_of_the_time_zone_and_go_past_midnight(
    hours: str, zone: str, at: str, quiet: bool
) -> None:
    settings = ChatSettings(quiet_hours=hours, time_zone=zone)
    assert is_quiet(settings, datetime.fromisoformat(at).replace(tzinfo=UTC)) is quiet
