"""Personalities in Discord: created and edited in a form, bound to places, archived and restored."""

from __future__ import annotations

import pytest

from storage.database.enums import AuditOutcome, Scope
from storage.database.tables import AuditRow, BindingRow, CardRevisionRow, PersonalityRow, ReplyRow, RoundRow
from storage.personalities.cards import Card, CardSampling, Example, format_card
from storage.personalities.personalities import archive_personality, create_personality, personality_named
from tests.bot.environment import changed
from tests.bot.panels import labels, offered, said

FIELDS = {
    "description": "A keeper of few words.",
    "system_prompt": "You keep a lighthouse.",
    "greeting": "Evening.",
    "sampling": "temperature = 0.2",
    "examples": "> How is the sea?\nFlat. For now.",
}
KEEPER = Card(system_prompt="You keep a lighthouse.", greeting="Evening.")


@pytest.fixture
def make(query):
    """Create a personality directly in the database."""
    return lambda name="keeper", card=KEEPER, **more: query(
        lambda session: create_personality(session, name, card, by="test", **more)
    )


async def show(place, personality):
    return (await place.grace.slash(place.channel, "personality show", personality=personality)).response


async def bind(place, personality, **options):
    result = await place.grace.slash(place.channel, "personality bind", personality=personality, **options)
    return result.response.content


class TestCreate:
    async def test_a_form_makes_a_personality_of_the_server(self, place, env, rows):
        form = await place.grace.slash(place.channel, "personality create", name="keeper")
        assert form.modal is not None
        done = await place.grace.submit_modal(form, FIELDS)
        assert "Created **keeper**" in done.response.content
        (row,) = [row for row in rows(PersonalityRow) if row.name == "keeper"]
        assert row.guild_id == env.guild.id
        assert Card.model_validate(row.card).examples == (Example(dialogue=("How is the sea?", "Flat. For now.")),)
        (revision,) = rows(CardRevisionRow)
        assert revision.changed_by.startswith("grace")

    async def test_a_refused_name_or_form_makes_nothing(self, place, rows):
        refused = await place.grace.slash(place.channel, "personality create", name="Night Owl")
        assert refused.modal is None
        assert "is not a valid personality name" in refused.response.content
        form = await place.grace.slash(place.channel, "personality create", name="default")
        done = await place.grace.submit_modal(form, FIELDS)
        assert "The name default is taken" in done.response.content
        assert len(rows(PersonalityRow)) == 1

    async def test_a_german_admin_reads_the_mistake_in_german(self, place, env):
        env.locales[place.grace.id] = "de"
        form = await place.grace.slash(place.channel, "personality create", name="keeper")
        done = await place.grace.submit_modal(form, FIELDS | {"sampling": "temperature = 9"})
        problem = "Die Karte: sampling.temperature ist nicht gültig: Es darf höchstens 5 sein."
        assert problem in done.response.content
        card = ("keeper.toml", b"[[examples]]\ndialogue = ['hi', ' ']")
        done = await place.grace.slash(place.channel, "personality import", file=card)
        assert "Beitrag 2 von Beispiel 1 ist leer: Schreib eine Nachricht oder entferne den Dialog." in (
            done.response.content
        )

    async def test_a_form_with_a_mistake_opens_again_with_its_text(self, place, rows):
        form = await place.grace.slash(place.channel, "personality create", name="keeper")
        refused = await place.grace.submit_modal(form, FIELDS | {"sampling": "temperature = 9"})
        assert "sampling.temperature is not valid" in refused.response.content
        assert len(rows(PersonalityRow)) == 1
        again = await place.grace.click(refused.followups[-1], label="Edit again")
        held = {label["component"]["custom_id"]: label["component"]["value"] for label in again.modal["components"]}
        assert held == FIELDS | {"sampling": "temperature = 9"}
        await place.grace.submit_modal(again, held | {"sampling": "temperature = 0.9"})
        (row,) = [row for row in rows(PersonalityRow) if row.name == "keeper"]
        assert row.card["sampling"] == {"temperature": 0.9}


class TestEdit:
    async def test_the_form_shows_the_card_and_the_next_answer_follows_the_change(self, place, make, engine):
        make(card=KEEPER)
        await bind(place, "keeper")
        form = await place.grace.slash(place.channel, "personality edit", personality="keeper")
        await place.grace.submit_modal(form, FIELDS | {"system_prompt": "You keep two lighthouses."})
        await place.ask("hi")
        assert engine.requests[-1].prompt.startswith("<system>You keep two lighthouses.")

    async def test_the_later_of_two_admins_changes_nothing(self, place, make, query):
        make(card=KEEPER)
        forms = [await place.grace.slash(place.channel, "personality edit", personality="keeper") for _ in range(2)]
        await place.grace.submit_modal(forms[0], FIELDS | {"system_prompt": "One."})
        late = await place.grace.submit_modal(forms[1], FIELDS | {"system_prompt": "Two."})
        assert "omeone else just changed the card of keeper" in late.response.content
        assert query(lambda session: personality_named(session, "keeper").card.system_prompt) == "One."

    async def test_examples_that_do_not_fit_into_the_form_are_kept(self, place, make, query):
        many = Card(system_prompt="x", examples=(Example(dialogue=("Hi", "long " * 200)),) * 10)
        make(card=many)
        form = await place.grace.slash(place.channel, "personality edit", personality="keeper")
        fields = {key: text for key, text in FIELDS.items() if key != "examples"}
        await place.grace.submit_modal(form, fields)
        assert query(lambda session: personality_named(session, "keeper").card.examples) == many.examples


class TestServers:
    """The operator's personalities are used in every server, so an admin of one must not change them for all."""

    @pytest.fixture
    def elsewhere(self, env):
        env.create_guild("Elsewhere")

    async def test_the_operators_personality_is_only_changed_in_its_file(self, place, make, env, rows):
        make()
        before = await show(place, "keeper")
        assert labels(before) == ["Edit the card", "Archive", "All personalities"]
        env.create_guild("Elsewhere")
        assert labels(await show(place, "keeper")) == ["All personalities"]
        command = await place.grace.slash(place.channel, "personality edit", personality="keeper")
        edit, archive = [await place.grace.click(before, label=label) for label in ("Edit the card", "Archive")]
        for refused in (command.response, edit.response, archive.followups[-1]):
            assert "Keeper belongs to the operator and is used in other servers too" in refused.content
        assert len(rows(CardRevisionRow)) == 1
        assert [row.archived_at for row in rows(PersonalityRow)] == [None, None]

    @pytest.mark.threat("T77")
    async def test_a_single_server_neither_decides_which_version_answers_everywhere_nor_sees_the_voters_of_others(
        self, place, elsewhere, rows
    ):
        for command, options in (
            ("version promote", {"version": "base"}),
            ("version rollback", {}),
            ("version train", {}),
        ):
            refused = await place.grace.slash(place.channel, command, **options)
            assert "**default** answers in other servers too" in (refused.response or refused.followups[-1]).content
            assert (rows(AuditRow)[-1].action, rows(AuditRow)[-1].outcome) == (command, AuditOutcome.REFUSED)
        assert rows(RoundRow) == []

    async def test_a_server_decides_about_its_own_and_the_operators_roles_about_all(
        self, place, make, env, elsewhere, rows, settings, new_bot
    ):
        server = env.bot.get_guild(place.channel.guild.id)
        make("own", guild_id=server.id)
        await place.grace.slash(place.channel, "version train", personality="own")
        named = tuple(role.id for role in server.roles if role.name == "admins")
        await env.restart_bot(new_bot(changed(settings, "discord", admin_roles=named)))
        await place.grace.slash(place.channel, "version train")
        assert len(rows(RoundRow)) == 2

    async def test_an_import_overwrites_only_a_servers_own(self, place, make, elsewhere, env, query):
        make()
        make("own", guild_id=env.guild.id)
        file = ("keeper.toml", b"system_prompt = 'Insult everybody.'")
        refused = await place.grace.slash(place.channel, "personality import", file=file)
        assert "belongs to the operator" in refused.response.content
        assert query(lambda session: personality_named(session, "keeper").card) == KEEPER
        form = await place.grace.slash(place.channel, "personality edit", personality="own")
        done = await place.grace.submit_modal(form, FIELDS)
        assert done.response.content.startswith("Changed the card of **own**.")

    async def test_a_server_that_the_bot_leaves_keeps_its_bindings_until_its_data_is_deleted(
        self, place, make, env, rows
    ):
        make()
        await bind(place, "keeper", server=True)
        env.backend.remove_guild(env.guild.id)
        await env.settle()
        assert len(rows(BindingRow)) == 1


class TestBind:
    async def test_the_next_answer_is_the_personalitys(self, place, make, engine, rows):
        made = make(card=KEEPER.model_copy(update={"sampling": CardSampling(temperature=0.2)}))
        assert "**keeper** answers in" in await bind(place, "keeper")
        assert place.last.content == "Evening.", "its greeting"
        answer = await place.ask("hi")
        assert answer.content.endswith("-# keeper base")
        (request,) = engine.requests
        assert request.prompt.startswith("<system>You keep a lighthouse.")
        assert (request.sampling.temperature, request.lane) == (0.2, made.id)
        (reply,) = rows(ReplyRow)
        assert (reply.personality_id, reply.strength) == (made.id, 1.0)

    async def test_the_most_specific_place_decides_and_unbinding_undoes_it(self, place, env, make, engine):
        make("keeper", Card(system_prompt="Keeper."))
        make("owl", Card(system_prompt="Owl."))
        await bind(place, "owl", server=True)
        await bind(place, "keeper")
        await place.ask("hi")
        assert engine.requests[-1].prompt.startswith("<system>Keeper.")
        done = await place.grace.slash(place.channel, "personality unbind")
        assert "Unbound **keeper** in" in done.response.content
        await place.ask("hi")
        assert engine.requests[-1].prompt.startswith("<system>Owl.")
        again = await place.grace.slash(place.channel, "personality unbind")
        assert "No personality is bound" in again.response.content

    async def test_a_thread_has_the_personality_of_its_channel_until_it_has_its_own(self, place, env, make, engine):
        make("keeper", Card(system_prompt="Keeper."))
        make("owl", Card(system_prompt="Owl."))
        await bind(place, "keeper")
        started = await place.ada.send(place.channel, "let us talk")
        thread = await place.open_thread(started)
        await place.ada.send(thread, f"{place.mention} hi")
        assert engine.requests[-1].prompt.startswith("<system>Keeper.")
        await place.grace.slash(thread, "personality bind", personality="owl")
        await place.ada.send(thread, f"{place.mention} hi")
        assert engine.requests[-1].prompt.startswith("<system>Owl.")

    async def test_the_strength_is_served_shown_and_recorded(self, place, make, engine, rows, release):
        made = make()
        release(whose=made.id)
        assert "at strength 0.5" in await bind(place, "keeper", strength=0.5)
        answer = await place.ask("hi")
        assert answer.content.endswith("-# keeper v1 at strength 0.5")
        adapter = engine.requests[-1].adapter
        assert adapter is not None
        assert adapter.strength == 0.5
        (reply,) = rows(ReplyRow)
        assert reply.strength == 0.5
        await place.ada.react(answer, "🔁")
        assert [row.strength for row in rows(ReplyRow)] == [0.5, 0.5]
        # The default personality elsewhere has its own versions.
        status = await place.grace.slash(place.channel, "version status", personality="default")
        assert "**Version in use:** base" in said(status.response)
        here = await place.grace.slash(place.channel, "version status")
        assert "personality **keeper**" in said(here.response)
        assert "**Version in use:** v1" in said(here.response)

    async def test_a_servers_binding_survives_a_restart_and_leaves_direct_messages_to_the_default(
        self, place, make, env, new_bot, engine
    ):
        make()
        await bind(place, "keeper", server=True)
        await env.restart_bot(new_bot())
        await place.ask("hi")
        assert engine.requests[-1].prompt.startswith("<system>You keep a lighthouse.")
        await place.ada.send_dm("hi")
        assert "lighthouse" not in engine.requests[-1].prompt


class TestArchived:
    async def test_it_gives_no_further_answers_and_is_not_trained(self, place, make, rows):
        make()
        await bind(place, "keeper")
        answer = await place.ask("hi")
        await place.grace.slash(place.channel, "personality unbind")
        await place.grace.click(await show(place, "keeper"), label="Archive")
        await place.ada.react(answer, "🔁")
        assert len(rows(ReplyRow)) == 1
        refused = await place.grace.slash(place.channel, "version train", personality="keeper")
        assert "Keeper is archived" in refused.followups[-1].content


class TestShow:
    async def test_the_list_says_what_answers_and_where(self, place, make, env):
        make()
        make("far", guild_id=1)
        await bind(place, "keeper", strength=0.5)
        text = (await place.grace.slash(place.channel, "personality show")).response.content
        base = "version base (has not learned yet) · 0 examples"
        assert f"**default** · {base} · answers everywhere else" in text
        assert f"**keeper** · {base} · bound in <#{place.channel.id}> at strength 0.5" in text
        assert "far" not in text
        refused = await place.grace.slash(place.channel, "personality edit", personality="far")
        assert "There is no personality 'far'" in refused.response.content

    async def test_a_long_list_has_pages_with_archived_ones_last(self, place, make, query):
        for number in range(10):
            make(f"one-{number}", Card(description=f"Number {number}."))
        query(lambda session: archive_personality(session, personality_named(session, "one-0")))
        first = await place.grace.slash(place.channel, "personality show")
        assert first.ephemeral
        assert offered(first.response) == ["default", *(f"one-{number}" for number in range(1, 10))]
        last = await place.grace.click(first.response, label="Next")
        assert last.response.content == "**one-0** · version base (has not learned yet) · 0 examples · archived"
        assert labels(last.response) == ["Back"]
        assert offered((await place.grace.click(last.response, label="Back")).response)[0] == "default"

    async def test_one_is_opened_from_the_list_and_the_list_from_it(self, place, make, env, new_bot):
        make()
        listed = (await place.grace.slash(place.channel, "personality show")).response
        await env.restart_bot(new_bot())
        opened = await place.grace.select(listed, ["keeper"])
        assert opened.response.id == listed.id
        assert "**System prompt:** You keep a lighthouse." in opened.response.content
        again = await place.grace.click(opened.response, label="All personalities")
        assert offered(again.response) == ["default", "keeper"]

    async def test_the_card_is_shown_and_edited_from_its_page(self, place, make, query):
        make(card=KEEPER.model_copy(update={"examples": (Example(dialogue=("Hi", "Evening.")),)}))
        shown = await show(place, "keeper")
        assert "Not bound to any channel." in shown.content
        assert "**System prompt:** You keep a lighthouse." in shown.content
        assert "> Hi\nEvening." in shown.content
        form = await place.grace.click(shown, label="Edit the card")
        await place.grace.submit_modal(form, FIELDS | {"system_prompt": "You keep two lighthouses."})
        assert query(lambda s: personality_named(s, "keeper").card.system_prompt) == "You keep two lighthouses."

    async def test_one_that_does_not_fit_is_attached_and_goes_with_its_page(self, place, make):
        make(card=Card(system_prompt="You keep a lighthouse. " * 100))
        opened = await show(place, "keeper")
        (file,) = opened.attachments
        assert file.filename == "keeper.toml"
        listed = (await place.grace.click(opened, label="All personalities")).response
        assert listed.attachments == []

    async def test_an_admin_who_lost_the_right_changes_nothing(self, place, make, env, rows):
        make()
        opened = await show(place, "keeper")
        await place.take_roles(place.grace)
        refused = await place.grace.click(opened, label="Archive")
        assert "Only admins can do this" in refused.response.content
        assert [row.archived_at for row in rows(PersonalityRow)] == [None, None]
        assert (rows(AuditRow)[-1].action, rows(AuditRow)[-1].outcome) == ("personality archive", AuditOutcome.REFUSED)


class TestInGerman:
    async def test_a_german_admin_reads_german_and_the_audit_trail_stays_english(self, place, env, rows):
        env.locales[place.grace.id] = "de"
        form = await place.grace.slash(place.channel, "personality create", name="keeper")
        assert form.modal["title"] == "keeper anlegen"
        assert [label["label"] for label in form.modal["components"]][:2] == ["Beschreibung", "Systemprompt"]
        refused = await place.grace.submit_modal(form, FIELDS | {"sampling": "warm"})
        again = await place.grace.click(refused.followups[-1], label="Nochmal bearbeiten")
        assert again.modal["title"] == "keeper anlegen"
        done = await place.grace.submit_modal(again, FIELDS)
        assert done.response.content.startswith("**keeper** ist angelegt. Als Nächstes lässt du sie mit")
        bound = await bind(place, "keeper", strength=0.5)
        where = f"in <#{place.channel.id}> mit Stärke 0,5"
        assert bound == f"Ab der nächsten Nachricht antwortet **keeper** {where}. Rückgängig: `/personality unbind`."
        opened = await show(place, "keeper")
        assert labels(opened) == ["Karte bearbeiten", "Archivieren", "Alle Persönlichkeiten"]
        shown = opened.content
        assert "**keeper** · Version base (hat noch nichts gelernt und folgt den Beispielen auf der Karte)" in shown
        assert f"Gebunden: {where}." in shown
        assert "**Erscheint** als der Bot selbst" in shown
        elsewhere = env.guild.create_text_channel("elsewhere")
        refused = await place.grace.slash(elsewhere, "personality unbind")
        assert refused.response.content.startswith("An diesem Ort selbst ist keine Persönlichkeit gebunden.")
        assert "No personality is bound in this place itself" in [row.note for row in rows(AuditRow)][-1]


class TestArchive:
    async def test_a_bound_one_is_refused_then_archived_and_restored(self, place, make, rows):
        make()
        await bind(place, "keeper")
        refused = await place.grace.click(await show(place, "keeper"), label="Archive")
        assert "bound to a place" in refused.followups[-1].content
        await place.grace.slash(place.channel, "personality unbind")
        opened = await show(place, "keeper")
        archived = (await place.grace.click(opened, label="Archive")).response
        assert archived.content.startswith("Archived **keeper**.")
        assert labels(archived) == ["Edit the card", "Restore", "All personalities"]
        assert "archived" in await bind(place, "keeper")
        assert rows(BindingRow) == []
        restored = (await place.grace.click(archived, label="Restore")).response
        assert restored.content.startswith("Restored **keeper**. Next, use")
        assert "**keeper** answers in" in await bind(place, "keeper")
        actions = [(row.action, row.outcome.value) for row in rows(AuditRow) if row.action.startswith("personality a")]
        assert actions == [("personality archive", "refused"), ("personality archive", "done")]

    async def test_the_second_of_two_clicks_changes_nothing(self, place, make, rows):
        make()
        pages = [await show(place, "keeper") for _ in range(2)]
        first, second = [await place.grace.click(page, label="Archive") for page in pages]
        assert first.response.content.startswith("Archived **keeper**.")
        assert second.response.content.startswith("**keeper**")
        assert [row.action for row in rows(AuditRow)].count("personality archive") == 1

    async def test_a_place_that_was_deleted_while_the_bot_was_offline_is_unbound(self, place, make, env, new_bot, rows):
        make()
        other = place.channel.guild.create_text_channel("other")
        for channel in (place.channel, other):
            await place.grace.slash(channel, "personality bind", personality="keeper")
        with env.gap():
            env.backend.delete_channel(other.id)
        await env.restart_bot(new_bot())
        await env.settle()
        assert [row.place_id for row in rows(BindingRow)] == [place.channel.id]


class TestFiles:
    @pytest.fixture
    def overrides(self, tmp_path):
        folder = tmp_path / "personalities"
        folder.mkdir()
        (folder / "keeper.toml").write_text(format_card(KEEPER))
        (folder / "owl.toml").write_text("system_promt = 'x'")
        return {}

    async def test_cards_in_the_folder_are_read_at_the_start_and_a_broken_one_is_logged(self, place, rows, caplog):
        assert [row.name for row in rows(PersonalityRow)] == ["default", "keeper"]
        told = [record.getMessage() for record in caplog.get_records("setup") if record.levelname == "ERROR"]
        assert len(told) == 1
        assert "owl.toml: system_promt is not a key of a card" in told[0]

    async def test_an_exported_card_is_imported_elsewhere_and_an_invalid_one_refused(self, place, rows, query):
        sent = await place.grace.slash(place.channel, "personality export", personality="keeper")
        (file,) = sent.response.attachments
        assert file.filename == "keeper.toml"
        again = ("keeper.toml", await file.read())
        done = await place.grace.slash(place.channel, "personality import", file=again, name="copy")
        assert "**copy** was created" in done.response.content
        assert query(lambda session: personality_named(session, "copy").card) == KEEPER
        bad = ("bad.toml", b"system_promt = 'x'")
        done = await place.grace.slash(place.channel, "personality import", file=bad)
        assert "bad.toml: system_promt is not a key of a card" in done.response.content
        assert [row.name for row in rows(PersonalityRow)] == ["default", "keeper", "copy"]


def test_scopes_are_in_order_of_how_specific_they_are():
    assert list(Scope) == [Scope.THREAD, Scope.CHANNEL, Scope.CATEGORY, Scope.SERVER]
