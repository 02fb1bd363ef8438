"""Commands on the demo's page: the list, the form of each, and typing them."""

from __future__ import annotations

from storage.database.tables import AuditRow, PersonalityRow
from tests.bot.demo.channel.conftest import articles


async def test_everybody_sees_the_commands_that_they_may_use(channel):
    ada, grace = (await channel.look("ada")).html, (await channel.look("grace")).html
    assert 'data-command="suggest"' in ada
    assert 'data-command="version promote"' not in ada
    assert 'data-command="version promote"' in grace
    assert "grace (admin)" in grace
    direct = (await channel.look("grace", "direct")).html
    assert 'data-command="version promote"' not in direct


async def test_a_form_has_a_field_for_each_option_and_asks_for_what_a_typed_command_lacks(channel, add_version):
    add_version(1.0)
    form = await channel.look("grace", query="?command=version%20promote")
    assert '<input list="field.version.list"' in form.html
    assert 'type="checkbox" value="True" id="field.override"' in form.html
    assert "version (required)" in form.text
    offered = await channel.browser.get("/channel/grace/lounge/suggestions?command=version%20promote&option=version")
    assert 'value="v1"' in offered.html
    train = await channel.look("grace", query="?command=version%20train")
    assert '<option value="examples">examples</option>' in train.html
    arena = await channel.look("grace", query="?command=arena%20start")
    assert 'type="number" step="any" min="2" max="4"' in arena.html
    assert '<option value="mentions">mentions</option>' in arena.html
    assert 'type="file"' in (await channel.look("grace", query="?command=knowledge%20add")).html
    lacking = await channel.say("grace", "/version promote reason:because")
    assert "version (required)" in lacking.text
    assert 'value="because"' in lacking.html


async def test_a_form_runs_the_command(channel, add_version, rows):
    add_version(1.0)
    fields = {"field.version": "v1", "field.reason": "I like it", "field.override": "True", "field.personality": ""}
    seen = await channel.browser.post("/channel/grace/lounge/command", command="version promote", **fields)
    assert "v1" in articles(seen)[-1]
    assert rows(AuditRow)[-1].reason == "I like it"


async def test_a_command_can_be_typed(channel, add_version, rows):
    add_version(1.0)
    await channel.say("grace", "/version  promote v1 override:True reason: it says: more")
    row = rows(AuditRow)[-1]
    assert (row.action, row.reason) == ("version promote", "it says: more")


async def test_pages_of_a_command_are_turned_by_its_select_and_buttons(channel, add_version):
    add_version(1.0)
    listed = await channel.say("grace", "/version show")
    assert '<option value="v1">v1: ✓ passed the checks</option>' in listed.html
    opened = await channel.use(listed, choose="reactune:version:1", value="v1")
    assert "from base on tiny" in articles(opened)[-1]
    again = await channel.use(opened, press="reactune:versions:1:0")
    assert "▫️ v1 · 👍 0 👎 0" in articles(again)[-1]


async def test_a_file_is_uploaded(channel, rows):
    path = "/channel/grace/lounge/command"
    await channel.browser.upload(
        path, ("owl.toml", b'system_prompt = "Hoot."'), field="field.file", command="personality import"
    )
    assert [row.name for row in rows(PersonalityRow)] == ["default", "owl"]


async def test_mistakes_get_a_sentence(channel):
    for person, text, said in (
        ("ada", "/version status", "You may not use /version status here"),
        ("grace", "/version", "There is no command /version . Choose one: /version compare"),
        ("grace", "/nonsense", "There is no command /nonsense . The Commands button lists them all"),
        ("grace", "/taste now", "There is no personality"),
        ("ada", "/suggest this", "has no options"),
        ("grace", "/arena start answers:many", "answers is a whole number"),
        ("grace", "/arena start answers:9", "must be ≤ 4"),
        ("grace", "/version rollback override:1", "base model is already in use"),
        ("grace", "/version train learn_from:dreams", "can be votes, examples, and not dreams"),
        ("grace", "/knowledge add file:tea.txt", "Choose a file"),
        ("ada", "x" * 2_001, "longer than 2,000 characters"),
        ("ada", " ", "Write a message first"),
    ):
        assert said in (await channel.say(person, text)).text
