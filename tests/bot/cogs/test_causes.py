"""Members say what is wrong with an answer, in a menu and a click."""

from __future__ import annotations

from storage.database.tables import VoteCauseRow

MENU = "What is wrong with it?"


async def choose(place, answer, label, who=None):
    who = who or place.ada
    asked = await who.context_menu(place.channel, MENU, answer)
    return await who.click(asked.response, label=label)


async def test_a_thumb_down_gets_its_cause(place, rows):
    answer = await place.ask("how high is the tower?")
    await place.ada.react(answer, "👎")
    done = await choose(place, answer, "Too long")
    assert done.response.content == "Noted: too long."
    (row,) = rows(VoteCauseRow)
    assert (row.reply_id, row.user_id, row.cause.value) == (1, place.ada.id, "too long")


async def test_without_a_thumb_down_it_is_asked_for(place, rows):
    answer = await place.ask("how high is the tower?")
    done = await choose(place, answer, "Wrong fact")
    assert "gap in what I know" in done.response.content
    assert "Put a 👎 under the answer as well" in done.response.content


async def test_a_later_choice_replaces_the_first(place, rows):
    answer = await place.ask("how high is the tower?")
    await place.ada.react(answer, "👎")
    await choose(place, answer, "Other")
    await choose(place, answer, "Unsafe")
    assert [row.cause.value for row in rows(VoteCauseRow)] == ["unsafe"]


async def test_other_messages_have_no_cause(place, rows):
    message = await place.ada.send(place.channel, "just talking")
    refused = await place.ada.context_menu(place.channel, MENU, message)
    assert "isn't one of my answers" in refused.response.content
    assert rows(VoteCauseRow) == []


async def test_the_buttons_work_after_a_restart(place, env, new_bot, rows):
    answer = await place.ask("how high is the tower?")
    asked = await place.ada.context_menu(place.channel, MENU, answer)
    old = env.bot
    await env.restart_bot(new_bot())
    await place.ada.click(asked.response, label="Wrong tone")
    assert [row.cause.value for row in rows(VoteCauseRow)] == ["wrong tone"]
    await old.close()


async def test_the_report_says_what_is_wrong(place):
    answer = await place.ask("how high is the tower?")
    await place.ada.react(answer, "👎")
    await choose(place, answer, "Wrong fact")
    posted = await place.grace.slash(place.channel, "model report")
    assert "1 wrong fact" in posted.response.content
