"""Members see, export and delete what is stored about them; their first message brings one notice."""

from __future__ import annotations

import gzip
import json

import pytest

from bot.privacy.export import pack
from storage.database.enums import Basis
from storage.database.tables import ConsentRow, GreetingRow, MemberRow, OptOutRow, ReplyRow, VoteEventRow
from storage.privacy.consent import give_consent
from storage.votes.votes import Vote
from tests.bot.panels import delete_everything, labels

ALLOW, FORBID, EXPORT, ASK = "Allow learning", "Forbid learning", "Get my data", "Delete everything …"


async def open_page(place, who=None):
    return (await (who or place.ada).slash(place.channel, "privacy")).response


class TestPrivacyOutsideDiscord:
    async def test_it_says_that_everything_may_be_used_and_what_the_member_decided(self, place, rows):
        page = await open_page(place)
        assert page.flags.ephemeral
        assert "You have neither allowed nor forbidden learning. I learn from reactions" in page.content
        assert "everything said here may be used for training" in page.content
        assert "Nothing is deleted by age here. Your data is kept until you delete it." in page.content
        assert labels(page) == [FORBID, EXPORT, ASK]
        page = (await place.ada.click(page, label=FORBID)).response
        assert page.content.startswith("Done: I no longer learn from you, nor from your earlier reactions.\n\nI store ")
        assert "You **forbade** learning on <t:" in page.content
        assert [row.user_id for row in rows(OptOutRow)] == [place.ada.id]
        assert labels(page) == [ALLOW, EXPORT, ASK]
        page = (await place.ada.click(page, label=ALLOW)).response
        assert page.content.startswith("Done: learning is allowed.\n\nI store ")
        assert rows(OptOutRow) == []
        assert labels(page) == [FORBID, EXPORT, ASK]


class TestPrivacy:
    @pytest.fixture
    def fixed_basis(self):
        return None

    async def test_it_offers_only_what_would_change_something(self, place, rows):
        page, other = await open_page(place), await open_page(place)
        assert "not used for training" in page.content
        assert "*Forbid learning* takes your reactions out of it." in page.content
        assert labels(page) == [FORBID, EXPORT, ASK], "consent to training would change nothing here"
        page = (await place.ada.click(page, label=FORBID)).response
        assert "I don't learn from your reactions." in page.content
        assert labels(page) == [ALLOW, EXPORT, ASK]
        (row,) = rows(OptOutRow)
        again = await place.ada.click(other, label=FORBID)
        assert again.response.content.startswith("Learning was forbidden already.")
        assert labels(again.response) == [ALLOW, EXPORT, ASK]
        assert [one.since for one in rows(OptOutRow)] == [row.since]

    async def test_deleted_votes_do_not_come_back_with_a_restart_and_new_ones_count(
        self, place, votes, rows, env, new_bot
    ):
        answer = await place.ask("hi", who=place.bo)
        await place.ada.react(answer, "👍")
        await delete_everything(place.ada, place.channel)
        assert votes(1) == {}
        await env.restart_bot(new_bot())
        assert votes(1) == {}
        assert rows(MemberRow) == []
        await place.ada.unreact(answer, "👍")
        await place.ada.react(answer, "👎")
        assert votes(1) == {place.ada.id: Vote.DOWN}

    async def test_delete_asks_first(self, place, rows):
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        kept = await delete_everything(place.ada, place.channel, label="Keep my data")
        assert kept.startswith("Nothing was deleted.\n\nI store about you: 1 answer")
        assert len(rows(ReplyRow)) == 1
        done = await delete_everything(place.ada, place.channel)
        assert done.startswith("Deleted: 1 answer based on your messages, your votes on 1 answer.")
        assert "No version was trained on them." in done
        assert rows(ReplyRow) == rows(VoteEventRow) == []
        assert (
            await delete_everything(place.ada, place.channel)
            == "Done. There were no messages, votes or notes of yours."
        )

    async def test_two_delete_at_once_each_their_own(self, place, rows, env, new_bot):
        await place.ask("hi")
        await place.ask("hello", who=place.bo)
        pages = [(who, await open_page(place, who)) for who in (place.ada, place.bo)]
        asked = [await who.click(page, label=ASK) for who, page in pages]
        await env.restart_bot(new_bot())  # the buttons hold all they need
        await place.bo.click(asked[1].response, label="Delete everything")
        assert [row.author_id for row in rows(ReplyRow)] == [place.ada.id]
        await place.ada.click(asked[0].response, label="Delete everything")
        assert rows(ReplyRow) == []

    async def test_show_counts_what_is_stored_and_says_how_long(self, place):
        nothing = (await open_page(place, place.bo)).content
        assert nothing.startswith(
            "I store none of your messages, votes or notes. Answers are deleted after 30 days, or"
        )
        assert "or after 182 days if somebody voted, chose, pressed 🔁" in nothing
        assert "deleted 30 days after you leave it." in nothing
        answer = await place.ask("hi")
        await place.ada.react(answer, "👍")
        await place.ada.slash(place.channel, "me remember", note="likes tea")
        said = (await open_page(place)).content
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

    async def test_everything_is_sent_in_a_direct_message(self, place, query):
        answer = await place.ask("my secret is tea")
        await place.ada.react(answer, "👎")
        asked = await place.ada.context_menu(place.channel, "What is wrong with it?", answer)
        await place.ada.submit_modal(asked, {"cause": "Too long"})
        form = await place.ada.slash(place.channel, "suggest")
        await place.ada.submit_modal(form, {"text": "a better one"})
        await place.ada.slash(place.channel, "me remember", note="likes tea")
        query(lambda session: give_consent(session, place.ada.id))
        done = await place.ada.click(await open_page(place), label=EXPORT)
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
        await place.bo.click(await open_page(place, place.bo), label=EXPORT)
        text = await place.bo.user.dm_channel.last_message.attachments[0].read()
        assert b"tea" not in text
        (shared,) = json.loads(text)["answers"]
        assert (shared["shared_with_others"], shared["prompt"]) == (True, None)
        assert shared["answer"] == "answer 2"  # it was given to them
        assert len(shared["your_messages"]) == 1

    async def test_with_direct_messages_closed_it_comes_in_the_private_answer(self, place, env):
        route = f"/channels/{place.ada.user.dm_channel.id}/messages"
        env.inject_error("POST", route, status=403, code=50007, message="Cannot send messages to this user")
        done = await place.ada.click(await open_page(place), label=EXPORT)
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
        await env.restart_bot(new_bot())
        await place.ask("hi again")
        assert len(self.notices(place)) == 1
        shown = await place.ada.click(notice, label="What's stored")
        assert "I store about you: 2 answers based on your messages" in shown.response.content
        assert shown.response.flags.ephemeral
        assert "Hello! I store" in place.channel.history()[1].content, "the notice is for everybody, and stays"
        await place.ask("hi", who=place.bo)
        assert len(self.notices(place)) == 2
        assert {row.user_id for row in rows(GreetingRow)} == {place.ada.id, place.bo.id}

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
        page = (await place.ada.click(place.channel.history()[1], label=ALLOW)).response
        assert page.content.startswith("Done: learning is allowed.")
        assert "may be used for training if everyone whose messages are in its prompt allows it" in page.content
        assert labels(page) == [FORBID, EXPORT, ASK]
        assert [row.user_id for row in rows(ConsentRow)] == [place.ada.id]
        again = await place.ada.click(place.channel.history()[1], label=ALLOW)
        assert again.response.content.startswith("Learning was allowed already.")
        assert len(rows(ConsentRow)) == 1
        await place.ask("hi again")
        assert [row.basis for row in rows(ReplyRow)] == [None, Basis.LIVE_CHAT]


async def test_the_demo_brings_no_notice(place, rows):
    await place.ask("hi")
    assert rows(GreetingRow) == []
    assert len(place.contents) == 2
