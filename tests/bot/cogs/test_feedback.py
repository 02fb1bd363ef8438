"""Members write better answers, and say what is wrong with an answer."""

from __future__ import annotations

import asyncio

import pytest
from simcord.backend.errors import SetupError

from storage.database.columns import utc_now
from storage.database.enums import Basis
from storage.database.tables import CorrectionRow, MemberRow, VoteCauseRow
from storage.privacy.consent import give_consent
from tests.bot.panels import post_report, said

MENU = "What is wrong with it?"


class TestSuggestions:
    async def test_the_menu_opens_a_form_with_the_answer_and_stores_what_is_written(self, place, env, rows):
        answer = await place.ask("hi")
        form = await place.bo.context_menu(place.channel, "Suggest a better answer", answer)
        assert form.modal is not None
        done = await place.bo.submit_modal(form, {"text": "a far better answer"})
        assert done.ephemeral
        assert "counts as the better one" in done.response.content
        row = rows(CorrectionRow)[0]
        assert (row.text, row.author_id, row.reply_id, row.basis) == (
            "a far better answer",
            place.bo.id,
            1,
            Basis.LOCAL,
        )
        (member,) = rows(MemberRow)
        joined_at = env.backend.guilds[env.guild.id].members[place.bo.id].joined_at
        assert (member.guild_id, member.user_id, member.joined_at.isoformat()) == (
            env.guild.id,
            place.bo.id,
            joined_at,
        )

    async def test_a_newcomer_learns_that_a_suggestion_is_not_trained_on_yet(self, place, env, rows):
        await place.ask("hi")
        env.backend.guilds[env.guild.id].members[place.bo.id].joined_at = utc_now().isoformat()
        form = await place.bo.slash(place.channel, "suggest")
        done = await place.bo.submit_modal(form, {"text": "better"})
        assert "your account or membership is too new." in done.response.content
        assert [row.text for row in rows(CorrectionRow)] == ["better"]

    async def test_suggest_takes_another_answer_than_the_latest(self, place, rows):
        result = await place.ada.slash(place.channel, "suggest")
        assert "haven't answered anything" in result.response.content
        await place.ask("one")
        await place.ask("two")
        for text, problem in (("x", "2 to 4,000 characters"), ("answer 2", "answer I already gave")):
            form = await place.ada.slash(place.channel, "suggest")
            done = await place.ada.submit_modal(form, {"text": text})
            assert problem in done.response.content
        form = await place.ada.slash(place.channel, "suggest")
        (field,) = form.modal["components"]
        assert field["description"] == "To: “two”"
        with pytest.raises(SetupError, match="4000"):
            await place.ada.submit_modal(form, {"text": "x" * 4001})
        assert rows(CorrectionRow) == []
        form = await place.ada.slash(place.channel, "suggest")
        await place.ada.submit_modal(form, {"text": "better"})
        assert rows(CorrectionRow)[0].reply_id == 2

    @pytest.mark.parametrize(("length", "is_shown"), [(3_500, True), (4_500, False)])
    async def test_the_form_holds_the_whole_answer_or_none_of_it(self, place, engine, length, is_shown):
        engine.answers = ["a" * length]
        await place.ask("one")
        form = await place.ada.slash(place.channel, "suggest")
        (field,) = form.modal["components"]
        assert field["component"].get("value") == ("a" * length if is_shown else None)

    async def test_a_second_suggestion_replaces_the_first_and_leaves_nothing_that_waits(self, place, rows):
        await place.ask("hi")
        before = len(asyncio.all_tasks())
        for text in ("first try", "second try"):
            form = await place.ada.slash(place.channel, "suggest")
            await place.ada.submit_modal(form, {"text": text})
        assert len(asyncio.all_tasks()) <= before
        first, second = rows(CorrectionRow)
        assert first.withdrawn_at is not None
        assert (second.text, second.withdrawn_at) == ("second try", None)

    async def test_its_author_withdraws_it_with_the_button_also_after_a_restart(self, place, rows, env, new_bot):
        await place.ask("hi")
        form = await place.ada.slash(place.channel, "suggest")
        done = await place.ada.submit_modal(form, {"text": "better"})
        await env.restart_bot(new_bot())
        clicked = await place.ada.click(done.response, label="Take back")
        assert "taken back" in clicked.response.content
        assert rows(CorrectionRow)[0].withdrawn_at is not None

    async def test_its_author_finds_it_again_in_the_menu_of_the_answer_and_withdraws_it(self, place, rows):
        answer = await place.ask("hi")
        form = await place.ada.slash(place.channel, "suggest")
        await place.ada.submit_modal(form, {"text": "a *better* one"})
        others = (await place.bo.context_menu(place.channel, "What became of my vote?", answer)).response
        assert (others.content, others.components) == ("You have not voted on that answer.", [])
        first, second = [
            (await place.ada.context_menu(place.channel, "What became of my vote?", answer)).response for _ in range(2)
        ]
        assert first.content == "You suggested: “a \\*better\\* one”\nYou have not voted on that answer."
        withdrawn = await place.ada.click(first, label="Take back")
        assert withdrawn.response.content == "Your suggestion is taken back."
        assert rows(CorrectionRow)[0].withdrawn_at is not None
        again = await place.ada.click(second, label="Take back")
        assert again.response.content == "That suggestion was taken back already."


class TestConsent:
    @pytest.fixture
    def fixed_basis(self):
        return None

    async def test_a_suggestion_needs_its_authors_consent_too(self, place, rows, query):
        query(lambda session: give_consent(session, place.ada.id))
        await place.ask("hi")
        form = await place.bo.slash(place.channel, "suggest")
        done = await place.bo.submit_modal(form, {"text": "better"})
        assert "don't learn from it" in done.response.content
        assert rows(CorrectionRow)[0].basis is None


async def choose(place, answer, cause, member=None, **more):
    member = member or place.ada
    form = await member.context_menu(place.channel, MENU, answer)
    return await member.submit_modal(form, {"cause": cause, **more})


class TestCauses:
    async def test_a_thumb_down_is_asked_for_and_gets_its_latest_cause(self, place, rows):
        answer = await place.ask("how high is the tower?")
        done = await choose(place, answer, "Wrong fact")
        assert "gap in what I know" in done.response.content
        assert "Add a 👎 to the answer too" in done.response.content
        await place.ada.react(answer, "👎")
        done = await choose(place, answer, "Too long")
        assert done.response.content == "Noted: too long."
        (row,) = rows(VoteCauseRow)
        assert (row.reply_id, row.user_id, row.cause.value) == (1, place.ada.id, "too long")

    async def test_other_messages_have_no_cause(self, place, rows):
        message = await place.ada.send(place.channel, "just talking")
        refused = await place.ada.context_menu(place.channel, MENU, message)
        assert "That message isn't one of my answers." in refused.response.content
        assert rows(VoteCauseRow) == []

    async def test_one_form_takes_the_cause_and_a_better_answer(self, place, rows):
        answer = await place.ask("how high is the tower?")
        await place.ada.react(answer, "👎")
        done = await choose(place, answer, "Wrong tone", text="With pleasure: 10 m.")
        assert done.ephemeral
        assert done.response.content.startswith("Noted: the wrong tone.\nThank you! Your answer counts")
        assert [row.cause.value for row in rows(VoteCauseRow)] == ["wrong tone"]
        assert [(row.text, row.basis) for row in rows(CorrectionRow)] == [("With pleasure: 10 m.", Basis.LOCAL)]
        withdrawn = await place.ada.click(done.response, label="Take back")
        assert "is taken back" in withdrawn.response.content

    async def test_the_form_holds_what_one_said_before_and_nobody_else(self, place):
        answer = await place.ask("how high is the tower?")
        await choose(place, answer, "Too long", text="10 m.")
        mine = (await place.ada.context_menu(place.channel, MENU, answer)).modal["components"]
        others = (await place.bo.context_menu(place.channel, MENU, answer)).modal["components"]
        assert [part["component"].get("value") for part in (mine[1], others[1])] == ["10 m.", None]
        chosen = [
            [option["value"] for option in form[0]["component"]["options"] if option.get("default")]
            for form in (mine, others)
        ]
        assert chosen == [["Too long"], []]

    async def test_the_better_answer_to_a_wrong_fact_is_never_trained_on(self, place, rows):
        answer = await place.ask("how high is the tower?")
        done = await choose(place, answer, "Wrong fact", text="It is 10 m high.")
        assert "facts come from documents" in done.response.content
        assert [(row.text, row.basis) for row in rows(CorrectionRow)] == [("It is 10 m high.", None)]

    async def test_a_better_answer_that_is_refused_leaves_the_cause(self, place, rows):
        answer = await place.ask("how high is the tower?")
        done = await choose(place, answer, "Too long", text="x")
        assert "Noted: too long." in done.response.content
        assert "2 to 4,000 characters; yours has 1" in done.response.content
        assert len(rows(VoteCauseRow)) == 1
        assert rows(CorrectionRow) == []

    async def test_an_answer_that_was_deleted_meanwhile_takes_no_cause(self, place, rows):
        answer = await place.ask("how high is the tower?")
        form = await place.ada.context_menu(place.channel, MENU, answer)
        await place.ada.delete(place.channel.history()[0])
        done = await place.ada.submit_modal(form, {"cause": "Other", "text": "better"})
        assert "isn't one of my answers" in done.response.content
        assert rows(VoteCauseRow) == rows(CorrectionRow) == []

    async def test_the_report_says_what_is_wrong(self, place):
        answer = await place.ask("how high is the tower?")
        await place.ada.react(answer, "👎")
        await choose(place, answer, "Wrong fact")
        assert "1 wrong fact" in said(await post_report(place))
