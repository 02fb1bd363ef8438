"""Chooses the language: a member's own for what only they see, the server's for what everybody sees.

Also translates what Discord shows about commands: descriptions, choices and menus, not the names of slash
commands, because the docs name them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path
from string import Formatter
from typing import Any

import discord
from babel.messages import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from discord import app_commands
from discord.app_commands import TranslationContextLocation, TranslationContextTypes, locale_str
from discord.ext import commands

from bot.localization.sentences import ENGLISH, Language
from bot.recent import Recent
from storage.errors import SettingsError
from storage.settings.sections import DiscordSettings
from storage.wording import shorten

MAX_NAME_CHARS, MAX_DESCRIPTION_CHARS = 32, 100  # Discord's limits, above which it refuses all commands
TRANSLATED = frozenset(
    {
        TranslationContextLocation.command_description,
        TranslationContextLocation.group_description,
        TranslationContextLocation.parameter_description,
        TranslationContextLocation.choice_name,
    }
)
SHIPPED = Path(__file__).with_name("catalogues")
SUFFIX = ".po"
MAX_QUOTED_CHARS = 60
CODES = frozenset(locale.value for locale in discord.Locale)
LANGUAGES = CODES | {code.partition("-")[0] for code in CODES}
"""The languages of Discord's settings, and each without its country."""


class Languages(app_commands.Translator):
    """The languages of a bot; its command tree holds them."""

    def __init__(
        self, client: discord.Client, settings: DiscordSettings, chosen_by_server: Callable[[int], str]
    ) -> None:
        """Read the catalogues; raises SettingsError if one of them, or discord.language, cannot be used.

        `chosen_by_server` returns the code that a server's admins chose, or an empty text.
        """
        self._client = client
        self._chosen_by_server = chosen_by_server
        catalogues = read_catalogues(settings.translations)
        self._languages = {code: Language(code, found) for code, found in catalogues.items()}
        known = {locale: self._known(locale.value) for locale in discord.Locale}
        self._translated = {locale: language for locale, language in known.items() if language not in (None, ENGLISH)}
        """Discord's locales with a translation. discord.py asks for each locale that Discord has."""
        self._members = Recent[Language]()
        self._chosen_by_operator = self._require(settings) if settings.language else None

    @property
    def codes(self) -> list[str]:
        """Return the languages that the bot speaks, English first."""
        return ["en", *sorted(self._languages.keys() - {"en"})]

    def find(self, code: str) -> Language:
        """Return the language of a code of Discord, such as "pt-BR": that one, else Portuguese, else English."""
        return self._known(code) or ENGLISH

    def of_member(self, interaction: discord.Interaction) -> Language:
        """Return the language that a member has chosen in Discord, and remember it for their direct messages."""
        self._members.pop(interaction.user.id, None)
        language = self._members[interaction.user.id] = self.find(interaction.locale.value)
        return language

    def of_server(self, guild_id: int | None) -> Language:
        """Return the language that its admins chose, else the one that holds without a choice."""
        chosen = self._known(self._chosen_by_server(guild_id)) if guild_id else None
        return chosen or self.without_choice(guild_id)

    def without_choice(self, guild_id: int | None) -> Language:
        """Return discord.language, else the server's language in Discord; outside of servers English."""
        guild = self._client.get_guild(guild_id) if guild_id else None
        return self._chosen_by_operator or (self.find(guild.preferred_locale.value) if guild else ENGLISH)

    def of_channel(self, channel_id: int, member_id: int = 0) -> Language:
        """Return the language of posts in a channel; in direct messages the member's."""
        guild = getattr(self._client.get_channel(channel_id), "guild", None)
        return self.of_place(guild.id if guild else None, member_id)

    def of_event(self, event: discord.Message | discord.RawReactionActionEvent) -> Language:
        """Return the language of the place of a message or a reaction."""
        if isinstance(event, discord.Message):
            guild_id, member_id = event.guild.id if event.guild else None, event.author.id
        else:
            guild_id, member_id = event.guild_id, event.user_id
        return self.of_place(guild_id, member_id)

    def of_place(self, guild_id: int | None, member_id: int) -> Language:
        """Return the server's language, or in direct messages the one that the member was last seen with."""
        known = None if guild_id else self._members.get(member_id)
        return known or self.of_server(guild_id)

    async def translate(
        self, string: locale_str, locale: discord.Locale, context: TranslationContextTypes
    ) -> str | None:
        """Return the translation; None if a text has none, or a menu too long a one, so that Discord shows English."""
        is_menu = isinstance(context.data, app_commands.ContextMenu)  # whose name is all that members see of it
        language = self._translated.get(locale)
        if language is None or (context.location not in TRANSLATED and not is_menu):
            return None
        translated = language.translations.gettext(string.message)
        if translated == string.message or (is_menu and len(translated) > MAX_NAME_CHARS):
            return None
        return shorten(translated, MAX_DESCRIPTION_CHARS)

    def _known(self, code: str) -> Language | None:
        """Return the language of a code, or that of its code without the country; None if there is neither."""
        general = code.partition("-")[0]
        return self._languages.get(code) or self._languages.get(general) or (ENGLISH if general == "en" else None)

    def _require(self, settings: DiscordSettings) -> Language:
        code = settings.language
        if (language := self._known(code)) is None:
            raise SettingsError(
                f"discord.language: there is no translation into {code!r}: choose one of {', '.join(self.codes)}, or "
                f"add {settings.translations / code}.po (docs/languages.md)"
            )
        return language


def languages_of(client: discord.Client) -> Languages:
    assert isinstance(client, commands.Bot | commands.AutoShardedBot)
    assert isinstance(client.tree.translator, Languages)
    return client.tree.translator


def read_catalogues(folder: Path) -> dict[str, GNUTranslations]:
    """Return the translations by language; a sentence that the operator's file lacks is taken from the bot's own.

    Raises SettingsError, with the file and the line, if one of them cannot be used.
    """
    catalogues = dict(_shipped())
    for language, read in _read_all(folder):
        if language in catalogues:
            read.add_fallback(catalogues[language])
        catalogues[language] = read
    return catalogues


@cache
def _shipped() -> dict[str, GNUTranslations]:
    """Return the translations that come with the bot; their files are read once per process."""
    return dict(_read_all(SHIPPED))


def _read_all(folder: Path) -> Iterator[tuple[str, GNUTranslations]]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        language = path.stem.replace("_", "-")
        if language not in LANGUAGES:
            raise SettingsError(
                f"{path}: Discord has no language {shorten(language, MAX_QUOTED_CHARS)!r}: name the file after one of "
                f"{', '.join(sorted(LANGUAGES))}"
            )
        yield language, _compile(read_catalogue(path))


def read_catalogue(path: Path) -> Catalog:
    """Return the file's messages; raises SettingsError if it isn't a catalogue, or if a placeholder does not fit."""
    try:
        with path.open("rb") as file:
            catalogue = read_po(file, abort_invalid=True)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): it must be a readable file") from error
    except PoFileError as error:
        raise SettingsError(f"{path}, line {error.lineno + 1}: this is not valid in a .po file ({error})") from error
    except (ValueError, LookupError) as error:
        raise SettingsError(f"{path} is not a .po file in UTF-8 ({error}): save it again with a .po editor") from error
    for message in catalogue:
        if message.id and (fault := placeholder_fault(message)):
            raise SettingsError(f"{path}, line {message.lineno}: {fault}")
    return catalogue


def placeholder_fault(message: Message) -> str:
    """Return the error in a translation's placeholders, or an empty text."""
    allowed: set[str] = set().union(*map(_placeholders, texts_of(message.id)))
    needed = allowed - {"count"} if message.pluralizable else allowed  # "one vote" needs no number
    for text in filter(None, texts_of(message.string)):
        try:
            found = {name[:1].lower() + name[1:] for name in _placeholders(text)}  # {Reason} is {reason}, capitalized
        except ValueError as error:
            return f"the braces of {_quote(text)} do not match ({error}): copy them from the English sentence"
        if foreign := found - allowed:
            return f"{_quote(text)} has {_name(foreign)}, which the English sentence has not: correct its name"
        if missing := needed - found:
            return f"{_quote(text)} lacks {_name(missing)} of the English sentence: add it"
    return ""


def texts_of(part: Any) -> list[str]:
    """Return a message's ID or translation, or those of its singular and plurals; None means untranslated."""
    return [part] if isinstance(part, str) else list(part or ())


def _placeholders(text: str) -> set[str]:
    """Return the contents of all braces; with a format or a conversion they never equal the name of a value."""
    parts = Formatter().parse(text)
    return {
        f"{name}{f'!{how}' if how else ''}{f':{form}' if form else ''}"
        for _, name, form, how in parts
        if name is not None
    }


def _name(placeholders: set[str]) -> str:
    return f"{{{min(placeholders)}}}"


def _quote(text: str) -> str:
    return f'"{shorten(text, MAX_QUOTED_CHARS)}"'


def _compile(catalogue: Catalog) -> GNUTranslations:
    """Return the catalogue compiled for gettext, without fuzzy and empty translations."""
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)
