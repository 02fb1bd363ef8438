"""Cards are edited, tried and never half-written; personalities are bound, imported, exported and put away."""

from __future__ import annotations

import re
from html import unescape
from io import BytesIO
from zipfile import ZipFile

import pytest

from bot.console.card_drafts import turn_field
from storage.database.enums import AuditOutcome, Scope
from storage.database.tables import AuditRow, BindingRow, CardRevisionRow, DocumentRow, PersonalityRow, ReplyRow
from storage.personalities.bindings import BindingPlace, bind, find_binding
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality, personality_named
from tests.storage.personalities.test_tavern import card_of, picture_of, plain_picture
from tests.word_encoder import WordEncoder

CARD = 'description = "dry"\nsystem_prompt = "You keep a lighthouse."\n'
PAGE = "/personalities"
KEEPER = "/personalities?personality=keeper"


@pytest.fixture
def load_encoder():
    return WordEncoder


@pytest.fixture
def keeper(place, query):
    card = Card(system_prompt="Few words.", greeting="Evening.")
    return query(lambda session: create_personality(session, "keeper", card, by="test"))


async def save(visitor, toml, *, before=""):
    return await visitor.change(
        f"{PAGE}/card", toml=toml, before=before or (await visitor.get(PAGE)).value_of("before")
    )


async def write(visitor, **typed):
    """Save a card with these fields."""
    before = (await visitor.get(PAGE)).value_of("before")
    return await visitor.change(f"{PAGE}/card", before=before, **typed)


class TestCard:
    async def test_it_is_saved_and_shown_again(self, visitor, rows):
        assert (await save(visitor, CARD)).headers["HX-Redirect"] == f"{PAGE}?saved=yes"
        assert "Saved." in (await visitor.get(f"{PAGE}?saved=yes")).text
        assert "You keep a lighthouse." in (await visitor.get(PAGE)).text
        assert rows(CardRevisionRow)[-1].changed_by == "somebody"
        assert (await visitor.get(f"{PAGE}/card.toml")).html.splitlines() == CARD.splitlines()

    async def test_a_mistake_is_named_beside_what_was_typed_and_nothing_changes(self, visitor, rows):
        before = rows(PersonalityRow)
        for mistake, words in (
            ("system_prompt = ", "not valid TOML"),
            ('humour = "yes"', "humour is not a key"),
            ("[sampling]\ntemprature = 1", "Did you mean temperature?"),
        ):
            seen = await save(visitor, mistake)
            assert words in seen.text
            assert mistake.strip() in unescape(seen.html)
            assert seen.headers["HX-Retarget"] == "#card"
        opened = (await visitor.get(PAGE)).value_of("before")
        whole_page = (await visitor.post(f"{PAGE}/card", toml="humour = 1", before=opened)).text
        assert "humour is not a key" in whole_page, "without scripts too"
        assert "Where default speaks" in whole_page
        assert [row.card for row in rows(PersonalityRow)] == [row.card for row in before]

    async def test_it_is_written_in_fields_and_stands_beside_them_as_toml(self, visitor, rows):
        said = {turn_field(0, 0): "Tea?", turn_field(0, 1): "Always.", turn_field(1, 0): "", turn_field(1, 1): ""}
        await write(visitor, system_prompt="You keep a lighthouse.", temperature="0,7", **said)
        card = rows(CardRevisionRow)[-1].card
        assert card["system_prompt"] == "You keep a lighthouse."
        assert card["sampling"] == {"temperature": 0.7}
        assert card["examples"] == [{"dialogue": ["Tea?", "Always."]}]
        page = await visitor.get(PAGE)
        assert page.html.count("Always.") == 2, "as a field, and in the TOML"
        await write(
            visitor, system_prompt="You keep a lighthouse.", **said | {turn_field(0, 0): "", turn_field(0, 1): ""}
        )
        assert "examples" not in rows(CardRevisionRow)[-1].card

    @pytest.mark.parametrize("typed", ["1000", "1,000", "1.000"])
    async def test_a_thousand_is_no_one(self, visitor, rows, typed):
        await write(visitor, system_prompt="x", max_new_tokens=typed)
        assert rows(CardRevisionRow)[-1].card["sampling"] == {"max_new_tokens": 1000}

    async def test_many_examples_are_folded_until_one_needs_another_look(self, visitor, rows):
        def typed(number):
            return {turn_field(at, turn): f"Tea {at}?" for at in range(number) for turn in (0, 1)}

        await write(visitor, system_prompt="x", **typed(4))
        assert "<details open><summary>Examples" in (await visitor.get(PAGE)).html
        await write(visitor, system_prompt="x", **typed(5))
        assert "<details><summary>Examples" in (await visitor.get(PAGE)).html
        wrong = await write(visitor, system_prompt="x", **typed(5) | {turn_field(4, 1): ""})
        assert "<details open><summary>Examples" in wrong.html

    async def test_mistakes_stand_at_their_fields_and_what_was_typed_stays(self, visitor, rows):
        typed = {"display_name": "@everyone", "temperature": "warm", "top_p": "7", turn_field(0, 0): "Tea?"}
        seen = await write(visitor, description="Keeper", prompt="Who are you?", **typed, **{turn_field(0, 1): ""})
        assert seen.headers["HX-Retarget"] == "#card"
        assert ">Who are you?</textarea>" in seen.html
        for name, words in (
            ("display_name", "It must not contain '@'"),
            ("temperature", "Write a number, such as 0.7."),
            ("top_p", "It must be less than or equal to 1."),
            (turn_field(0, 1), "It is blank: write a message, or remove the dialogue."),
        ):
            (said,) = re.findall(rf'id="{name}-mistake"[^>]*>([^<]*)<', seen.html)
            assert words in unescape(said)
        assert all(f'value="{value}"' in seen.html for value in ("@everyone", "warm", "7", "Keeper"))
        assert "Tea?" in seen.html
        assert "It must say how to talk" in (await write(visitor)).text
        assert rows(CardRevisionRow) == []

    @pytest.mark.threat("T23")
    async def test_what_would_fill_the_memory_is_refused_in_one_sentence(self, visitor, place):
        many = ".".join("a" * 3_000) + " = 1"
        for path, fields in ((f"{PAGE}/card/try", {"toml": many}), (f"{PAGE}/card", {"toml": many})):
            assert "a key of more than 2 parts" in (await visitor.change(path, **fields)).text
        imported = await visitor.upload(f"{PAGE}/import", ("keeper.toml", many.encode()))
        assert "a key of more than 2 parts" in imported.text
        for name, said in (
            ("toml", "“toml” has more than 500,000 characters"),
            ("prompt", "“prompt” has more than 10,000 characters"),
        ):
            seen = await visitor.change(f"{PAGE}/card/try", **{"toml": CARD, name: "x" * 600_000})
            assert (said in seen.text, len(seen.text) < 200) == (True, True)
        for path, field in ((PAGE, "name"), ("/playground?", "version")):
            seen = await visitor.change(path, question="Hi", answers="1", **{field: "x" * 9_000})
            assert ("xxx" in seen.text, len(seen.text) < 400) == (True, True)

    @pytest.mark.threat("T24")
    async def test_two_admins_do_not_overwrite_each_other(self, visitor, colleague):
        opened = (await colleague.get(PAGE)).value_of("before")
        await save(visitor, CARD)
        seen = await save(colleague, CARD.replace("lighthouse", "shop"), before=opened)
        assert "Someone else changed the card since you opened it" in seen.text
        assert "shop" in seen.html, "what was typed stays"
        assert "lighthouse" in (await visitor.get(f"{PAGE}/card.toml")).html

    async def test_a_draft_answers_beside_the_card_of_now(self, visitor, engine, rows):
        seen = await visitor.change(f"{PAGE}/card/try", toml=CARD, prompt="Who are you?")
        assert [request.prompt.count("lighthouse") for request in engine.requests[-2:]] == [0, 1]
        assert "the draft" in seen.text
        assert rows(ReplyRow) == []

    async def test_a_draft_follows_its_examples_until_a_version_has_learned_them(self, visitor, engine, release):
        draft = f'{CARD}[[examples]]\ndialogue = ["Hi", "Evening."]\n'
        await visitor.change(f"{PAGE}/card/try", toml=draft, prompt="Who are you?")
        assert [request.prompt.count("Evening.") for request in engine.requests[-2:]] == [0, 1]
        await save(visitor, draft)
        assert "has not learned yet and follows the examples on its card" in (await visitor.get(PAGE)).text
        release(1.0)
        await visitor.change(f"{PAGE}/card/try", toml=draft, prompt="Who are you?")
        assert [request.prompt.count("Evening.") for request in engine.requests[-2:]] == [0, 0]
        assert "has not learned yet" not in (await visitor.get(PAGE)).text


class TestPlaces:
    async def test_one_is_bound_to_a_channel_greets_and_is_unbound(self, visitor, keeper, place, query, rows):
        page = await visitor.get(KEEPER)
        assert "nowhere yet" in page.text
        chosen = {"server": str(place.channel.guild.id), "place": str(place.channel.id), "strength": "0.5"}
        await visitor.post(f"{PAGE}/bind?personality=keeper", **chosen)
        (bound,) = rows(BindingRow)
        assert (bound.scope, bound.place_id, bound.strength, bound.bound_by) == (
            Scope.CHANNEL,
            place.channel.id,
            0.5,
            "somebody",
        )
        assert place.last.content == "Evening."
        assert "#general in Server at strength 0.5" in (await visitor.get(PAGE)).text
        assert "#general (now keeper)" in (await visitor.get(PAGE)).text
        unbound = {"scope": "channel", "place": str(place.channel.id)}
        await visitor.post(f"{PAGE}/unbind?personality=keeper", **unbound)
        assert rows(BindingRow) == []
        assert [row.action for row in rows(AuditRow)] == ["console bind", "console unbind"]
        await visitor.post(f"{PAGE}/bind?personality=keeper", **chosen | {"place": ""})
        assert rows(BindingRow)[0].scope is Scope.SERVER
        assert "all of Server at strength 0.5" in (await visitor.get(KEEPER)).text

    async def test_what_another_admin_bound_there_since_is_not_unbound(self, visitor, colleague, keeper, place, query):
        where, guild_id = BindingPlace(Scope.CHANNEL, place.channel.id), place.channel.guild.id
        query(lambda s: bind(s, where, keeper, guild_id=guild_id, strength=1, by="test"))
        await visitor.get(KEEPER)
        await colleague.post(f"{PAGE}/bind", server=str(guild_id), place=str(place.channel.id), strength="1")
        stale = {"scope": "channel", "place": str(place.channel.id)}
        refused = await visitor.change(f"{PAGE}/unbind?personality=keeper", **stale)
        assert "It is not bound there any more" in refused.text
        assert query(lambda s: find_binding(s, where)).personality_id == 1

    async def test_a_place_that_is_not_offered_is_refused(self, visitor, keeper, place, rows):
        offered = {"server": str(place.channel.guild.id), "place": str(place.channel.id), "strength": "1"}
        for changed, words in (
            ({"server": "7"}, "serve that server"),
            ({"place": "7"}, "see this channel"),
            ({"strength": "9"}, "form is incomplete"),
            ({"strength": "nan"}, "form is incomplete"),
            ({"server": "x"}, "form is incomplete"),
        ):
            assert words in (await visitor.change(f"{PAGE}/bind?personality=keeper", **offered | changed)).text
            assert rows(BindingRow) == []

    async def test_the_channels_of_another_server_are_a_choice_away(self, visitor, place, env):
        other = env.create_guild("Another")
        other.create_text_channel("harbour")
        page = await visitor.get(PAGE)
        assert "#harbour" in page.text, "the first by name"
        assert "#general" not in page.text
        assert "#general" in (await visitor.get(f"{PAGE}?server={place.channel.guild.id}")).text


class TestFiles:
    async def test_another_personality_is_made_once(self, visitor, rows):
        assert (await visitor.post(PAGE, name="night-owl")).path == PAGE
        assert "The card of night-owl" in (await visitor.get(f"{PAGE}?personality=night-owl")).text
        assert "is taken" in (await visitor.post(PAGE, name="night-owl")).text
        assert "not a valid personality name" in (await visitor.post(PAGE, name="Night Owl")).text
        assert [row.name for row in rows(PersonalityRow)] == ["default", "night-owl"]

    async def test_a_card_is_imported_from_a_file(self, visitor, query, rows):
        seen = await visitor.upload(f"{PAGE}/import", ("owl.toml", CARD.encode()), name="")
        assert "owl was created with 0 examples." in seen.text
        assert "The card of owl" in (await visitor.get(f"{PAGE}?personality=owl")).text
        assert query(lambda session: personality_named(session, "owl").card.description) == "dry"
        assert (rows(AuditRow)[-1].action, rows(AuditRow)[-1].subject) == ("console import card", "owl")

    async def test_a_card_of_sillytavern_says_what_was_left_out_and_its_lorebook_becomes_a_document(
        self, visitor, place, query, rows
    ):
        book = {"entries": [{"keys": ["lamp"], "content": "Burns oil."}]}
        card = card_of(character_book=book, **{"<b>hats</b>": 1})
        seen = await visitor.upload(
            f"{PAGE}/import", ("x.png", picture_of(card)), name="", lorebook=str(place.channel.guild.id)
        )
        assert "ebba-lind was created with 2 examples." in seen.text
        assert "&lt;b&gt;hats&lt;/b&gt;" in seen.html
        assert "The lorebook (1 entry) became document 1 (1 passage) of the server" in seen.text
        assert rows(DocumentRow)[0].personality_id == query(lambda s: personality_named(s, "ebba-lind")).id
        again = await visitor.upload(f"{PAGE}/import", ("x.png", picture_of(card)), name="")
        assert "and that personality exists" in again.text
        chosen = await visitor.upload(f"{PAGE}/import", ("x.png", picture_of(card)), name="ebba-lind")
        assert "The lorebook was left out" in chosen.text

    @pytest.mark.threat("T20")
    async def test_a_file_that_is_no_card_is_refused(self, visitor, rows):
        for file, content, words in (
            ("owl.toml", b"system_promt = 'x'", "owl.toml: system_promt is not a key of a card"),
            ("owl.toml", b"\xff", "not valid TOML"),
            ("owl.toml", b"base = 'other'\nsystem_prompt = 'x'", "is for the base model"),
            ("owl.zip", b"PK", "whose name ends with .toml, .json, .png"),
            ("owl.json", b"{", "owl.json cannot be read, because its JSON is damaged"),
            ("owl.png", plain_picture({}), "is a picture without a character card"),
            ("../Owl.toml", CARD.encode(), "not a valid personality name"),
        ):
            assert words in (await visitor.upload(f"{PAGE}/import", (file, content), name="")).text
            assert [row.name for row in rows(PersonalityRow)] == ["default"]

    async def test_a_version_is_exported_with_its_adapter_and_card(self, visitor, add_version, rows):
        add_version(1.0)
        await save(visitor, CARD)
        response = await visitor.download(f"{PAGE}/export?version=v1")
        with ZipFile(BytesIO(response)) as archive:
            assert {"adapter_model.safetensors", "card.toml", "README.md"} <= set(archive.namelist())
        assert (rows(AuditRow)[-1].action, rows(AuditRow)[-1].subject) == ("console export", "v1")
        assert "There is no version v9" in (await visitor.get(f"{PAGE}/export?version=v9")).text

    async def test_one_is_archived_unless_it_is_bound_and_restored(self, visitor, keeper, place, query, rows):
        where = BindingPlace(Scope.CHANNEL, place.channel.id)
        query(lambda s: bind(s, where, keeper, guild_id=place.channel.guild.id, strength=1, by="test"))
        assert "bound to a place" in (await visitor.change(f"{PAGE}/archive?personality=keeper")).text
        await visitor.post(f"{PAGE}/unbind?personality=keeper", scope="channel", place=str(place.channel.id))
        await visitor.post(f"{PAGE}/archive?personality=keeper")
        assert "Archived: keeper" in (await visitor.get(PAGE)).text
        assert "keeper is archived" in (await visitor.get(KEEPER)).text
        await visitor.post(f"{PAGE}/restore?personality=keeper")
        assert "Archived:" not in (await visitor.get(PAGE)).text
        assert rows(AuditRow)[0].outcome is AuditOutcome.REFUSED


class TestServerAdmin:
    """Whoever administers one of two servers."""

    @pytest.fixture
    def visitor(self, visitor, env, place, limit_visitor):
        self.own, self.other = place.channel.guild, env.create_guild("Other")
        self.harbour = self.other.create_text_channel("harbour")
        limit_visitor(place.grace.id, self.own.id)
        return visitor

    @pytest.mark.threat("T19")
    async def test_they_see_no_place_of_the_other_server_and_bind_nothing_there(self, visitor, keeper, query, rows):
        there = BindingPlace(Scope.CHANNEL, self.harbour.id)
        query(lambda s: bind(s, there, keeper, guild_id=self.other.id, strength=1, by="test"))
        page = await visitor.get(KEEPER)
        assert "harbour" not in page.text
        assert "Other" not in page.text
        fields = {"server": str(self.other.id), "place": str(self.harbour.id), "strength": "1"}
        assert "serve that server" in (await visitor.change(f"{PAGE}/bind", **fields)).text
        stale = {"scope": "channel", "place": str(self.harbour.id)}
        assert "not bound there" in (await visitor.change(f"{PAGE}/unbind?personality=keeper", **stale)).text
        assert (await visitor.get("/overview/health")).status == 404, "it is the operator's"
        assert "Health" not in (await visitor.get("/")).text
        assert [row.personality_id for row in rows(BindingRow)] == [keeper.id]

    @pytest.mark.threat("T19")
    async def test_they_change_their_servers_personality_and_not_the_operators(self, visitor, keeper, query, rows):
        assert "belongs to the operator" in (await save(visitor, CARD)).text
        assert "other servers too" in (await visitor.change("/versions/rollback", seen="0")).text
        assert "serve that server" in (await visitor.change(PAGE, name="ours", server=str(self.other.id))).text
        await visitor.post(PAGE, name="ours", server=str(self.own.id))
        assert query(lambda session: personality_named(session, "ours").guild_id) == self.own.id
        ours = f"{PAGE}?personality=ours"
        said = {
            "before": (await visitor.get(ours)).value_of("before"),
            turn_field(0, 0): "Tea?",
            turn_field(0, 1): "Yes.",
        }
        done = await visitor.change(f"{PAGE}/card?personality=ours", **said)
        assert "HX-Redirect" in done.headers
        refused = await visitor.upload(f"{PAGE}/import", ("keeper.toml", CARD.encode()), server=str(self.own.id))
        assert "belongs to the operator" in refused.text
        assert len(rows(CardRevisionRow)) == 3, "keeper, ours, and the example"

    async def test_a_lorebook_goes_to_their_server_whatever_they_send(self, visitor, rows):
        card = card_of(character_book={"entries": [{"keys": ["lamp"], "content": "Burns oil."}]})
        sent = {"server": str(self.own.id), "lorebook": str(self.other.id)}
        await visitor.upload(f"{PAGE}/import", ("x.json", card), **sent)
        assert [row.guild_id for row in rows(DocumentRow)] == [self.own.id]
        assert (
            "serve that server"
            in (await visitor.upload(f"{PAGE}/import", ("x.json", card), name="y", server=str(self.other.id))).text
        )


async def test_names_of_others_are_escaped(visitor, place, env):
    env.create_guild("<b>Z</b>").create_text_channel("tea")
    html = (await visitor.get(PAGE)).html
    assert "<b>Z" not in html
    assert "<b>Z</b>" in unescape(re.sub(r"<[^>]+>", "", html))
