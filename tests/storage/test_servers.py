"""What servers chose: stored whole or not at all, each server by itself, and before the operator's settings."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from storage.database.enums import Rule, Scope
from storage.database.tables import ScheduleRow, ServerRow
from storage.errors import PersonalityConflict, SetupConflict
from storage.personalities.bindings import BindingPlace, active_personality_at, bind, speaks_in
from storage.personalities.cards import Card
from storage.personalities.personalities import (
    archive_personality,
    create_personality,
    ensure_personality,
    personality_named,
    read_personality,
)
from storage.privacy.erasure import erase_guild
from storage.privacy.ownership import known_guilds
from storage.servers import (
    ServerChoices,
    apply_setup,
    choices_of,
    find_setup,
    list_setups,
    schedule_of_arenas,
    schedule_of_weeks,
)
from storage.settings.sections import Settings

HERE, THERE = 1_456_074_443_980_800_021, 1_456_074_443_980_800_022
CHOICES = ServerChoices(
    rules={7: Rule.ALWAYS, 8: Rule.NEVER},
    elsewhere=Rule.MENTION,
    thread_channels={7},
    roles={5, 6},
    arena_schedule="0 18 * * fri",
    arena_channel=7,
    announce_channel=9,
    weekly=True,
)


@pytest.fixture
def default(session):
    return read_personality(session, ensure_personality(session))


@pytest.fixture
def keeper(session):
    return create_personality(session, "keeper", Card(), by="test")


@pytest.fixture
def apply(session, default):
    def store(choices=CHOICES, guild_id=HERE, generation=0, personality=default, by="grace"):
        return apply_setup(session, guild_id, choices, personality, expected_generation=generation, by=by)

    return store


def test_choices_are_read_as_they_were_stored_and_each_server_has_its_own(session, apply):
    stored = apply()
    apply(ServerChoices(), THERE)
    session.expire_all()
    assert find_setup(session, HERE) == stored
    assert (stored.choices, stored.generation, stored.chosen_by) == (CHOICES, 1, "grace")
    assert [setup.choices for setup in list_setups(session)] == [CHOICES, ServerChoices()]


@pytest.mark.parametrize("generation", [0, 2])
def test_who_did_not_see_the_latest_choices_changes_nothing(session, apply, keeper, generation):
    apply(by="hedy")
    with pytest.raises(SetupConflict, match="hedy has just changed"):
        apply(ServerChoices(), generation=generation, personality=keeper)
    assert find_setup(session, HERE).choices == CHOICES
    assert not speaks_in(session, keeper, HERE)


def test_an_archived_personality_is_refused(session, apply, keeper):
    archive_personality(session, keeper)
    with pytest.raises(PersonalityConflict, match="archived"):
        apply(personality=personality_named(session, "keeper"))


def test_the_personality_answers_in_the_whole_server_until_the_default_one_is_chosen(session, apply, default, keeper):
    place = BindingPlace(Scope.SERVER, HERE)
    bind(session, place, keeper, guild_id=HERE, strength=0.5, by="test")
    apply(personality=keeper)
    assert active_personality_at(session, [place]).strength == 0.5
    assert (speaks_in(session, keeper, HERE), speaks_in(session, default, HERE)) == (True, False)
    apply(generation=1, personality=None)
    assert speaks_in(session, keeper, HERE)
    apply(generation=2, personality=default)
    assert active_personality_at(session, [place]).personality.id == default.id
    assert (speaks_in(session, keeper, HERE), speaks_in(session, default, HERE)) == (False, True)


def test_scheduled_arenas_and_weeks_count_from_the_choice(session, apply):
    apply()
    assert set(session.scalars(select(ScheduleRow.name))) == {schedule_of_arenas(HERE), schedule_of_weeks(HERE)}


def test_what_a_later_release_chose_is_kept_from_harm(session, apply):
    apply()
    row = session.get(ServerRow, HERE)
    row.choices = {**row.choices, "mood": "calm"}
    session.flush()
    assert find_setup(session, HERE).choices == CHOICES


def test_choices_go_with_the_server(session, apply):
    apply()
    assert HERE in known_guilds(session)
    erase_guild(session, HERE)
    assert list_setups(session) == []
    assert session.scalars(select(ScheduleRow.name)).all() == []


def test_the_operators_settings_are_what_a_server_starts_from():
    settings = Settings(
        chat={"channel_rules": {7: "always", 8: "question", 99: "always"}},
        arena={"schedule": "0 4 * * *", "channel": 7},
        release={"announce_channel": 99, "weekly": True},
    )
    assert choices_of(settings, {7, 8, 9}) == ServerChoices(
        rules={7: Rule.ALWAYS, 8: Rule.QUESTION}, arena_schedule="0 4 * * *", arena_channel=7
    )
