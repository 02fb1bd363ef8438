from __future__ import annotations

import contextlib

import discord
import pytest
from discord import app_commands

from bot.guards.audit import ALSO_FOR_ADMINS, is_for_admins
from storage.database.database import open_database
from storage.database.enums import AuditOutcome
from storage.database.tables import AuditRow, BindingRow, PersonalityRow
from storage.operations.audit import AuditedAction, AuditQuery, audited, read_trail
from tests.word_encoder import WordEncoder

# What each admin command is given; every one of the tree is here, or the first test fails.
OPTIONS = {
    "arena start": {"prompt": "Say hi."},
    "arena stop": {},
    "reset": {},
    "knowledge add": {"text": "The office is in Room 5.", "title": "Office"},
    "knowledge list": {},
    "knowledge search": {"question": "Where?"},
    "personality appearance": {"personality": "default"},
    "personality bind": {"personality": "default"},
    "personality create": {"name": "owl"},
    "personality edit": {"personality": "nobody"},
    "personality export": {"personality": "default"},
    "personality import": {"file": ("owl.toml", b"?")},
    "personality show": {"personality": "default"},
    "personality unbind": {},
    "review": {},
    "setup": {},
    "version compare": {"a": "v8", "b": "v9"},
    "version promote": {"version": "v9", "reason": "it is nicer"},
    "version rollback": {"reason": "rude"},
    "version show": {"version": "base"},
    "version status": {},
    "version train": {},
}


FORMS = {"personality create", "setup"}
"""They only open a form; sending or finishing it is another action."""


PRIVATE = {"arena", "knowledge", "personality"}
"""Groups whose every answer is visible to the person alone who used the command."""


def admin_commands(env) -> set[str]:
    found = (command for command in env.bot.tree.walk_commands() if isinstance(command, app_commands.Command))
    return {command.qualified_name for command in found if is_for_admins(command)}


@pytest.fixture
def load_encoder():
    return WordEncoder


def test_every_admin_command_is_tried_here_and_shown_to_those_who_manage_a_server(env) -> None:
    assert admin_commands(env) == set(OPTIONS)
    shown = {root["name"]: int(root["default_member_permissions"] or 0) for root in env.backend.commands[None].values()}
    assert {shown[name.split()[0]] for name in OPTIONS if name not in ALSO_FOR_ADMINS} == {
        discord.Permissions(manage_guild=True).value
    }


@pytest.mark.threat("T72")
async def test_every_admin_command_is_recorded_and_refused_for_other_members(place, env):
    env.show_all_commands()
    newest = 0
    for name, options in OPTIONS.items():
        for who in (place.grace, place.ada):
            result = await who.slash(place.channel, name, **options)
            if name.split()[0] in PRIVATE or who is place.ada:
                assert result.modal is not None or result.ephemeral, (name, who)
            trail = await env.bot.services.database.read(read_trail, AuditQuery(100))
            new = [entry for entry in trail if entry.id > newest]
            newest = trail[0].id if trail else 0
            if who is place.grace and name in FORMS:
                assert new == [], name  # a form that is left changes nothing
                continue
            assert [row.action for row in new] == [name], (name, who)
            assert (new[0].actor_id, new[0].guild_id) == (who.id, place.channel.guild.id)
            if who is place.ada:
                assert "Only admins can do this" in (result.response or result.followups[-1]).content
                assert new[0].outcome is AuditOutcome.REFUSED
                assert new[0].note.startswith("Only admins ")


async def test_a_change_is_recorded_with_its_author(place, rows):
    await place.grace.slash(place.channel, "personality bind", personality="default", strength=0.5)
    (binding,), (line,) = rows(BindingRow), rows(AuditRow)
    assert (line.outcome, line.actor, line.subject) == (
        AuditOutcome.DONE,
        binding.bound_by,
        "personality: default, strength: 0.5",
    )


@pytest.mark.threat("T74")
async def test_a_form_that_is_sent_after_the_right_has_gone_changes_nothing(place, env, rows):
    form = await place.grace.slash(place.channel, "personality create", name="owl")
    await place.take_roles(place.grace)
    sent = await place.grace.submit_modal(form, {"description": "I stayed too long."})
    assert "Only admins can do this" in sent.response.content
    assert [row.name for row in rows(PersonalityRow)] == ["default"]
    assert [(row.action, row.outcome) for row in rows(AuditRow)] == [("personality card", AuditOutcome.REFUSED)]


@pytest.mark.threat("T75")
def test_a_change_that_fails_leaves_nothing(settings, place, rows):
    def work(session):
        session.add(BindingRow(scope="server", place_id=1, guild_id=1, personality_id=1, bound_by="grace"))
        raise RuntimeError("no")

    database = open_database(settings)
    with contextlib.closing(database), pytest.raises(RuntimeError), database.transaction() as session:
        audited(AuditedAction("grace", "personality bind"), work)(session)
    assert rows(AuditRow) == rows(BindingRow) == []
