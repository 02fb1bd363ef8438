"""Chooses the language: a member's own for what only they see, the server's for what everybody sees.

Also translates what Discord shows about commands: descriptions, choices and menus, not the names of slash
commands, because the docs name them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import discord
from discord import app_commands
from discord.app_commands import TranslationContextLocation, TranslationContextTypes, locale_str
from discord.ext import commands

from bot.localization.catalogues import read_catalogues
from bot.localization.sentences import ENGLISH, Language
from storage.errors import SettingsError
from storage.settings.sections import DiscordSettings
from storage.wording import shorten

MOST_REMEMBERED = 10_000
MAX_DESCRIPTION_CHARS = 100  # Discord's limit, above which it refuses all commands
TRANSLATED = frozenset(
    {
        TranslationContextLocation.command_description,
        TranslationContextLocation.group_description,
        TranslationContextLocation.parameter_description,
        TranslationContextLocation.choice_name,
    }
)


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
        self._members: OrderedDict[int, Language] = OrderedDict()
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
        language = self._members[interaction.user.id] = self.find(interaction.locale.value)
        self._members.move_to_end(interaction.user.id)
        if len(self._members) > MOST_REMEMBERED:
            self._members.popitem(last=False)
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
        """Return the translation; None for a text without one, so that Discord shows English."""
        is_menu = isinstance(context.data, app_commands.ContextMenu)  # whose name is all that members see of it
        language = self._translated.get(locale)
        if language is None or (context.location not in TRANSLATED and not is_menu):
            return None
        translated = language.translations.gettext(string.message)
        return None if translated == string.message else shorten(translated, MAX_DESCRIPTION_CHARS)

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
