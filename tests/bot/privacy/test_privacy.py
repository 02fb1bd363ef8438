"""Members see, export and delete what is stored about them; their first message brings one notice."""

from __future__ import annotations

import gzip
import json

import pytest

from bot.privacy.notices import pack
from storage.database.enums import Basis
from storage.database.tables import ConsentRow, GreetingRow, ReplyRow, VoteEventRow
from storage.votes.votes import Vote


async def delete_all(who, channel, label="Delete everything"):
    """Use `/privacy delete` and press a button; return what the answer says then."""
    asked = await who.slash(channel, "privacy delete")
    clicked = await who.click(asked.response, label=label)
    return clicked.response.content


async def answer_to(place, command):
    return (await place.ada.slash(place.channel, f"privacy {command}")).response.content


class TestPrivacyOutsideDiscord:
    @pytest.mark.parametrize("command", ["show", "opt-in", "opt-out"])
    async def test_it_says_that_everything_said_here_may_be_used_for_training(self, place, command):
        assert "everything said here may be used for training" in await answer_to(place, command)

    async def test_opting_in_and_out_say_what_was_noted(self, place):
        assert (await answer_to(place, "opt-in")).startswith("You're opted in: I learn from")
        assert (await answer_to(place, "opt-out")).startswith("You're opted out: I don't learn")

    async def test_show_says_what_the_member_chose(self, place):
        assert "You have **not** opted in." in await answer_to(place, "show")
        await answer_to(place, "opt-in")
        assert "You **opted in** on <t:" in await answer_to(place, "show")

    async def test_show_promises_no_deletion_by_age(self, place):
        assert "Nothing is deleted by age here. Your data is kept until you delete it." in await answer_to(
            place, "show"
        )


class TestPrivacy:
    @pytest.fixture
    def fixed_basis(self):
        return None

    async def test_opting_in_promises_no_more_than_the_operator_opened(self, place):
        assert "Nothing changes yet" in await answer_to(place, "opt-in")

    async def test_opting_in_or_out_twice_says_that_nothing_changed(self, place, rows):
        await answer_to(place, "opt-in")
        (consent,) = rows(ConsentRow)
        assert "You had already opted in, so nothing changed." in await answer_to(place, "opt-in")
        assert [row.given_at for row in rows(ConsentRow)] == [consent.given_at]
        assert (await answer_to(place, "opt-out")).startswith("You're opted out.")
        assert "You had already opted out, so nothing changed." in await answer_to(place, "opt-out")

    async def test_show_says_what_is_open_and_what_one_chose(self, place):
        before = await answer_to(place, "show")
        assert "You have **not** opted in" in before
        assert "not used for training" in before
        await answer_to(place, "opt-in")
        assert "You **opted in** on <t:" in await answer_to(place, "show")
        assert "`/privacy opt-out` takes your reactions out of it." in await answer_to(place, "show")
        await answer_to(place, "opt-out")
        shown = await answer_to(place, "show")
        assert "You **opted out** on <t:" in shown
        assert "I don't learn from your reactions." in shown

    async def test_deleted_votes_do_not_come_back_with_a_restart_and_new_ones_count(self, place, votes, env, new_bot):
        answer = await place.ask("hi", who=place.bo)
        await place.ada.react(answer, "👍")
        await delete_all(place.ada, place.channel)
        assert votes(1) == {}
        old = env.bot
        await env.restart_bot(new_bot())
        assert votes(1) == {}
        await place.ada.unreact(answer, "👍")
        await place.ada.react(answer, "👎")
        assert votes(1) == {place.ada.id: Vote.DOWN}
        await old.close()

    async def test_delete_asks_first(self, place, rows):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        assert await delete_all(place.ada, place.channel, label="Keep my data") == "Nothing was deleted."
        assert len(rows(ReplyRow)) == 1
        done = await delete_all(place.ada, place.channel)
        assert done.startswith("Deleted: 1 answer based on your messages, your votes on 1 answer.")
        assert "No version was trained on them." in done
        assert rows(ReplyRow) == rows(VoteEventRow) == []
        assert await delete_all(place.ada, place.channel) == "Done. There were no messages, votes or notes of yours."

    async def test_two_delete_at_once_each_their_own(self, place, rows, env, new_bot):
        await place.ask("hi")
        await place.ask("hello", who=place.bo)
        asked = [await who.slash(place.channel, "privacy delete") for who in (place.ada, place.bo)]
        old = env.bot
        await env.restart_bot(new_bot())  # the buttons hold all they need
        await place.bo.click(asked[1].response, label="Delete everything")
        assert [row.author_id for row in rows(ReplyRow)] == [place.ada.id]
        await place.ada.click(asked[0].response, label="Delete everything")
        assert rows(ReplyRow) == []
        await old.close()

    async def test_show_counts_what_is_stored_and_says_how_long(self, place):
        nothing = (await place.bo.slash(place.channel, "privacy show")).response.content
        assert nothing.startswith("I store nothing about you. Answers are deleted after 30 days.")
        assert "Those with votes, choices or suggestions are kept for at most 182 days" in nothing
        assert "deleted 30 days after you leave the server." in nothing
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        await place.ada.slash(place.channel, "me remember", note="likes tea")
        said = (await place.ada.slash(place.channel, "privacy show")).response.content
        assert (
            "I store about you: 1 answer based on your messages, your votes on 1 answer, 1 note, 1 server join date."
            in said
        )
        assert "The oldest entry is from <t:" in said


class TestExport:
    @pytest.fixture
    def fixed_basis(self):
        return None

    async def exported(self, message):
        (file,) = message.attachments
        return json.loads(await file.read())

    async def test_everything_is_sent_in_a_direct_message(self, place, rows):
        answer = await place.ask("my secret is tea")
        await place.ada.react(answer, "👎")
        asked = await place.ada.context_menu(place.channel, "What is wrong with it?", answer)
        await place.ada.submit_modal(asked, {"cause": "Too long"})
        form = await place.ada.slash(place.channel, "suggest")
        await place.ada.submit_modal(form, {"text": "a better one"})
        await place.ada.slash(place.channel, "me remember", note="likes tea")
        await place.ada.slash(place.channel, "privacy opt-in")
        done = await place.ada.slash(place.channel, "privacy export")
        assert "as a direct message" in done.response.content
        told = await self.exported(place.ada.user.dm_channel.last_message)
        assert (told["format"], told["format_version"], told["member"]) == ("reactune-member", 2, str(place.ada.id))
        (kept,) = told["answers"]
        assert kept["prompt"][-1]["content"] == "my secret is tea"
        assert kept["answer"] == "answer 1"
        assert kept["your_messages"][0].startswith(f"https://discord.com/channels/{place.channel.guild.id}/")
        assert [vote["emoji"] for vote in told["votes"]] == ["👎"]
        assert [cause["cause"] for cause in told["vote_causes"]] == ["too long"]
        assert [one["text"] for one in told["suggestions"]] == ["a better one"]
        assert [note["text"] for note in told["notes"]] == ["likes tea"]
        assert [one["given_at"] is not None for one in told["consents"]] == [True]

    async def test_words_of_others_are_not_given_away(self, place):
        answer = await place.ask("my secret is tea")
        await place.bo.send(place.channel, "and mine is coffee", reply_to=answer)
        await place.bo.slash(place.channel, "privacy export")
        text = await place.bo.user.dm_channel.last_message.attachments[0].read()
        assert b"tea" not in text
        (shared,) = json.loads(text)["answers"]
        assert (shared["shared_with_others"], shared["prompt"]) == (True, None)
        assert shared["answer"] == "answer 2"  # it was given to them
        assert len(shared["your_messages"]) == 1

    async def test_with_direct_messages_closed_it_comes_in_the_private_answer(self, place, env):
        route = f"/channels/{place.ada.user.dm_channel.id}/messages"
        env.inject_error("POST", route, status=403, code=50007, message="Cannot send messages to this user")
        done = await place.ada.slash(place.channel, "privacy export")
        answers = [message for message in done.followups if message.attachments] or [done.response]
        assert "I can't send you direct messages" in answers[-1].content
        assert json.loads(await answers[-1].attachments[0].read())["member"] == str(place.ada.id)


def test_a_large_export_is_compressed_and_then_split():
    export = {"format": "x", "member": "1", "answers": [{"id": i, "text": str(hash(i * 7.1))} for i in range(300)]}
    ((name, content),) = pack(export, 1_000_000)
    assert (name, json.loads(content)) == ("reactune-data.json", export)
    ((name, content),) = pack(export, 6_000)
    assert (name, json.loads(gzip.decompress(content))) == ("reactune-data.json.gz", export)
    parts = pack(export, 900)
    assert max(len(content) for _, content in parts) <= 900
    told = [json.loads(gzip.decompress(content)) for _, content in parts]
    assert [row for part in told for row in part["answers"]] == export["answers"]
    assert [part["part"] for part in told] == list(range(1, len(parts) + 1))


class TestFirstContact:
    @pytest.fixture
    def fixed_basis(self):
        return None

    def notices(self, place):
        return [message for message in place.channel.history() if "Hello! I store" in message.content]

    async def test_the_first_message_brings_one_notice_with_a_button(self, place, rows, env, new_bot):
        await place.ask("hi")
        (notice,) = self.notices(place)
        assert "Your messages are not used for training. Reactions teach me" in notice.content
        assert [button.label for button in notice.components[0].children] == ["What's stored"]
        old = env.bot
        await env.restart_bot(new_bot())
        await place.ask("hi again")
        assert len(self.notices(place)) == 1
        shown = await place.ada.click(notice, label="What's stored")
        assert "I store about you: 2 answers based on your messages" in shown.response.content
        await place.ask("hi", who=place.bo)
        assert len(self.notices(place)) == 2
        assert {row.user_id for row in rows(GreetingRow)} == {place.ada.id, place.bo.id}
        await old.close()

    async def test_two_messages_at_once_bring_one_notice(self, place, env):
        for text in ("one", "two"):
            env.backend.create_message(place.channel.id, place.ada.id, f"{place.mention} {text}")
        await env.settle()
        assert len(self.notices(place)) == 1

    async def test_a_notice_that_discord_refuses_comes_with_the_next_message(self, place, env):
        env.inject_error("POST", f"/channels/{place.channel.id}/messages", status=403, code=50013, times=1)
        await place.ask("hi")
        assert place.last.content == "answer 1\n-# base"
        assert self.notices(place) == []
        await place.ask("hi again")
        assert len(self.notices(place)) == 1


class TestWithPermission:
    @pytest.fixture
    def fixed_basis(self):
        return None

    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_PRIVACY__DISCORD_TRAINING_PERMISSION": "true"}

    async def test_the_notice_has_a_button_that_opts_in(self, place, rows):
        await place.ask("hi")
        done = await place.ada.click(place.channel.history()[1], label="Allow training")
        assert "from now on, answers to your messages may be used for training" in done.response.content
        assert [row.user_id for row in rows(ConsentRow)] == [place.ada.id]
        await place.ask("hi again")
        assert [row.basis for row in rows(ReplyRow)] == [None, Basis.LIVE_CHAT]


async def test_the_demo_brings_no_notice(place, rows):
    await place.ask("hi")
    assert rows(GreetingRow) == []
    assert len(place.contents) == 2
