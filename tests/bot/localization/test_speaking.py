"""Each member reads their own language, and everybody the server's."""

from __future__ import annotations

import discord
import pytest

from bot.app import ReactuneBot
from bot.engine import EngineState
from bot.localization.languages import languages_of
from storage.errors import SettingsError
from tests.bot.environment import changed
from tests.bot.panels import labels

DENIED = "Das dürfen nur Admins: Es braucht „Server verwalten“ oder eine Rolle, die der Betreiber erlaubt hat."


@pytest.fixture
def overrides(tmp_path):
    return {"REACTUNE_DISCORD__TRANSLATIONS": str(tmp_path / "locales")}


async def test_two_members_of_one_server_read_two_languages(place, env):
    env.show_all_commands()
    env.locales[place.ada.id] = "de"
    for _ in range(2):  # a language does not stay with the next one
        assert (await place.ada.slash(place.channel, "version status")).response.content == DENIED
        assert "Only admins can do this" in (await place.bo.slash(place.channel, "version status")).response.content
    page = await place.ada.slash(place.channel, "privacy")
    assert labels(page.response) == ["Lernen verbieten", "Meine Daten holen", "Alles löschen …"]
    asked = await place.ada.click(page.response, label="Alles löschen …")
    assert asked.response.content.startswith("Alles löschen, was ich über dich gespeichert habe")
    page = await place.bo.slash(place.channel, "privacy")
    assert labels(page.response) == ["Forbid learning", "Get my data", "Delete everything …"]


async def test_what_everybody_sees_is_in_the_servers_language(env, add_version):
    version = add_version(1.0)
    german = env.create_guild("Verein", preferred_locale="de")
    channel = german.create_text_channel("allgemein")
    admins = german.create_role("admins", permissions=discord.Permissions(manage_guild=True))
    cleo = german.add_member(env.create_user("cleo"), roles=[admins])
    await cleo.slash(channel, "version promote", version=version.name)
    assert channel.last_message.content == "Ab jetzt antwortet **v1** (vorher: base). Rückgängig: `/version rollback`."
    refused = await cleo.slash(channel, "version promote", version=version.name)
    # A refusal is hers alone.
    assert refused.followups[0].content == "v1 is already in use: nothing was changed."
    await cleo.send(channel, f"{env.bot.user.mention}", attachments=[("gross.txt", bytes(12_500_000))])
    # Sizes are written as the language writes numbers.
    assert channel.last_message.content.startswith("Ich konnte gross.txt nicht öffnen: Die Datei hat 12,5 MB")


async def test_direct_messages_remember_the_members_language(env, place):
    languages = languages_of(env.bot)
    assert languages.of_place(None, place.ada.id).code == "en-US"
    env.locales[place.ada.id] = "pt-BR"
    await place.ada.slash(place.channel, "privacy")
    assert languages.of_place(None, place.ada.id).code == "en-US", "which has no translation"
    env.locales[place.ada.id] = "de"
    await place.ada.slash(place.channel, "privacy")
    assert languages.of_place(None, place.ada.id).code == "de"


async def test_commands_are_described_in_german(env):
    model = next(root for root in env.backend.commands[None].values() if root["name"] == "version")
    assert model["description_localizations"]["de"] == "Beobachten, trainieren, einsetzen und zurücknehmen"
    assert not model.get("name_localizations")
    for root in env.backend.commands[None].values():
        for node in _nodes(root):
            german = (node.get("description_localizations") or {}).get("de", "")
            assert len(german) <= 100
            assert german or not node.get("description"), node


def _nodes(node):
    yield node
    for option in node.get("options") or []:
        yield from _nodes(option)


async def test_a_setting_chooses_the_language_of_every_server(settings, engine, base):
    chosen = changed(settings, "discord", language="tlh")
    with pytest.raises(
        SettingsError, match=r"discord\.language: there is no translation into 'tlh': choose one of en, de"
    ):
        await ReactuneBot(chosen, engine=engine, base=base).setup_hook()


class TestOperatorsLanguage:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_DISCORD__LANGUAGE": "de"}

    async def test_the_status_that_all_servers_see_is_in_it(self, env, engine):
        engine.reported = EngineState(pause_reason="a round trains")
        await env.advance_time(5)
        assert str(env.bot.activity) == "Lernt: gleich zurück"


class TestLongTranslations:
    @pytest.fixture
    def overrides(self, overrides, tmp_path):
        folder = tmp_path / "locales"
        folder.mkdir()
        long = ("What is wrong with it?", "I also delete my record of the answers that used them, with their votes.")
        sentences = [f'msgid "{english}"\nmsgstr "{english * 2}"\n' for english in long]
        (folder / "fr.po").write_text("\n".join(sentences), encoding="utf-8")
        return overrides

    async def test_a_menu_with_one_keeps_its_english_name(self, env):
        menus = [root for root in env.backend.commands[None].values() if root["type"] == 3]
        assert all("de" in menu["name_localizations"] for menu in menus)
        assert all(len(name) <= 32 for menu in menus for name in menu["name_localizations"].values())

    async def test_the_help_of_a_form_is_shortened(self, env, place):
        env.locales[place.ada.id] = "fr"
        await place.ada.slash(place.channel, "me remember", note="I like tea.")
        shown = await place.ada.slash(place.channel, "me show")
        form = await place.ada.click(shown.response, label="Forget notes …")
        (field,) = form.modal["components"]
        assert len(field["description"]) <= 100


async def test_a_broken_translation_stops_the_start(settings, engine, base):
    settings.discord.translations.mkdir()
    path = settings.discord.translations / "fr.po"
    path.write_text('msgid "Edit again"\nmsgstr "Recommencer {vite}"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"fr\.po, line 1: .* has \{vite\}, which the English sentence has not"):
        await ReactuneBot(settings, engine=engine, base=base).setup_hook()
