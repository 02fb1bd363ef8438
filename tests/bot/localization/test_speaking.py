"""Each member reads their own language, and everybody the server's."""

from __future__ import annotations

import pytest

from bot.app import ReactuneBot
from bot.localization.languages import languages_of
from storage.errors import SettingsError

DENIED = "Das dürfen nur Admins: Es braucht „Server verwalten“ oder eine Rolle, die der Betreiber erlaubt hat."


@pytest.fixture
def overrides(tmp_path):
    return {"REACTUNE_DISCORD__TRANSLATIONS": str(tmp_path / "locales")}


async def test_two_members_of_one_server_read_two_languages(place, env):
    for root in env.backend.commands[None].values():
        root.update(default_member_permissions=None)
    env.locales[place.ada.id] = "de"
    for _ in range(2):  # a language does not stay with the next one
        assert (await place.ada.slash(place.channel, "model status")).response.content == DENIED
        assert "Only admins can do this" in (await place.bo.slash(place.channel, "model status")).response.content


async def test_what_everybody_sees_is_in_the_servers_language(env, place):
    german = env.create_guild("Verein", preferred_locale="de")
    languages = languages_of(env.bot)
    assert languages.of_server(german.id).code == "de"
    assert languages.of_server(place.channel.guild.id).code == "en-US"


async def test_commands_are_described_in_german(env):
    model = next(root for root in env.backend.commands[None].values() if root["name"] == "model")
    assert model["description_localizations"]["de"] == "Beobachten, trainieren, befördern und zurückrollen"
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
    chosen = settings.model_copy(
        update={"discord": settings.discord.model_copy(update={"language": "tlh"})},
    )
    with pytest.raises(
        SettingsError, match=r"discord\.language: there is no translation into 'tlh': choose one of en, de"
    ):
        await ReactuneBot(chosen, engine=engine, base=base).setup_hook()


async def test_a_broken_translation_stops_the_start(settings, engine, base):
    settings.discord.translations.mkdir()
    path = settings.discord.translations / "fr.po"
    path.write_text('msgid "Start over"\nmsgstr "Recommencer {vite}"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"fr\.po, line 1: .* has \{vite\}, which the English sentence has not"):
        await ReactuneBot(settings, engine=engine, base=base).setup_hook()
