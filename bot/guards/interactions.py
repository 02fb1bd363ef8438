"""Base classes of cogs, forms and buttons: they check access first, and reply to errors with a sentence.

Each request has an ID, which all its log lines have, and the language of its answer's reader.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from re import Match
from typing import Any, ClassVar, Self, TypeVar, get_type_hints

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_errors import DISCORD_ERRORS
from bot.guards.access import ALWAYS_ALLOWED, require_admin
from bot.guards.audit import is_for_admins
from bot.guards.error_handler import answer_privately, member_message, report_error
from bot.guards.rate_limit import RateLimited
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext, speak, speaking
from bot.services import Services, services_of
from storage.runtime.requests import begin_request, new_request_id, working_on
from storage.wording import shorten

EDIT_AGAIN_S = 900.0
ON_PAGE = 10
"""Lines on a page of a list; as a rule, they fit into a message."""
LABEL_CHARS, HELP_CHARS = 45, 100  # Discord's limits, which a translation may exceed


def begin_interaction(interaction: discord.Interaction) -> None:
    """Begin a request in the member's language; discord.py runs each command, button and form in its own task."""
    begin_request()
    speak(languages_of(interaction.client).of_member(interaction))


async def defer_publicly(interaction: discord.Interaction) -> None:
    """Begin an answer that everybody sees, in the language of the place."""
    await interaction.response.defer()
    speak_publicly(interaction)


def speak_publicly(interaction: discord.Interaction) -> None:
    """Write the following texts in the language of the place."""
    speak(languages_of(interaction.client).of_place(interaction.guild_id, interaction.user.id))


@contextmanager
def working_on_event(client: discord.Client, event: discord.Message | discord.RawReactionActionEvent) -> Iterator[None]:
    """Begin a request in the language of the place of a message or a reaction; new tasks inherit both."""
    with working_on(new_request_id()), speaking(languages_of(client).of_event(event)):
        yield


async def check_access(interaction: discord.Interaction) -> bool:
    """Return whether the user may use the bot; if not, reply privately with the reason."""
    services = services_of(interaction)
    refusal = await services.access.refusal(interaction.user, interaction.guild_id, interaction.channel)
    if refusal is not None and interaction.type is not discord.InteractionType.autocomplete:
        with contextlib.suppress(*DISCORD_ERRORS):
            await interaction.response.send_message(gettext(refusal.value), ephemeral=True)
    return refusal is None


def guild_id_of(interaction: discord.Interaction) -> int:
    assert interaction.guild_id is not None, "only servers offer it"
    return interaction.guild_id


class BotCog(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class AdminCog(BotCog):
    """A cog whose commands are for admins."""

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.services.settings.discord)
        return True


class Form(discord.ui.Modal):
    """A form without a time limit."""

    action: ClassVar[str] = ""
    """Name of an admin's action, for the audit trail; empty for members' forms."""

    def __init__(self, services: Services, title: str) -> None:
        super().__init__(title=shorten(title, LABEL_CHARS), timeout=None)
        self._services = services

    def _ask(
        self,
        key: str,
        label: str,
        help_text: str | None = None,
        *,
        limit: int,
        default: str = "",
        long: bool = False,
        required: bool = False,
    ) -> discord.ui.TextInput[Self]:
        """Add a field for text and return it; a default that is too long is left out, not cut unseen."""
        style = discord.TextStyle.paragraph if long else discord.TextStyle.short
        shown = default if len(default) <= limit else ""
        field: discord.ui.TextInput[Self] = discord.ui.TextInput(
            style=style, default=shown or None, max_length=limit, required=required, custom_id=key
        )
        about = help_text and shorten(help_text, HELP_CHARS)
        self.add_item(discord.ui.Label(text=shorten(label, LABEL_CHARS), description=about, component=field))
        return field

    def _let_choose(
        self, key: str, label: str, choices: Iterable[str], *, chosen: str = "", help_text: str | None = None
    ) -> discord.ui.RadioGroup[Self]:
        """Add 2 to 10 choices, of which one is taken, and return them; their texts are their values."""
        options = [discord.RadioGroupOption(label=choice, value=choice, default=choice == chosen) for choice in choices]
        group: discord.ui.RadioGroup[Self] = discord.ui.RadioGroup(custom_id=key, options=options)
        about = help_text and shorten(help_text, HELP_CHARS)
        self.add_item(discord.ui.Label(text=shorten(label, LABEL_CHARS), description=about, component=group))
        return group

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        begin_interaction(interaction)
        if not await check_access(interaction):
            return False
        self.require(interaction)
        return True

    def require(self, interaction: discord.Interaction) -> None:
        """Raise if the user may not send the form: they may have lost a right since they opened it."""

    async def on_error(self, interaction: discord.Interaction, error: Exception, /) -> None:
        await report_error(interaction, error, self.action)


class AdminForm(Form):
    def require(self, interaction: discord.Interaction) -> None:
        require_admin(interaction.user, self._services.settings.discord)


class DraftForm(AdminForm):
    """A form that can be opened again after a refusal, with its contents."""

    @abstractmethod
    def again(self) -> Form: ...

    async def on_error(self, interaction: discord.Interaction, error: Exception, /) -> None:
        await super().on_error(interaction, error)
        with contextlib.suppress(*DISCORD_ERRORS):
            said = gettext("Your text is not lost.")
            await interaction.followup.send(said, view=_EditAgain(self.again), ephemeral=True)


class _EditAgain(discord.ui.View):
    def __init__(self, form: Callable[[], Form]) -> None:
        super().__init__(timeout=EDIT_AGAIN_S)
        self._form = form
        self.edit.label = gettext("Edit again")

    @discord.ui.button()
    async def edit(self, interaction: discord.Interaction, _button: discord.ui.Button[Self]) -> None:
        begin_interaction(interaction)
        await interaction.response.send_modal(self._form())


T = TypeVar("T")
ItemT = TypeVar("ItemT", bound=discord.ui.Item[Any])


class PersistentItem(discord.ui.DynamicItem[ItemT], template=r"(?!)"):
    """A component that also works after a restart: its custom ID contains everything it needs.

    A subclass gives its `template`, which matches the custom ID: its groups are the first parameters of `__init__`.
    """

    action: str = ""
    """Name of an admin's action, for the audit trail; empty for what members press, and for reading."""

    @classmethod
    def parse(cls, match: Match[str]) -> Self:
        """Return the component for a custom ID that matched the template."""
        kinds = get_type_hints(cls.__init__).values()
        return cls(*(kind(part) for kind, part in zip(kinds, match.groups(), strict=False)))

    @abstractmethod
    async def press(self, interaction: discord.Interaction, services: Services) -> None: ...

    @classmethod
    async def from_custom_id(
        cls, _interaction: discord.Interaction, _item: discord.ui.Item[Any], match: Match[str], /
    ) -> Self:
        return cls.parse(match)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        begin_interaction(interaction)
        return await check_access(interaction)

    async def callback(self, interaction: discord.Interaction) -> None:
        try:
            await self.press(interaction, services_of(interaction))
        except Exception as error:
            await report_error(interaction, error, self.action)


class PersistentButton(PersistentItem[discord.ui.Button[discord.ui.View]], template=r"(?!)"):
    def __init__(self, custom_id: str, label: str, style: discord.ButtonStyle = discord.ButtonStyle.secondary) -> None:
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=custom_id))


class PersistentSelect(PersistentItem[discord.ui.Select[discord.ui.View]], template=r"(?!)"):
    """A choice of one name."""

    def __init__(self, custom_id: str, placeholder: str, about: Mapping[str, str]) -> None:
        """`about` is {name: a few words about it}."""
        options = [
            discord.SelectOption(label=name, description=shorten(words, HELP_CHARS) or None)
            for name, words in about.items()
        ]
        super().__init__(discord.ui.Select(custom_id=custom_id, placeholder=placeholder, options=options))

    @property
    def chosen(self) -> str:
        return self.item.values[0]


def list_page(known: list[T], page: int, before: str, after: str) -> tuple[list[T], list[tuple[int, str]]]:
    """Return what stands on a page of a list, and the pages before and after it, each with its number and label.

    If others removed so much that the page is gone, it is the last one.
    """
    page = min(page, max(0, len(known) - 1) // ON_PAGE)
    end = (page + 1) * ON_PAGE
    turns = ([(page - 1, before)] if page else []) + ([(page + 1, after)] if len(known) > end else [])
    return known[page * ON_PAGE : end], turns


def button_row(items: Iterable[PersistentItem[Any]]) -> discord.ui.View:
    """Return buttons beside each other; a select takes a row of its own."""
    view = discord.ui.View(timeout=None)
    for item in items:
        view.add_item(item)
    view.stop()  # the items work without it, and a view that waits stays in memory
    return view


class AuditedCommandTree(app_commands.CommandTree[discord.Client]):
    """Checks access and rate limits before each command, and replies to errors."""

    def add_command(
        self,
        command: app_commands.Command[Any, ..., Any] | app_commands.ContextMenu | app_commands.Group,
        /,
        **options: Any,
    ) -> None:
        """Add a command; Discord takes 15 menus of a kind since 3 March 2026, discord.py 2.7.1 only five.

        https://docs.discord.com/developers/change-log, https://github.com/Rapptz/discord.py/issues/10503
        """
        if isinstance(command, app_commands.ContextMenu):
            self._context_menus[command.name, None, command.type.value] = command
        else:
            super().add_command(command, **options)

    async def interaction_check(self, interaction: discord.Interaction[discord.Client], /) -> bool:
        begin_interaction(interaction)
        services = services_of(interaction)
        completes = interaction.type is discord.InteractionType.autocomplete
        name = interaction.data.get("name") if interaction.data else None
        if name not in ALWAYS_ALLOWED and not await check_access(interaction):
            return False
        try:
            if not completes:
                services.rate_limiter.require(interaction.user.id, interaction.channel_id or 0, interaction.guild_id)
        except RateLimited as error:
            await answer_privately(interaction, member_message(error))
            return False
        return True

    async def on_error(
        self, interaction: discord.Interaction[discord.Client], error: app_commands.AppCommandError, /
    ) -> None:
        command = interaction.command
        await report_error(interaction, error, command.qualified_name if command and is_for_admins(command) else "")
