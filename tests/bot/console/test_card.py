"""A card is edited, tried beside the one of now, and never half-written."""

from __future__ import annotations

from storage.database.tables import CardRevisionRow, PersonalityRow, ReplyRow

CARD = 'description = "dry"\nsystem_prompt = "You keep a lighthouse."\n'


async def save(visitor, toml, *, before=""):
    return await visitor.change("/card", toml=toml, before=before or (await visitor.get("/card")).value_of("before"))


async def test_a_card_is_saved_and_shown_again(visitor, rows):
    assert (await save(visitor, CARD)).headers["HX-Redirect"] == "/card?saved=yes"
    assert "Saved." in (await visitor.get("/card?saved=yes")).text
    assert "You keep a lighthouse." in (await visitor.get("/card")).text
    assert rows(CardRevisionRow)[-1].changed_by == "somebody"
    assert (await visitor.get("/card.toml")).html.splitlines() == CARD.splitlines()


async def test_a_mistake_is_named_and_nothing_changes(visitor, rows):
    before = rows(PersonalityRow)
    for mistake, words in (("system_prompt = ", "not valid TOML"), ('humour = "yes"', "humour")):
        seen = await save(visitor, mistake)
        assert words in seen.text
        assert seen.headers["HX-Retarget"] == "#problem", "the page, and what was typed, stays"
    assert [row.card for row in rows(PersonalityRow)] == [row.card for row in before]


async def test_two_windows_do_not_overwrite_each_other(visitor, rows):
    opened = (await visitor.get("/card")).value_of("before")
    await save(visitor, CARD)
    seen = await save(visitor, CARD.replace("lighthouse", "shop"), before=opened)
    assert "someone else changed the card" in seen.text.lower()
    assert "lighthouse" in (await visitor.get("/card.toml")).html


async def test_a_draft_answers_beside_the_card_of_now(visitor, engine, rows):
    seen = await visitor.change("/card/try", toml=CARD, prompt="Who are you?")
    assert [request.prompt.count("lighthouse") for request in engine.requests[-2:]] == [0, 1]
    assert "the draft" in seen.text
    assert rows(ReplyRow) == []


async def test_another_personality_is_made_once(visitor, rows):
    assert (await visitor.post("/personalities", name="night-owl")).path == "/card"
    assert "The card of night-owl" in (await visitor.get("/card?personality=night-owl")).text
    assert "is taken" in (await visitor.post("/personalities", name="night-owl")).text
    assert "not a valid personality name" in (await visitor.post("/personalities", name="Night Owl")).text
    assert [row.name for row in rows(PersonalityRow)] == ["default", "night-owl"]
