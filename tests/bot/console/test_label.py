"""Somebody labels pairs: fresh answers, one request for each label, and nothing is lost."""

from __future__ import annotations

import asyncio
import re

import pytest
from sqlalchemy import update

from bot.engine import Finish
from bot.sittings.drawer import AHEAD, ANSWERS
from storage.database.enums import GateVerdict, Label, Origin, PairChoice
from storage.database.tables import (
    ComparisonRow,
    CorrectionRow,
    OwnPromptRow,
    PersonalityRow,
    ReplyRow,
    RoundRow,
    SittingPairRow,
    SittingRow,
    VersionRow,
)
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, read_personality
from storage.sittings.sittings import add_shared_pair, begin_sitting, label_pair, next_pair
from tests.seeding import BOB, add_taste, choose


@pytest.fixture
def desk(visitor):
    """Begin a sitting and return the desk once a pair is there."""

    async def begin():
        await visitor.post("/label")
        return await drawn(visitor)

    return begin


async def drawn(visitor, what="Writing two answers", *, is_there=False):
    for _ in range(500):
        seen = await visitor.get("/label/desk")
        if (what in seen.html) is is_there:
            return seen
        await asyncio.sleep(0.01)
    raise AssertionError("no pair was drawn")


def pair_of(seen) -> int:
    return int(re.search(r"/label/pairs/(\d+)", seen.html)[1])


async def test_before_the_first_sitting_the_page_says_what_it_is(visitor, rows):
    assert "one key each time" in (await visitor.get("/label")).text
    assert rows(SittingRow) == []


async def test_a_label_is_stored_and_the_next_pair_comes(visitor, desk, rows):
    seen = await desk()
    first = pair_of(seen)
    after = await visitor.change(f"/label/pairs/{first}", label="second")
    assert "1 choice" in after.text
    assert pair_of(await drawn(visitor)) != first
    pair = rows(SittingPairRow)[0]
    (comparison,) = rows(ComparisonRow)
    assert (pair.label, comparison.better_id) == (Label.SECOND, pair.second_id)
    assert {row.origin for row in rows(ReplyRow)} == {Origin.SITTING, Origin.SAMPLE}
    assert len({row.prompt for row in rows(ReplyRow) if row.id in (pair.first_id, pair.second_id)}) == 1


async def test_while_a_version_waits_the_page_compares_it_and_counts_what_is_left_then_says_the_result(
    visitor, waiting, query
):
    v1 = waiting(1.0)
    query(lambda session: choose(session, v1, None, wins=5, losses=1))
    page = await visitor.get("/label")
    assert "one by v1 and one by base, without knowing which is which" in page.text
    assert "about 8 more choices decide." in page.text
    begun = await visitor.post("/label")
    assert "v1 against base, blind v1 leads 5 to 1" in begun.text
    assert 'max="14" value="6"' in begun.html
    decided = {"verdict": GateVerdict.PASS, "contest": {"reason": "people prefer v1 to base: 13 to 1"}}
    query(lambda session: session.execute(update(VersionRow).values(**decided)))
    desk = await visitor.get("/label/desk")
    assert "v1: ✓ is ready: people prefer v1 to base: 13 to 1." in desk.text
    assert 'href="/versions"' in desk.html


async def test_pairs_are_drawn_ahead_and_survive_a_restart(visitor, desk, rows, env, new_bot, link):
    await desk()
    await visitor.change(f"/label/pairs/{rows(SittingPairRow)[0].id}", label="first")
    await env.bot.close()
    await env.restart_bot(new_bot())
    seen = await drawn(visitor)
    assert "1 choice" in seen.text
    assert pair_of(seen) == rows(SittingPairRow)[1].id


async def test_a_key_that_is_faster_than_the_script_is_stored_too(visitor, desk, rows):
    pair_id = pair_of(await desk())
    seen = await visitor.post(f"/label/pairs/{pair_id}", label="first")
    assert seen.path == "/label"
    assert rows(SittingPairRow)[0].label is Label.FIRST
    assert (await visitor.post("/label/undo")).path == "/label"
    assert rows(SittingPairRow)[0].label is None


async def test_every_form_works_without_the_script(visitor, desk):
    html = (await desk()).html
    for form in re.findall(r"<form[^>]*>", html):
        assert re.search(r'method="post" action="/(label|leave)', form), form
    assert html.count("<form") == html.count('name="csrf"')


async def test_the_same_pair_twice_is_refused_and_undo_brings_it_back(visitor, desk, rows):
    pair_id = pair_of(await desk())
    await visitor.change(f"/label/pairs/{pair_id}", label="first")
    refused = await visitor.change(f"/label/pairs/{pair_id}", label="second")
    assert "compared already" in refused.text
    assert rows(SittingPairRow)[0].label is Label.FIRST
    assert pair_of(await visitor.change("/label/undo")) == pair_id
    assert rows(ComparisonRow) == []
    assert "nothing to undo" in (await visitor.change("/label/undo")).text


async def test_a_better_answer_is_a_suggestion_and_the_pair_stays(visitor, desk, rows):
    seen = await desk()
    reply = seen.value_of("reply")
    after = await visitor.change("/label/correct", reply=reply, text="A cup of tea, please.")
    assert "counts as the better answer" in after.text
    assert pair_of(after) == pair_of(seen)
    (correction,) = rows(CorrectionRow)
    assert (str(correction.reply_id), correction.text) == (reply, "A cup of tea, please.")
    assert (
        "Change something"
        in (await visitor.change("/label/correct", reply=reply, text=find_text(rows, int(reply)))).text
    )
    assert "not in your session" in (await visitor.change("/label/correct", reply="99999", text="mine")).text


def find_text(rows, reply_id: int) -> str:
    return next(row.answer for row in rows(ReplyRow) if row.id == reply_id)


async def test_a_form_that_no_page_sends_is_refused_in_a_sentence(visitor, desk, rows):
    path = f"/label/pairs/{pair_of(await desk())}"
    for fields in ({}, {"label": "nonsense"}):
        assert "That form is incomplete." in (await visitor.change(path, **fields)).text
    assert rows(ComparisonRow) == []


@pytest.mark.threat("T18")
async def test_answers_are_escaped(visitor, engine, desk):
    engine.answers = [f"<script>alert({i})</script>" for i in range(4)]
    seen = await desk()
    assert "<script>alert" not in seen.html
    assert "&lt;script&gt;alert(" in seen.html


async def test_a_waiting_version_is_compared_with_the_champion(visitor, desk, waiting, rows):
    version = waiting(1.0)
    await desk()
    pair = rows(SittingPairRow)[0]
    versions = {row.version_id for row in rows(ReplyRow) if row.id in (pair.first_id, pair.second_id)}
    assert (pair.chosen_by, versions) == (PairChoice.RIVALS, {None, version.id})
    page = (await visitor.get("/label")).html
    answers = re.findall(r'<article class="card answer".*?</article>', page, re.DOTALL)
    assert len(answers) == 2
    assert not any(name in answer for answer in answers for name in (version.name, "base")), "it is blind"


async def test_half_of_the_bases_answers_are_drawn_beside_the_examples_of_its_card(visitor, desk, engine, query, rows):
    card = Card(examples=(Example(dialogue=("How is the sea?", "Flat. For now.")),))
    query(lambda session: change_card(session, read_personality(session, 1), card, by="test"))
    await desk()
    drawn = rows(ReplyRow)[:ANSWERS]
    assert {row.prompt for row in drawn} <= {request.prompt for request in engine.requests}
    shown = [row for row in drawn if "<user>How is the sea?\n<assistant>Flat. For now.\n<user>" in row.prompt]
    assert len(shown) == ANSWERS / 2
    for row in shown:
        assert [said.get("shown_as") for said in row.messages[-3:]] == [*["example of the card"] * 2, None]
    assert all("How is the sea" not in row.prompt for row in drawn if row not in shown)


async def test_how_often_two_people_agree_is_in_words_and_its_statistic_folded_away(visitor, desk, query):
    seen = await desk()
    for said in ("first", "second"):
        await visitor.change(f"/label/pairs/{pair_of(seen)}", label=said)
        seen = await drawn(visitor)

    def choose_too(session):
        sitting = begin_sitting(session, 1, BOB)
        for said in (Label.FIRST, Label.SECOND):
            assert add_shared_pair(session, sitting)
            label_pair(session, sitting, next_pair(session, sitting).id, said, None)

    query(choose_too)
    shown, _, folded = (await visitor.get("/label")).html.partition("% of them.</p>")
    assert "kappa" not in shown
    assert "<details><summary>Details</summary><p>Cohen’s kappa is" in folded


async def test_a_version_is_asked_without_examples(visitor, desk, release, query, rows):
    card = Card(examples=(Example(dialogue=("How is the sea?", "Flat. For now.")),))
    query(lambda session: change_card(session, read_personality(session, 1), card, by="test"))
    version = release(1.0)
    await desk()
    assert {row.version_id for row in rows(ReplyRow)} == {version.id}
    assert all("How is the sea" not in row.prompt for row in rows(ReplyRow))


async def test_a_model_that_fails_is_a_sentence_and_another_try(visitor, engine, desk):
    engine.finish = Finish.TIMEOUT
    assert "timed out" in (await desk()).text
    engine.finish = Finish.STOP
    await visitor.get("/label/desk")
    assert pair_of(await drawn(visitor, "/label/pairs/", is_there=True))


async def test_the_end_shows_what_was_said_and_offers_a_round(visitor, desk, rows):
    await visitor.change(f"/label/pairs/{pair_of(await desk())}", label="first")
    summary = await visitor.post("/label/end")
    assert summary.path == "/label/summary"
    assert "You made 1 choice" in summary.text
    assert "Left is better 1" in summary.text
    assert rows(SittingRow)[0].ended_at is not None
    assert "session has ended" in (await visitor.change("/label/undo")).text
    assert (await visitor.post("/rounds")).path == "/rounds"
    assert rows(RoundRow)[0].requested_by == "somebody"


async def test_a_label_that_the_database_does_not_take_can_be_given_again(visitor, desk, rows, lock_database):
    path = f"/label/pairs/{pair_of(await desk())}"
    for _ in range(500):
        if len(rows(SittingPairRow)) == AHEAD:
            break
        await asyncio.sleep(0.01)
    lock_database()
    assert "can't reach my database" in (await visitor.change(path, label="first")).text
    assert rows(SittingPairRow)[0].label is None
    await visitor.change(path, label="first")
    assert rows(SittingPairRow)[0].label is Label.FIRST


async def test_the_desk_says_once_that_the_taste_acts_and_a_channel_still_hears_it(visitor, desk, env, query, rows):
    query(lambda session: add_taste(session, 12))
    tastes = env.bot.services.tastes
    tastes.of(1)
    await tastes.refresh()
    await tastes.settle()
    assert "From now on, I begin several answers" in (await desk()).text
    assert "From now on, I begin several answers" not in (await visitor.get("/label")).text
    assert [row.told_of_choosing for row in rows(PersonalityRow)] == [False]


class TestOwnPrompts:
    async def test_they_are_asked_first(self, visitor, desk, rows):
        await visitor.post("/label/prompts", text="Who brews the best tea?\n# a comment\nWho brews the best tea?")
        assert [row.text for row in rows(OwnPromptRow)] == ["Who brews the best tea?"]
        assert "Who brews the best tea?" in (await desk()).text

    async def test_what_was_left_out_is_said(self, visitor):
        await visitor.post("/label/prompts", text="Tea?")
        seen = await visitor.post("/label/prompts", text=f"Tea?\nRain?\nrain?\n{'x' * 1_001}")
        assert "1 prompt added. 2 prompts skipped: already known. 1 prompt skipped: longer than 1,000" in seen.text

    async def test_a_text_file_brings_them_and_they_can_be_removed(self, visitor, rows):
        await visitor.upload("/label/prompts", ("prompts.txt", "\ufeffTea?\nRain?\n".encode()))
        assert [row.text for row in rows(OwnPromptRow)] == ["Tea?", "Rain?"]
        assert "Your own prompts (2)" in (await visitor.get("/label")).text
        await visitor.post("/label/prompts/remove")
        assert rows(OwnPromptRow) == []

    @pytest.mark.threat("T23")
    async def test_what_brings_none_is_refused_in_a_sentence(self, visitor, rows):
        assert "There is no prompt in it" in (await visitor.post("/label/prompts", text="\n# nothing")).text
        assert "not UTF-8 text" in (await visitor.upload("/label/prompts", ("prompts.txt", b"\xff\xfe\x00T"))).text
        seen = await visitor.upload("/label/prompts", ("prompts.txt", b"x" * 2_100_000))
        assert (seen.status, "at most 2 MB" in seen.text) == (413, True)
        seen = await visitor.post("/label/prompts", {"Content-Encoding": "deflate"}, text="Tea?")
        assert (seen.status, "not compressed" in seen.text) == (415, True)
        assert rows(OwnPromptRow) == []
