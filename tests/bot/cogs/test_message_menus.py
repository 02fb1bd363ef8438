"""What admins do with a message: save it as an example, add it to the knowledge."""

from __future__ import annotations

import discord
import pytest
import simcord

from bot.guards.access import NotAnAdmin
from bot.personalities.example_form import REPEATED, repeats
from storage.conversations.summaries import Memory, write_summary
from storage.database.enums import AuditOutcome, DocumentKind
from storage.database.tables import AuditRow, DocumentRow, DocumentSourceRow, DocumentSpeakerRow, PersonalityRow
from storage.personalities.cards import Card
from storage.personalities.personalities import change_card, personality_named
from tests.bot.attachments.conftest import picture
from tests.bot.panels import delete_everything
from tests.word_encoder import WordEncoder

RULES = "The pool opens at nine. Dogs stay outside."
SAVE, ADD = "Save as example", "Add to knowledge"


@pytest.fixture
def load_encoder():
    return WordEncoder


@pytest.fixture
def examples(rows):
    """Return the dialogues of the default personality's card."""

    def read() -> list[tuple[str, ...]]:
        (row, *_) = rows(PersonalityRow)
        return [example.dialogue for example in Card.model_validate(row.card).examples]

    return read


def use(place, name, message, who=None):
    return (who or place.grace).context_menu(place.channel, name, message)


def drafts(form) -> list[str | None]:
    return [part["component"].get("value") for part in form.modal["components"]]


class TestWhoMayUseThem:
    async def test_members_are_not_offered_them_and_refused_if_a_server_shows_them(self, place, env, rows):
        menus = env.bot.tree.get_commands(type=discord.AppCommandType.message)
        assert len(menus) == 6, "as many as Discord takes"
        answer = await place.ask("hi")
        for menu in (SAVE, ADD):
            with pytest.raises(simcord.SetupError):
                await use(place, menu, answer, place.ada)
        env.show_all_commands()
        for menu in (SAVE, ADD):
            refused = await use(place, menu, answer, place.ada)
            assert refused.response.content == str(NotAnAdmin())
        assert [(row.action, row.outcome) for row in rows(AuditRow)] == [
            (SAVE, AuditOutcome.REFUSED),
            (ADD, AuditOutcome.REFUSED),
        ]

    async def test_messages_that_fit_neither_are_refused(self, place):
        await place.grace.slash(place.channel, "version train")
        assert "isn't one of my answers" in (await use(place, SAVE, place.last)).response.content
        answer = await place.ask("hi")
        assert "I wrote that myself" in (await use(place, ADD, answer)).response.content
        wordless = await place.bo.send(place.channel, "", attachments=[("cat.png", picture())])
        assert "has no text" in (await use(place, ADD, wordless)).response.content


class TestExamples:
    async def test_an_exchange_becomes_an_example_and_the_button_takes_it_back(
        self, place, engine, examples, rows, env, new_bot
    ):
        engine.answers = ["Flat. For now."]
        answer = await place.ask("How is the sea?")
        form = await use(place, SAVE, answer)
        assert drafts(form) == ["How is the sea?", "Flat. For now."]
        done = await place.grace.submit_modal(form, {"asked": "How is the sea?", "answered": "Flat, for now."})
        assert "Added to the examples of **default**" in done.response.content
        assert "To undo this, press the button" in done.response.content
        assert examples() == [("How is the sea?", "Flat, for now.")]
        (line,) = rows(AuditRow)
        assert (line.action, line.subject) == ("save as example", "answer 1 for default")
        await env.restart_bot(new_bot())
        removed = await place.grace.click(done.response, label="Remove it again")
        assert "Removed from the examples" in removed.response.content
        assert examples() == []

    async def test_a_second_time_it_says_that_it_is_there(self, place, examples):
        answer = await place.ask("How is the sea?")
        first, second = await use(place, SAVE, answer), await use(place, SAVE, answer)
        await place.grace.submit_modal(first, {"asked": "The sea?", "answered": "answer 1"})
        again = await use(place, SAVE, answer)
        assert "an example of default already" in again.response.content
        at_once = await place.grace.submit_modal(second, {"asked": "The sea?", "answered": "answer 1"})
        assert "has that example already" in at_once.followups[0].content + at_once.response.content
        assert len(examples()) == 1

    async def test_an_example_that_another_admin_removed_is_gone_already(self, place, examples, query):
        answer = await place.ask("How is the sea?")
        form = await use(place, SAVE, answer)
        done = await place.grace.submit_modal(form, {"asked": "The sea?", "answered": "Flat."})
        query(lambda session: change_card(session, personality_named(session, "default"), Card(), by="bo"))
        pressed = await place.grace.click(done.response, label="Remove it again")
        assert pressed.response.content == "That example is gone already."


class TestMembersWords:
    @pytest.fixture
    def fixed_basis(self):
        return None

    @pytest.mark.threat("T73")
    async def test_a_members_question_is_not_proposed_and_not_taken(self, place, examples):
        answer = await place.ask("how do I tell my landlord that the sink leaks?")
        form = await use(place, SAVE, answer)
        assert drafts(form) == [None, "answer 1"]
        assert "In your own words" in str(form.modal)
        asked = "Well: how do I tell my landlord that?"
        refused = await place.grace.submit_modal(form, {"asked": asked, "answered": "Write to them."})
        assert refused.response.content == REPEATED
        assert examples() == []
        (again,) = refused.followups
        reopened = await place.grace.click(again, label="Edit again")
        assert drafts(reopened) == [asked, "Write to them."]
        await place.grace.submit_modal(reopened, {"asked": "My tap drips.", "answered": "Write to them."})
        assert examples() == [("My tap drips.", "Write to them.")]

    @pytest.mark.threat("T73")
    async def test_a_document_made_of_members_words_is_not_taken(self, place, examples):
        message = await place.bo.send(place.channel, RULES)
        added = await use(place, ADD, message)
        await place.grace.submit_modal(added, {"title": "The pool", "where": "Everywhere in this server"})
        form = await use(place, SAVE, await place.ask("when does the pool open?"))
        for asked, answered in [("When?", f"Sure! {RULES}"), ("Is it that the pool opens at nine? Dogs?", "Yes.")]:
            refused = await place.grace.submit_modal(form, {"asked": asked, "answered": answered})
            assert refused.response.content == REPEATED
            form = await place.grace.click(refused.followups[0], label="Edit again")
        assert examples() == []

    async def test_the_summary_of_what_members_said_is_not_taken(self, place, examples, query, engine):
        said = "ada has had a sink that leaks since May"
        after = Memory(summary=said, summarised_from=1, summarised_to=2, speakers=frozenset({place.ada.id}))
        thread = await place.open_thread(await place.ada.send(place.channel, "the house"))
        query(lambda session: write_summary(session, thread.id, Memory(), after))
        await place.grace.send(thread, f"{place.mention} what now?")
        assert said in engine.requests[-1].prompt
        form = await place.grace.context_menu(thread, SAVE, thread.last_message)
        refused = await place.grace.submit_modal(form, {"asked": "Well?", "answered": f"I know {said}."})
        assert refused.response.content == REPEATED
        assert examples() == []

    async def test_ones_own_question_is_proposed(self, place, examples):
        answer = await place.ask("How is the sea?", place.grace)
        form = await use(place, SAVE, answer)
        assert drafts(form) == ["How is the sea?", "answer 1"]
        await place.grace.submit_modal(form, {"asked": "How is the sea?", "answered": "answer 1"})
        assert examples() == [("How is the sea?", "answer 1")]

    @pytest.mark.parametrize(
        ("text", "is_repeated"),
        [
            ("My sink leaks!", True),
            ("my SINK  leaks", True),
            ("A sink that leaks", False),
            ("So I saw that one two three four five", True),
            ("one two three four", False),
            ("", False),
        ],
    )
    def test_a_whole_message_or_six_words_of_one_are_its_authors(self, text, is_repeated):
        assert repeats(text, ["My sink leaks.", "", "one two three four five", "saw that one two three four"]) is (
            is_repeated
        )


class TestKnowledge:
    async def test_a_message_becomes_a_document_that_answers_quote(self, place, rows, engine):
        message = await place.bo.send(place.channel, RULES)
        form = await use(place, ADD, message)
        assert drafts(form)[0] == "Message in #general", "no word of theirs, which would outlive the message"
        done = await place.grace.submit_modal(form, {"title": "The pool", "where": "Everywhere in this server"})
        assert done.response.content.startswith("Added: **1** · [The pool](<https://discord.com/channels/")
        assert "To undo this, choose it in `/knowledge list`" in done.response.content
        (document,) = rows(DocumentRow)
        assert (document.kind, document.channel_id, document.text) == (DocumentKind.MESSAGE, None, RULES)
        assert [row.user_id for row in rows(DocumentSpeakerRow)] == [place.bo.id]
        assert (rows(AuditRow)[-1].action, rows(AuditRow)[-1].subject) == ("add to knowledge", message.jump_url)
        await place.ask("when does the pool open?")
        assert "> The pool opens at nine." in engine.requests[-1].prompt
        again = await use(place, ADD, message)
        assert "in the knowledge already: **1** · [The pool]" in again.response.content
        await place.bo.delete(message)
        assert rows(DocumentSourceRow) == []
        assert (rows(DocumentRow)[0].text, rows(DocumentRow)[0].title, rows(DocumentRow)[0].link) == ("", "", "")

    async def test_its_author_can_forget_it(self, place, rows):
        message = await place.bo.send(place.channel, RULES)
        form = await use(place, ADD, message)
        await place.grace.submit_modal(form, {"title": "The pool", "where": "Only in this channel"})
        assert rows(DocumentRow)[0].channel_id == place.channel.id
        await delete_everything(place.bo, place.channel)
        assert (rows(DocumentRow)[0].text, rows(DocumentRow)[0].title) == ("", "")

    async def test_a_message_that_changed_under_the_form_is_not_added(self, place, rows):
        message = await place.bo.send(place.channel, RULES)
        edited, deleted = await use(place, ADD, message), await use(place, ADD, message)
        filled = {"title": "The pool", "where": "Everywhere in this server"}
        await place.bo.edit(message, "The pool is closed.")
        refused = await place.grace.submit_modal(edited, filled)
        assert "was edited since you opened the form" in refused.response.content
        await place.bo.delete(message)
        refused = await place.grace.submit_modal(deleted, filled)
        assert "can't find that message" in refused.response.content
        assert rows(DocumentRow) == []

    async def test_a_private_channel_is_proposed_for_itself_alone(self, place, env):
        closed, open_ = discord.PermissionOverwrite(view_channel=False), discord.PermissionOverwrite(view_channel=True)
        who = {env.guild.default_role: closed, place.grace: open_, env.guild.me: open_}
        secret = env.guild.create_text_channel("secret", overwrites=who)
        message = await place.grace.send(secret, RULES)
        form = await place.grace.context_menu(secret, ADD, message)
        options = form.modal["components"][1]["component"]["options"]
        assert [one["value"] for one in options if one.get("default")] == ["Only in this channel"]
