"""Admins see reported wrong facts grouped by question, and add the missing document in one step."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import numpy as np
import pytest

from bot.cogs.review import NOTHING
from bot.knowledge.gaps import group_gaps, question_of
from bot.knowledge.quoting import add_quotes
from storage.database.tables import DocumentRow, VoteCauseRow
from storage.knowledge.gaps import Gap
from storage.knowledge.search import Passage
from tests.bot.cogs.test_feedback import MENU
from tests.shared_encoder import SharedEncoder
from tests.word_encoder import WordEncoder


@pytest.fixture
def load_encoder():
    return WordEncoder


async def answer_wrongly(place, question, *members):
    answer = await place.ask(question)
    for member in members or (place.ada,):
        await member.react(answer, "👎")
        form = await member.context_menu(place.channel, MENU, answer)
        await member.submit_modal(form, {"cause": "Wrong fact"})
    return answer


async def gaps(place, who=None):
    return (await (who or place.grace).slash(place.channel, "review")).response


async def test_a_wrong_answer_becomes_a_document_and_the_next_answer_cites_it(place, engine, rows):
    """A wrong answer is reported, an admin adds a document, and the same question is answered from it."""
    engine.answers = ["The pool opens at noon."]
    await answer_wrongly(place, "when does the pool open?")
    page = await gaps(place)
    assert "**1 member** reported wrong facts in this answer:" in page.content
    assert "“when does the pool open?”" in page.content
    assert "→ The pool opens at noon." in page.content
    assert "It quoted no document." in page.content
    form = await place.grace.click(page, label="Add a document")
    done = await place.grace.submit_modal(form, {"title": "Opening hours", "text": "The pool opens at nine."})
    assert "Added: **1** · Opening hours" in done.response.content
    assert done.response.content.endswith(NOTHING)
    assert [row.title for row in rows(DocumentRow)] == ["Opening hours"]
    assert rows(VoteCauseRow)[0].settled_by.startswith("grace")
    engine.answers = ["At nine."]
    again = await place.ask("when does the pool open?")
    assert again.content == "At nine.\n-# base\n-# Opening hours: “The pool opens at nine.”"
    assert "> The pool opens at nine." in engine.requests[-1].prompt


async def test_questions_with_the_same_meaning_are_one_gap_and_the_most_reported_comes_first(place):
    await answer_wrongly(place, "who feeds the cats?")
    await answer_wrongly(place, "when do cars park?", place.ada, place.bo)
    await answer_wrongly(place, "who feeds the kitten?")
    page = await gaps(place)
    first = page.content
    assert first.startswith("**Waiting for a decision:** 2 reported wrong facts. This is 1 of 2.")
    second = (await place.grace.click(page, label="Next")).response.content
    assert {("who feeds the cats?" in text, "who feeds the kitten?" in text) for text in (first, second)} == {
        (True, True),
        (False, False),
    }


async def test_reports_beyond_a_message_are_counted_and_no_other_is_cut(place, engine):
    engine.answers = ["It opens at noon. " * 12] * 7
    for number in range(7):
        await answer_wrongly(place, f"when does the pool open? {'please ' * 25}{number}", place.ada, place.bo)
    shown, more = (await gaps(place)).content.split("\n- and ")
    assert more == f"{7 - shown.count('→')} more"
    assert shown.count("→") == shown.count("It quoted no document.") >= 2


async def test_a_gap_that_needs_no_document_is_settled_and_stays_out(place, rows, caplog):
    caplog.set_level(logging.INFO)
    await answer_wrongly(place, "how high is the tower?")
    page, of_another_admin = await gaps(place), await gaps(place)
    done = (await place.grace.click(page, label="No document needed")).response
    assert "Settled without a document: “how high is the tower?”" in done.content
    assert (await gaps(place)).content == NOTHING
    assert rows(DocumentRow) == []
    assert "settled the reports on 1 answer." in caplog.text
    assert "tower" not in caplog.text, "the log must not hold members' words"
    late = await place.grace.click(of_another_admin, label="Add a document")
    assert "already settled" in late.response.content


async def test_a_refused_document_leaves_the_gap_open(place, rows):
    await answer_wrongly(place, "how high is the tower?")
    form = await place.grace.click(await gaps(place), label="Add a document")
    refused = await place.grace.submit_modal(form, {"title": "Tower", "text": "  \n "})
    assert "no text" in refused.followups[-1].content
    assert "how high is the tower?" in (await gaps(place)).content


async def test_members_see_no_gaps(place, env):
    for root in env.backend.commands[None].values():
        if root["name"] == "review":
            root.update(default_member_permissions=None)
    refused = await gaps(place, place.ada)
    assert "Only admins can do this" in refused.content


async def test_without_an_encoder_equal_questions_are_one_gap():
    groups = group_gaps([gap(3, "Why?"), gap(2, "why?"), gap(1, "How?")], None)
    assert [[one.reply_id for one in group.gaps] for group in groups] == [[3, 2], [1]]


def test_the_bundled_encoder_groups_paraphrases():
    questions = [
        "when does the swimming pool open",
        "what are the opening hours of the pool?",
        "who feeds the cats at the weekend",
        "at what time can I go swimming in the morning?",
        "which members look after the cats on saturdays?",
    ]
    vectors = SharedEncoder().encode(questions)
    groups = group_gaps([gap(number, text) for number, text in enumerate(questions, start=1)], vectors)
    assert sorted(sorted(one.reply_id for one in group.gaps) for group in groups) == [[1, 2, 4], [3, 5]]


def test_a_question_is_shown_without_the_quotes_below_it():
    quoted = Passage(1, 1, "Rules", "", "Hours", "At nine.", similarity=None, words=(), word_share=0.0)
    asked = add_quotes([{"role": "user", "content": "ada: when?\nplease"}], [quoted])
    assert question_of(gap(1, asked[0]["content"]).messages) == "ada: when? please"


def gap(reply_id: int, asked: str) -> Gap:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": asked}]
    return Gap(reply_id, 11, messages, "no idea", 1, (), None, datetime(2026, 1, 1, tzinfo=UTC))


def test_one_gap_is_one_group():
    assert [len(group.gaps) for group in group_gaps([gap(1, "Why?")], np.ones((1, 3)))] == [1]
