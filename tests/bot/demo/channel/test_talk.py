"""People talk with the bot on the demo's page: what each one sees, says and does there."""

from __future__ import annotations

import asyncio
import re

import discord
import pytest
from simcord.enums import AppCommandType

from bot.demo.channel.routes import hue_of
from bot.demo.page import CAPTAIN, DemoTasks, move_in
from storage.database.enums import Rule
from storage.database.tables import CorrectionRow, DocumentRow, MemberNoteRow, PersonalityRow, ReplyRow, VoteEventRow
from storage.servers import ServerChoices, apply_setup
from tests.bot.attachments.conftest import picture
from tests.bot.console.conftest import Browser, new_client
from tests.bot.demo.channel.conftest import articles, articles_html

FACE = re.compile(r'<img class="avatar" src="([^"]+)"')


async def test_a_message_is_answered_and_voted_on(channel, world, rows):
    seen = await channel.say("ada", "What makes a good cup of tea?")
    question, answer = articles(seen)
    assert "What makes a good cup of tea?" in question
    assert "Reactune APP" in answer
    assert "👍 👎 🔁 ⋯" in answer, "nobody has voted, and the bot's own reactions are no votes"

    reply = world.lounge.last_message.id
    pressed = await channel.act("ada", reply, react="👎")
    assert 'name="unreact" value="👎"' in pressed.html
    assert "👍 👎 1 🔁 ⋯" in articles(pressed)[-1]
    told = await channel.act("ada", reply, menu="What became of my vote?")
    assert f'href="/channel/ada/lounge#m{reply}"' in articles_html(told)[-1], "a link to the message leads to it"
    await channel.act("ada", reply, react="👎")  # a second click changes nothing
    assert [(row.emoji, row.added) for row in rows(VoteEventRow)] == [("👎", True)]
    assert 'name="unreact"' not in (await channel.look("bo")).html
    await channel.act("ada", reply, unreact="👎")
    assert [row.added for row in rows(VoteEventRow)] == [True, False]


async def test_who_says_something_about_themselves_may_let_the_bot_keep_it(channel, world, rows):
    asked = articles(await channel.say("ada", "I keep bees. What do they drink?"))[-1]
    assert "Remember that you keep bees?" in asked
    assert "✅ Yes No Never ask me" in asked
    question = world.lounge.last_message
    (yes, *_) = question.components[0].children
    await channel.act("bo", question.id, press=yes.custom_id)
    assert rows(MemberNoteRow) == []
    seen = await channel.act("ada", question.id, press=yes.custom_id)
    assert "Noted: “I keep bees”" in articles(seen)[-1]
    assert "Remember that" not in seen.html
    assert [row.text for row in rows(MemberNoteRow)] == ["I keep bees"]


async def test_clicks_at_the_same_time_wait_for_each_other(channel, world, rows):
    await channel.say("ada", "Hello")
    reply = world.lounge.last_message.id
    pressed = [("ada", "❤️"), ("bo", "🥱"), ("grace", "👍"), ("ada", "🔁"), ("bo", "🎉")]
    seen = await asyncio.gather(*(channel.act(person, reply, react=emoji) for person, emoji in pressed))
    assert {one.status for one in seen} == {200}
    assert sorted(row.emoji for row in rows(VoteEventRow)) == sorted(["❤️", "🥱", "👍"])
    assert len(rows(ReplyRow)) == 2


async def test_the_bot_answers_where_it_is_called(channel, rows):
    await channel.say("ada", "Hello", "mentions")
    assert rows(ReplyRow) == []
    seen = await channel.say("ada", "@reactune hello", "mentions")
    assert 'class="mention">@Reactune' in seen.html
    await channel.say("ada", "Hello", "thread")
    await channel.say("ada", "Hello", "direct")
    assert len({row.channel_id for row in rows(ReplyRow)}) == 3
    assert len(articles(await channel.look("ada", "direct"))) == 2
    assert articles(await channel.look("bo", "direct")) == []


async def test_each_channel_has_its_rule_and_its_personality(channel, world, query, rows):
    query(lambda session: move_in(session, world.guild.id, world.pirates.id))
    await channel.say("ada", "The kettle whistles", "questions")
    assert rows(ReplyRow) == []
    await channel.say("ada", "When is it hot?", "questions")
    await channel.say("bo", "Hello", "pirates")
    default, captain = rows(PersonalityRow)
    assert [row.personality_id for row in rows(ReplyRow)] == [default.id, captain.id]
    query(lambda session: move_in(session, world.guild.id, world.pirates.id))  # as at the next start
    assert len(rows(PersonalityRow)) == 2


async def test_a_thread_is_opened_under_a_message(channel, world, rows):
    await channel.say("ada", "Hello")
    reply = world.lounge.last_message.id
    form = await channel.look("ada", query=f"?thread={reply}")
    assert 'value="answer 1"' in form.html
    opened = await channel.act("ada", reply, **{"field.thread": "About tea"})
    assert opened.path == f"/channel/ada/{reply}"
    assert "A thread is one conversation" in opened.text
    await channel.say("ada", "Green or black?", str(reply))
    assert rows(ReplyRow)[-1].channel_id == reply
    below = articles_html(await channel.look("bo"))[-1]
    assert f'href="/channel/bo/{reply}">↳ About tea</a>' in below
    assert f"?thread={reply}" not in below
    assert "cannot have a thread" in (await channel.act("bo", reply, **{"field.thread": "Again"})).text
    assert "cannot have a thread" in (await channel.act("ada", reply + 1, str(reply), **{"field.thread": "In it"})).text


async def test_a_reply_names_what_it_answers(channel, world):
    await channel.say("bo", "The kettle whistles", "mentions")
    message = world.seat("bo", "mentions").messages()[-1].id
    assert "↪ bo: The kettle whistles" in (await channel.look("ada", "mentions", f"?reply={message}")).text
    seen = await channel.say("ada", "Then pour", "mentions", reply=str(message))
    assert "↪" not in articles(seen)[-1], "it is right above"
    seen = await channel.say("ada", "And wait", "mentions", reply=str(message))
    assert "↪ bo: The kettle whistles" in articles(seen)[-1]
    await channel.act("bo", message, "mentions", delete="yes")
    assert "↪ a deleted message" in articles(await channel.look("ada", "mentions"))[-1]


async def test_whoever_comes_back_sees_what_is_new_and_one_name_for_what_was_said_in_a_row(channel):
    await channel.say("ada", "Before", "mentions")
    await channel.say("bo", "Meanwhile", "mentions")
    await channel.say("bo", "And then", "mentions")
    marked = [one.startswith("New ") for one in articles(await channel.look("ada", "mentions"))]
    assert marked == [False, True, False]
    seen = articles(await channel.look("ada", "mentions"))
    assert not any(one.startswith("New ") for one in seen)
    assert ["bo" in one.split() for one in seen] == [False, True, False]


async def test_something_to_say_is_offered_until_somebody_has_said_something(channel):
    assert ">Good morning!</button>" in (await channel.look("ada")).html
    seen = await channel.say("ada", "Good morning!")
    assert ">Good morning!</button>" not in (await channel.look("ada")).html
    assert 'data-typing="false"' in seen.html, "it has answered"


async def test_the_page_says_while_the_bot_types(channel, world, query):
    query(lambda session: move_in(session, world.guild.id, world.pirates.id))
    async with world.env.bot.get_channel(world.lounge.id).typing():
        assert 'data-typing="true"' in (await channel.look("ada")).html
    assert 'data-typing="false"' in (await channel.look("ada", "mentions")).html
    for place in ("lounge", "pirates"):
        await channel.say("ada", "Hello", place)
        assert 'data-typing="false"' in (await channel.look("ada", place)).html


async def test_a_picture_is_sent_and_shown_and_nobody_claims_to_have_seen_it(channel):
    for place, text in (("lounge", "What is this?"), ("direct", "")):
        seen = await channel.browser.upload(f"/channel/ada/{place}/say", ("sunset.png", picture()), text=text)
        assert 'alt="sunset.png"' in articles_html(seen)[-2]
        assert "I can't see pictures here" in articles(seen)[-1]
        assert "looked at" not in articles(seen)[-1]
    assert "Write a message first." in (await channel.browser.upload("/channel/ada/lounge/say", text="")).text


async def test_only_ones_own_messages_can_be_edited(channel, world):
    await channel.say("bo", "Good evning", "mentions")
    message = world.seat("bo", "mentions").messages()[-1].id
    assert "Good evning" in (await channel.look("bo", "mentions", f"?edit={message}")).html
    seen = await channel.act("bo", message, "mentions", **{"field.text": "Good evening"})
    assert "Good evening" in articles(seen)[0]
    assert "(edited)" in articles(seen)[0]
    refused = await channel.act("ada", message, "mentions", **{"field.text": "Mine"})
    assert "Users can only edit their own messages" in refused.text
    assert world.seat("bo", "mentions").messages()[-1].content == "Good evening"


@pytest.mark.threat("T25")
async def test_hostile_words_stay_words(channel):
    seen = await channel.say(
        "ada",
        "<script>alert(1)</script> **bold** [x](javascript:alert(1)) ||<img src=x>|| `<b>` https://example.org/?a=<i>",
        "mentions",
    )
    assert "<script>alert" not in seen.html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; <strong>bold</strong>" in seen.html
    assert 'href="javascript' not in seen.html
    assert '<span class="spoiler" tabindex="0">&lt;img src=x&gt;</span>' in seen.html
    assert 'href="https://example.org/?a="' in seen.html


@pytest.mark.threat("T27")
async def test_a_private_answer_is_for_its_reader_alone_and_notes_are_forgotten_in_a_form(channel, world, rows):
    mine = await channel.say("ada", "/me remember note:I like owls")
    assert "↪ ada used /me remember" in articles(mine)[-1]
    assert "Only you can see this" in articles(mine)[-1]
    assert "owls" not in (await channel.look("bo")).text
    assert "owls" not in (await channel.look("grace")).text
    await channel.say("ada", "/me show")
    page = world.seat("ada", "lounge").messages()[-1].id
    form = await channel.act("ada", page, press="reactune:me:forget")
    assert "I like owls" in form.text
    seen = await channel.submit("ada", form, notes="all")
    assert "I have no notes about you here." in articles(seen)[-1]
    assert rows(MemberNoteRow) == []


async def test_a_form_opens_and_is_sent_and_can_be_sent_again_if_that_failed(channel, rows):
    answer = articles(await channel.say("ada", "Hello"))[-1]
    form = await channel.say("ada", "/suggest")
    assert "What should I have answered?" in form.text
    assert "Discord would" in (await channel.submit("ada", form, text="x" * 4_001)).text
    seen = await channel.submit("ada", form, text="Good day,\r\nada")
    assert [row.text for row in rows(CorrectionRow)] == ["Good day,\nada"]
    assert "counts as the better" in articles(seen)[-1]
    assert answer in articles(seen)[-2]
    assert "was sent before" in (await channel.submit("ada", form, text="Good day")).text


async def test_a_form_that_is_sent_twice_at_once_counts_once(channel, world, rows):
    await channel.say("ada", "Hello")
    form = await channel.say("ada", "/suggest")
    seen = await asyncio.gather(*(channel.submit("ada", form, text="Good day") for _ in range(2)))
    assert ["was sent before" in one.text for one in seen].count(True) == 1
    assert len(rows(CorrectionRow)) == 1


async def test_a_document_is_opened_below_the_list_and_replaced_by_a_file(channel, world):
    await channel.say("grace", "/knowledge add title:Pool text:The pool opens at nine.")
    await channel.say("grace", "/knowledge list")
    page = world.seat("grace", "lounge").messages()[-1].id
    seen = await channel.act("grace", page, choose="reactune:document", value="1 · Pool")
    assert "The pool opens at nine." in articles(seen)[-1]
    form = await channel.act("grace", page, press="reactune:document:replace:1")
    sent, key = ("new.txt", b"The pool opens at ten."), form.value_of("key")
    seen = await channel.browser.upload("/channel/grace/lounge/form", sent, field="field.file", key=key)
    assert "The pool opens at ten." in articles(seen)[-1]


async def test_menus_and_buttons_of_messages(channel, world):
    await channel.say("ada", "Hello")
    reply = world.lounge.last_message.id
    form = await channel.act("ada", reply, menu="What is wrong with it?")
    assert "> Too long" in form.html
    seen = await channel.submit("ada", form, cause="Too long", text="Good day")
    assert "Noted: too long." in articles(seen)[-1]
    assert "Only you can see this" in articles(seen)[-1]
    thanks = world.seat("ada", "lounge").messages()[-1]
    (row, *_) = thanks.components
    foreign = await channel.act("bo", thanks.id, press=row.children[0].custom_id)
    assert "That message was deleted" in foreign.text
    pressed = await channel.act("ada", thanks.id, press=row.children[0].custom_id)
    assert "Your suggestion is taken back" in articles(pressed)[-1]


async def test_menus_for_admins_are_offered_to_the_admin(channel, world, rows):
    await channel.say("ada", "The pool opens at nine.")
    asked = world.lounge.history()[0].id
    assert 'value="Add to knowledge"' not in (await channel.look("ada")).html
    assert 'value="Add to knowledge"' in (await channel.look("grace")).html
    form = await channel.act("grace", asked, menu="Add to knowledge")
    assert "checked required> Everywhere in this server" in form.html
    await channel.submit("grace", form, title="Pool", where="Only in this channel")
    assert [(row.title, row.channel_id) for row in rows(DocumentRow)] == [("Pool", world.lounge.id)]


async def test_an_arena_is_shown_and_its_buttons_pick(channel, world, rows):
    await channel.say("grace", "/arena start prompt: Tea or coffee?")
    arena = world.lounge.last_message
    seen = await channel.look("ada")
    assert "Which answer is best?" in seen.text
    assert "answer 1" in seen.text
    pressed = await channel.act("ada", arena.id, press="reactune:arena:1:2")
    assert "You chose 2" in articles(pressed)[-1]


async def test_menus_follow_what_the_person_may_do(channel, world):
    await channel.say("ada", "Hello", "direct")
    answer = world.seat("ada", "direct").messages()[-1].id
    assert 'value="What became of my vote?"' in articles_html(await channel.look("ada", "direct"))[-1]
    seen = await channel.act("ada", answer, "direct", menu="What became of my vote?")
    assert "You have not voted on that answer" in articles(seen)[-1]
    assert "There is no “Dance” here" in (await channel.act("ada", answer, "direct", menu="Dance")).text
    command = world.env.backend.find_command("What became of my vote?", None, AppCommandType.MESSAGE)
    command["default_member_permissions"] = str(discord.Permissions(manage_guild=True).value)
    await channel.say("ada", "Hello")
    assert 'value="What became of my vote?"' not in (await channel.look("ada")).html
    assert 'value="What became of my vote?"' in (await channel.look("grace")).html


async def test_every_emoji_that_votes_is_offered(channel, world, rows):
    await channel.say("ada", "Hello")
    reply = world.lounge.last_message.id
    shown = articles_html(await channel.look("ada"))[-1]
    assert all(f'aria-label="React with {emoji}"' in shown for emoji in world.env.bot.settings.votes.emoji)
    await channel.act("ada", reply, react="🔥")
    assert "🔥 2" in articles(await channel.act("bo", reply, react="🔥"))[-1]
    for emoji in ("🔥", "❤️"):  # in the menu too, a second click takes it back
        in_menu = f'name="unreact" value="{emoji}" class="chip" aria-pressed="true" aria-label="React with {emoji}"'
        assert in_menu not in articles_html(await channel.look("grace"))[-1]
        assert in_menu in articles_html(await channel.act("grace", reply, react=emoji))[-1]
        await channel.act("grace", reply, unreact=emoji)
    assert "🔥 1" in articles(await channel.act("ada", reply, unreact="🔥"))[-1]
    assert [row.added for row in rows(VoteEventRow)] == [True, True, True, False, True, False, False]


async def test_private_words_are_in_the_language_of_the_browser(channel, world):
    world.env.backend.subscribers.remove(world.env._localize)  # the tests' own choice of languages
    for languages, words in (("de-DE,de;q=0.9", "Erwähne mich"), ("tlh", "Mention me")):
        seen = await channel.browser.post(
            "/channel/ada/lounge/say", headers={"Accept-Language": languages}, text="/help"
        )
        assert words in articles(seen)[-1]


async def test_fields_of_embeds_have_their_markup_and_messages_of_webhooks_their_names(channel, world):
    lounge = world.env.bot.get_channel(world.lounge.id)
    await lounge.send(embed=discord.Embed(title="Before and after").add_field(name="Hi!", value="**base:** Hello"))
    assert "<strong>base:</strong> Hello" in articles_html(await channel.look("ada"))[-1]
    webhook = await lounge.create_webhook(name="Ebba")
    with world.env.time_context():  # as in the bot's own work
        await DemoTasks().spawn(webhook.send("The lamp is lit.", username="Ebba, the keeper"), "an answer")
    assert "E Ebba, the keeper APP" in articles(await channel.look("ada"))[-1]
    with world.env.time_context():
        await webhook.send("The fog is out.", avatar_url=world.env.bot.user.display_avatar.url)
    assert "E Ebba APP" in articles(await channel.look("ada"))[-1], "a letter tells them apart, not my face"


async def test_a_personality_has_its_name_and_its_picture(channel, world, query):
    query(lambda session: move_in(session, world.guild.id, world.pirates.id))
    seen = await channel.say("ada", "Ahoy", "pirates")
    answer = articles_html(seen)[-1]
    assert "Captain Brine" in answer
    members = (await channel.look("ada")).html.partition('aria-label="Members"')[2]
    assert "Captain Brine" in members
    (in_talk,) = FACE.findall(answer)
    (_, among_members) = FACE.findall(members)
    drawn = CAPTAIN.with_suffix(".png").read_bytes()
    assert [await channel.browser.download(face) for face in (in_talk, among_members)] == [drawn, drawn]


def test_everybody_in_the_demo_has_a_colour_of_their_own():
    names = ("ada", "bo", "grace", "Reactune", "Captain Brine")
    assert len(set(map(hue_of, names))) == len(names)


async def test_a_channel_for_admins_is_hidden_from_members(channel, world):
    admins = world.guild.roles["admins"]
    hidden, shown = discord.PermissionOverwrite(view_channel=False), discord.PermissionOverwrite(view_channel=True)
    staff = world.guild.create_text_channel("staff", overwrites={world.guild.default_role: hidden, admins: shown})
    assert "# staff" in (await channel.look("grace")).text
    assert "# staff" not in (await channel.look("ada")).text
    assert (await channel.look("ada", str(staff.id))).status == 404
    assert (await channel.browser.get(f"/channel?as=ada&place={staff.id}")).path == "/channel/ada/lounge"


@pytest.mark.threat("T27")
async def test_files_are_for_those_who_see_the_message(channel, world):
    seen = await channel.use(await channel.say("grace", "/version status"), press="reactune:report:1")
    (picture,) = re.findall(r'src="(/channel/[^"]*/files/\d+)"', seen.html)
    shown = await channel.browser.get(picture)
    assert shown.headers["Content-Type"] == "image/png"

    await channel.say("ada", "/privacy")
    await channel.act("ada", world.seat("ada", "lounge").messages()[-1].id, press="reactune:privacy:export")
    direct = await channel.look("ada", "direct")
    (saved,) = re.findall(r'href="(/channel/[^"]*/files/\d+)"', direct.html)
    assert (await channel.browser.get(saved)).headers["Content-Disposition"].startswith("attachment")
    assert (await channel.browser.get(saved.replace("/ada/", "/bo/"))).status == 409


async def test_the_pages_own_files_are_sent_once(channel, caplog):
    assert (await channel.browser.get("/channel/static/channel.css")).status == 200
    await channel.look("ada")  # meanwhile the server ends the request before
    assert [record.message for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_news_come_once(channel, world):
    await channel.look("ada")
    fresh = await channel.browser.get(f"/channel/ada/lounge/news?seen={world.changes}")
    assert fresh.status == 204
    await channel.say("bo", "Hello")
    news = await channel.browser.get("/channel/ada/lounge/news?seen=1")
    assert len(articles(news)) == 2
    await channel.say("bo", "Anybody here?")
    assert "# lounge ● has new messages" in (await channel.look("ada", "mentions")).text


@pytest.mark.threat("T26")
async def test_a_stranger_sees_nothing(channel, port):
    async with new_client() as client:
        for path in ("/channel", "/channel/ada/lounge", "/channel/ada/lounge/news", "/channel/static/channel.js"):
            assert (await Browser(client, port).get(path)).status == 401


async def test_the_page_leads_back_to_where_one_was_and_is_dark_until_somebody_chooses(channel):
    assert 'data-theme="dark"' in (await channel.look("grace", "thread")).html
    assert (await channel.browser.get("/channel")).path == "/channel/grace/thread"
    assert (await channel.browser.get("/channel?as=bo&place=direct")).path == "/channel/bo/direct"
    assert 'href="/channel">Talk</a>' in (await channel.browser.get("/versions")).html
    for path in ("/channel/eve/lounge", "/channel/ada/cellar", "/channel/ada/cellar/news"):
        assert (await channel.browser.get(path)).status == 404, path


async def test_the_line_above_the_messages_follows_the_rule_that_holds(channel, world):
    services = world.env.bot.services
    about = r'class="quiet about">([^<]*?) <'
    assert re.search(about, (await channel.look("ada")).html)[1] == "I answer every message here."
    choices = ServerChoices(rules={world.lounge.id: Rule.NEVER}, elsewhere=Rule.QUESTION)
    await services.database.run(apply_setup, world.guild.id, choices, None, expected_generation=0, by="grace")
    await services.setups.load()
    assert "I don" in re.search(about, (await channel.look("ada")).html)[1]
    assert "I answer questions here" in re.search(about, (await channel.look("ada", "mentions")).html)[1]
