"""Personalities: made from files and by admins, bound to places, archived; nothing written is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.adapters.folder_store import AS_TRAINED
from storage.database.database import Database
from storage.database.enums import CHAMPION, Scope
from storage.database.tables import CardRevisionRow
from storage.errors import CardError, PersonalityConflict, PersonalityNotFound
from storage.personalities.bindings import (
    MAX_STRENGTH,
    BindingPlace,
    active_personality_at,
    bind,
    list_bindings,
    unbind,
)
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import (
    DEFAULT_PERSONALITY,
    archive_personality,
    change_card,
    create_personality,
    ensure_personality,
    list_personalities,
    load_cards,
    open_personality,
    personality_named,
    read_cards,
    read_personality,
    restore_personality,
)
from storage.releases.versions import read_alias
from storage.settings.sections import PersonalitySettings, Settings
from tests.storage.together import at_once

pytestmark = pytest.mark.both_databases

GUILD, OTHER_GUILD = 100, 200
KEEPER = Card(system_prompt="You keep a lighthouse.")
CHANNEL = BindingPlace(Scope.CHANNEL, 11)
NESTED = [BindingPlace(Scope.THREAD, 10), CHANNEL, BindingPlace(Scope.CATEGORY, 12), BindingPlace(Scope.SERVER, GUILD)]


def revisions(session: Session, name: str) -> list[tuple[str, str]]:
    """Return (who, system prompt) of each card that the personality ever had, oldest first."""
    rows = session.scalars(
        select(CardRevisionRow)
        .where(CardRevisionRow.personality_id == personality_named(session, name).id)
        .order_by(CardRevisionRow.id)
    )
    return [(row.changed_by, row.card["system_prompt"]) for row in rows]


# Made by admins


def test_a_new_personality_is_answered_by_the_base(session: Session) -> None:
    made = create_personality(session, "keeper", KEEPER, by="grace", guild_id=GUILD)
    assert personality_named(session, "Keeper ", GUILD) == made
    assert read_alias(session, made.id, CHAMPION).target == "base"
    assert revisions(session, "keeper") == [("grace", "You keep a lighthouse.")]


def test_two_personalities_never_share_a_name(session: Session) -> None:
    create_personality(session, "keeper", KEEPER, by="grace")
    with pytest.raises(PersonalityConflict, match="the name keeper is taken"):
        create_personality(session, "keeper", KEEPER, by="bo")
    assert len(revisions(session, "keeper")) == 1


def test_two_admins_who_take_a_name_at_once_one_wins(database: Database) -> None:
    def create(session: Session, admin: int) -> None:
        create_personality(session, "keeper", KEEPER, by=str(admin))

    outcomes = at_once(database, 2, create, PersonalityConflict)
    assert sorted(isinstance(one, PersonalityConflict) for one in outcomes) == [False, True]


def test_a_bad_name_makes_nothing(session: Session) -> None:
    with pytest.raises(CardError):
        create_personality(session, "Night Owl", KEEPER, by="grace")
    assert list_personalities(session) == []


def test_a_server_knows_its_own_and_the_operators(session: Session) -> None:
    ensure_personality(session)
    create_personality(session, "owl", KEEPER, by="grace", guild_id=OTHER_GUILD)
    create_personality(session, "keeper", KEEPER, by="grace", guild_id=GUILD)
    assert [p.name for p in list_personalities(session, GUILD)] == [DEFAULT_PERSONALITY, "keeper"]
    assert [p.name for p in list_personalities(session)] == [DEFAULT_PERSONALITY, "keeper", "owl"]
    with pytest.raises(PersonalityNotFound, match="choose one of default, keeper"):
        personality_named(session, "owl", GUILD)


def test_a_change_keeps_what_was_before(session: Session) -> None:
    made = create_personality(session, "keeper", KEEPER, by="grace")
    changed = Card(system_prompt="You keep two lighthouses.")
    assert change_card(session, made, changed, by="bo")
    assert not change_card(session, read_personality(session, made.id), changed, by="bo")
    assert revisions(session, "keeper") == [("grace", KEEPER.system_prompt), ("bo", changed.system_prompt)]


def test_the_later_of_two_changes_of_a_card_is_refused(session: Session) -> None:
    seen = create_personality(session, "keeper", KEEPER, by="grace")
    change_card(session, seen, Card(system_prompt="One."), by="grace")
    with pytest.raises(PersonalityConflict, match="someone else just changed the card"):
        change_card(session, seen, Card(system_prompt="Two."), by="bo")
    assert read_personality(session, seen.id).card.system_prompt == "One."


# Archived


def test_an_archived_personality_can_be_brought_back(session: Session) -> None:
    made = create_personality(session, "keeper", KEEPER, by="grace")
    archive_personality(session, made)
    assert list_personalities(session) == []
    assert [p.name for p in list_personalities(session, archived=True)] == ["keeper"]
    with pytest.raises(PersonalityConflict, match="archived: restore it first"):
        bind(session, CHANNEL, made, guild_id=GUILD, strength=1.0, by="grace")
    restore_personality(session, read_personality(session, made.id))
    with pytest.raises(PersonalityConflict, match="keeper is not archived: there is nothing to restore"):
        restore_personality(session, read_personality(session, made.id))
    assert personality_named(session, "keeper").card == KEEPER
    assert list_personalities(session, archived=None) == list_personalities(session)


def test_neither_the_default_nor_a_bound_personality_is_archived(session: Session) -> None:
    default = read_personality(session, ensure_personality(session))
    with pytest.raises(PersonalityConflict, match="default"):
        archive_personality(session, default)
    made = create_personality(session, "keeper", KEEPER, by="grace")
    bind(session, CHANNEL, made, guild_id=GUILD, strength=1.0, by="grace")
    with pytest.raises(PersonalityConflict, match="keeper is bound to a place"):
        archive_personality(session, made)
    unbind(session, CHANNEL)
    archive_personality(session, made)


# Bound to places


def test_the_most_specific_binding_answers(session: Session) -> None:
    assert active_personality_at(session, NESTED).personality.name == DEFAULT_PERSONALITY
    for place in reversed(NESTED):
        made = create_personality(session, f"of-{place.scope}", KEEPER, by="grace")
        assert bind(session, place, made, guild_id=GUILD, strength=0.5, by="grace") is None
        active = active_personality_at(session, NESTED)
        assert (active.personality, active.strength) == (made, 0.5)
    unbind(session, NESTED[0])
    assert active_personality_at(session, NESTED).personality.name == "of-channel"
    assert active_personality_at(session, []).personality.name == DEFAULT_PERSONALITY  # a direct message


def test_a_channel_with_the_id_of_its_server_is_not_the_server(session: Session) -> None:
    made = create_personality(session, "keeper", KEEPER, by="grace")
    bind(session, BindingPlace(Scope.CHANNEL, GUILD), made, guild_id=GUILD, strength=1.0, by="grace")
    assert (
        active_personality_at(session, [CHANNEL, BindingPlace(Scope.SERVER, GUILD)]).personality.name
        == DEFAULT_PERSONALITY
    )


def test_a_new_binding_replaces_the_old_one_and_says_so(session: Session) -> None:
    keeper, owl = (create_personality(session, name, KEEPER, by="grace") for name in ("keeper", "owl"))
    bind(session, CHANNEL, keeper, guild_id=GUILD, strength=AS_TRAINED, by="grace")
    before = bind(session, CHANNEL, owl, guild_id=GUILD, strength=MAX_STRENGTH, by="bo")
    assert (before.personality_id, before.strength) == (keeper.id, AS_TRAINED)
    (binding,) = list_bindings(session, guild_id=GUILD)
    assert (binding.personality_id, binding.strength, binding.bound_by) == (owl.id, MAX_STRENGTH, "bo")
    assert list_bindings(session, personality_id=keeper.id) == []
    assert unbind(session, CHANNEL) == binding
    assert unbind(session, CHANNEL) is None


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan")])
def test_a_strength_out_of_range_binds_nothing(session: Session, strength: float) -> None:
    made = create_personality(session, "keeper", KEEPER, by="grace")
    with pytest.raises(ValueError, match="strength"):
        bind(session, CHANNEL, made, guild_id=GUILD, strength=strength, by="grace")
    assert list_bindings(session) == []


# Made by files


def card_file(folder: Path, name: str, prompt: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(f"system_prompt = {prompt!r}\n", encoding="utf-8")


def take(session: Session, folder: Path) -> list[str]:
    settings = Settings(personalities=PersonalitySettings(directory=folder))
    load_cards(session, settings)
    return read_cards(session, settings)[1]


def test_files_are_taken_once_and_again_when_they_change(session: Session, tmp_path: Path) -> None:
    card_file(tmp_path / "cards", "keeper", "One.")
    assert take(session, tmp_path / "cards") == take(session, tmp_path / "cards") == []
    card_file(tmp_path / "cards", "keeper", "Two.")
    take(session, tmp_path / "cards")
    assert revisions(session, "keeper") == [("keeper.toml", "One."), ("keeper.toml", "Two.")]


def test_a_change_in_discord_stays_until_the_file_changes(session: Session, tmp_path: Path) -> None:
    card_file(tmp_path / "cards", "keeper", "One.")
    take(session, tmp_path / "cards")
    change_card(session, personality_named(session, "keeper"), Card(system_prompt="Mine."), by="grace")
    take(session, tmp_path / "cards")
    assert personality_named(session, "keeper").card.system_prompt == "Mine."
    card_file(tmp_path / "cards", "keeper", "Two.")
    take(session, tmp_path / "cards")
    assert [prompt for _, prompt in revisions(session, "keeper")] == ["One.", "Mine.", "Two."]


def test_another_machines_files_only_add_new_personalities(session: Session, tmp_path: Path) -> None:
    card_file(tmp_path / "cards", "keeper", "One.")
    take(session, tmp_path / "cards")
    for name in ("keeper", "owl"):
        card_file(tmp_path / "elsewhere", name, "Two.")
    elsewhere = Settings(personalities=PersonalitySettings(directory=tmp_path / "elsewhere"))
    assert open_personality(session, elsewhere, "keeper").card.system_prompt == "One."
    assert open_personality(session, elsewhere, "owl").card.system_prompt == "Two."
    take(session, tmp_path / "cards")
    assert revisions(session, "keeper") == [("keeper.toml", "One.")]


def test_a_broken_file_leaves_the_card_and_the_other_files(session: Session, tmp_path: Path) -> None:
    card_file(tmp_path / "cards", "keeper", "One.")
    take(session, tmp_path / "cards")
    (tmp_path / "cards" / "keeper.toml").write_text("system_prompt = ")
    card_file(tmp_path / "cards", "owl", "Hoo.")
    card_file(tmp_path / "cards", "Night Owl", "Hoo.")
    broken_name, broken_card = take(session, tmp_path / "cards")
    assert "'Night Owl' is not a valid personality name" in broken_name
    assert "keeper.toml is not valid TOML" in broken_card
    assert personality_named(session, "keeper").card.system_prompt == "One."
    assert personality_named(session, "owl").card.system_prompt == "Hoo."


def test_a_file_never_takes_the_name_of_a_personality_made_in_discord(session: Session, tmp_path: Path) -> None:
    create_personality(session, "keeper", KEEPER, by="grace", guild_id=GUILD)
    card_file(tmp_path / "cards", "keeper", "One.")
    (problem,) = take(session, tmp_path / "cards")
    assert "rename the file" in problem
    assert personality_named(session, "keeper").card == KEEPER


def test_a_file_for_another_base_is_reported(session: Session, tmp_path: Path) -> None:
    (tmp_path / "far.toml").write_text("system_prompt = 'x'\nbase = 'some/model'\n")
    (problem,) = take(session, tmp_path)
    assert "model.base" in problem
    with pytest.raises(PersonalityNotFound):
        personality_named(session, "far")


def test_no_folder_is_no_problem(session: Session, tmp_path: Path) -> None:
    assert take(session, tmp_path / "none") == []


def test_the_default_personality_takes_its_file_too(session: Session, tmp_path: Path) -> None:
    default = ensure_personality(session)
    card_file(tmp_path / "cards", DEFAULT_PERSONALITY, "Hello.")
    take(session, tmp_path / "cards")
    assert read_personality(session, default).card.system_prompt == "Hello."


def test_examples_are_part_of_a_card(session: Session) -> None:
    card = Card(examples=(Example(dialogue=("Hi", "Ho")),))
    made = create_personality(session, "keeper", card, by="grace")
    assert read_personality(session, made.id).card.examples == card.examples
