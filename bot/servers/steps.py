"""The pages of `/setup`: the question of each, with its selects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import discord
from discord import SelectDefaultValue, SelectDefaultValueType, ui

from bot.guards.interactions import PersistentButton
from bot.localization.languages import Languages
from bot.localization.sentences import gettext, language_name
from bot.servers.checks import WARNING, lacking_to_appear
from bot.servers.draft import ARENA_TIMES, RULE_WORDS, WEEKLY_WORDS, SetupDraft, describe_time
from bot.text.panels import action_row
from bot.text.sanitize import quote_plainly
from storage.database.enums import Rule
from storage.settings.sections import Settings
from storage.wording import gettext_noop, shorten

OPTION_CHARS = 100  # Discord's limit
KIND = discord.ChannelType
PLACES = [KIND.text, KIND.news, KIND.voice, KIND.stage_voice, KIND.forum, KIND.category]
TEXT_PLACES = [KIND.text, KIND.news, KIND.category]
ARENA_PLACES = [KIND.text, KIND.voice]
NEWS_PLACES = [KIND.text, KIND.news]
WHERE = gettext_noop("Choose channels or whole categories. A channel's own choice comes before its category's.")
THREADS = gettext_noop("Instead of answering in the channel, I can open a thread from each question and talk there.")
ROLES = gettext_noop("Admins may always use me. Without a role here, everybody may.")
PERSONALITY = gettext_noop(
    "Who answers where no other personality is bound (`/personality bind`). More of them: `/personality create`, or "
    "`/personality import` for a character card; then press Next and Back to see them here."
)
LEFT_OUT = gettext_noop(
    "Discord shows only 25 in a list, so {number} are missing: choose any of them with `/personality bind` and "
    "`server`."
)
ARENAS = gettext_noop(
    "In an arena I give several blind answers to a prompt of my operator, and members choose the best."
)
RELEASES = gettext_noop("A line whenever a new version of me is ready, promoted or dropped.")
WEEKLY = gettext_noop(
    "What you taught me in a week, in the channel for releases: votes, choices, what I now see that members like, and "
    "what to do next. Nothing in a week in which nothing happened."
)
LANGUAGE = gettext_noop(
    "The language of what I say to everybody here. What only one member sees is in the language that they have chosen "
    "in Discord, and answers are as my prompt says."
)
AUTOMATIC = "automatic"
PREFIX = "setup:"
MOST_CHOICES = 25  # Discord's limit
MOST_CHARS = 3_600  # Discord's limit for all texts of a message is 4,000


class Pages(ui.LayoutView):
    @abstractmethod
    async def show(self, interaction: discord.Interaction) -> None:
        """Show the choice, in answer to a click."""

    def lines(self, lines: Iterable[str]) -> ui.TextDisplay[Pages]:
        """Return as much of the lines as a message has room for, beside its heading and buttons."""
        return ui.TextDisplay(shorten("\n".join(lines), MOST_CHARS))


class ChannelChoice(ui.ChannelSelect[Pages]):
    def __init__(
        self,
        key: str,
        chosen: Iterable[int],
        choose: Callable[[list[int]], None],
        *,
        kinds: list[discord.ChannelType],
        most: int = MOST_CHOICES,
        disabled: bool = False,
    ) -> None:
        """`chosen` are IDs of channels that exist."""
        defaults = [SelectDefaultValue(id=id_, type=SelectDefaultValueType.channel) for id_ in chosen]
        super().__init__(
            custom_id=PREFIX + key,
            channel_types=kinds,
            placeholder=gettext("No channel"),
            min_values=0,
            max_values=most,
            default_values=defaults,
            disabled=disabled,
        )
        self._choose = choose

    async def callback(self, interaction: discord.Interaction) -> None:
        self._choose([channel.id for channel in self.values])
        assert self.view is not None
        await self.view.show(interaction)


class RoleChoice(ui.RoleSelect[Pages]):
    def __init__(self, chosen: Iterable[int], choose: Callable[[list[int]], None]) -> None:
        defaults = [SelectDefaultValue(id=id_, type=SelectDefaultValueType.role) for id_ in chosen]
        super().__init__(
            custom_id=f"{PREFIX}roles",
            placeholder=gettext("Everybody"),
            min_values=0,
            max_values=MOST_CHOICES,
            default_values=defaults,
        )
        self._choose = choose

    async def callback(self, interaction: discord.Interaction) -> None:
        self._choose([role.id for role in self.values])
        assert self.view is not None
        await self.view.show(interaction)


class OneChoice(ui.Select[Pages]):
    def __init__(self, key: str, options: list[discord.SelectOption], choose: Callable[[str], None]) -> None:
        super().__init__(custom_id=PREFIX + key, options=options)
        self._choose = choose

    async def callback(self, interaction: discord.Interaction) -> None:
        self._choose(self.values[0])
        assert self.view is not None
        await self.view.show(interaction)


async def edit_to(interaction: discord.Interaction, text: str, button: PersistentButton | None = None) -> None:
    """Replace the whole message by this text."""
    closed: ui.LayoutView = ui.LayoutView(timeout=None)
    closed.add_item(ui.TextDisplay(text))
    if button is not None:
        closed.add_item(action_row(button))
    if interaction.response.is_done():
        await interaction.edit_original_response(view=closed)
    else:
        await interaction.response.edit_message(view=closed)


Rows = list[ui.Item[Pages]]


@dataclass(frozen=True)
class Step:
    title: str
    rows: Callable[[SetupDraft, discord.Guild], Rows]


def where_rows(draft: SetupDraft, guild: discord.Guild) -> Rows:
    rows: Rows = [ui.TextDisplay(gettext(WHERE))]
    for rule, words in RULE_WORDS.items():
        shown = _existing(guild, PLACES, (id_ for id_, of in draft.choices.rules.items() if of is rule))
        choose = partial(draft.choose_rule, rule, shown)
        heading = gettext("I answer {what} in", what=gettext(words))
        rows += [ui.TextDisplay(f"**{heading}**"), _row(ChannelChoice(rule, shown, choose, kinds=PLACES))]
    elsewhere = [
        _option(_capitalised(gettext(words)), rule, rule is draft.choices.elsewhere)
        for rule, words in RULE_WORDS.items()
    ]
    choose_elsewhere = OneChoice("elsewhere", elsewhere, lambda rule: draft.choose(elsewhere=Rule(rule)))
    return [*rows, ui.TextDisplay(f"**{gettext('Everywhere else I answer')}**"), _row(choose_elsewhere)]


def thread_rows(draft: SetupDraft, guild: discord.Guild) -> Rows:
    everywhere, shown = draft.choices.threads_everywhere, _existing(guild, TEXT_PLACES, draft.choices.thread_channels)

    def choose(ids: list[int]) -> None:
        draft.choose(thread_channels=draft.choices.thread_channels.difference(shown).union(ids))

    options = [
        _option(gettext("Only in the channels below"), "some", not everywhere),
        _option(gettext("Everywhere I answer"), "all", everywhere),
    ]
    return [
        ui.TextDisplay(gettext(THREADS)),
        _row(OneChoice("threads", options, lambda value: draft.choose(threads_everywhere=value == "all"))),
        ui.TextDisplay(f"**{gettext('Each conversation gets its own thread in')}**"),
        _row(ChannelChoice("thread-channels", shown, choose, kinds=TEXT_PLACES, disabled=everywhere)),
    ]


def role_rows(draft: SetupDraft, guild: discord.Guild) -> Rows:
    shown = [id_ for id_ in sorted(draft.choices.roles) if guild.get_role(id_)][:MOST_CHOICES]
    return [ui.TextDisplay(gettext(ROLES)), _row(RoleChoice(shown, lambda ids: draft.choose(roles=frozenset(ids))))]


def personality_rows(settings: Settings, draft: SetupDraft, guild: discord.Guild) -> Rows:
    options = [
        _option(one.name, one.name, one.name == draft.personality, one.card.description)
        for one in sorted(draft.known.personalities, key=lambda one: one.name != draft.personality)
    ]

    def choose(name: str) -> None:
        draft.personality = name

    left = len(options) - MOST_CHOICES
    about = f"{gettext(PERSONALITY)} {gettext(LEFT_OUT, number=left)}" if left > 0 else gettext(PERSONALITY)
    lacking = [
        ui.TextDisplay[Pages](f"{WARNING} {problem}")
        for problem in lacking_to_appear(draft, settings, guild.channels, guild.me)
    ]
    return [ui.TextDisplay(about), _row(OneChoice("personality", options[:MOST_CHOICES], choose)), *lacking]


def own_rows(draft: SetupDraft, guild: discord.Guild) -> Rows:
    chosen = draft.choices.arena_schedule
    times = dict.fromkeys(("", *ARENA_TIMES, chosen))
    options = [_option(_capitalised(describe_time(time)), time or "off", time == chosen) for time in times]
    weekly = [
        _option(_capitalised(gettext(words)), "on" if is_on else "off", is_on is draft.choices.weekly)
        for is_on, words in WEEKLY_WORDS.items()
    ]
    arena = _existing(guild, ARENA_PLACES, [draft.choices.arena_channel])
    announce = _existing(guild, NEWS_PLACES, [draft.choices.announce_channel])
    return [
        ui.TextDisplay(f"**{gettext('Arenas')}**\n{gettext(ARENAS)}"),
        _row(OneChoice("arenas", options, lambda time: draft.choose(arena_schedule=time if time != "off" else ""))),
        _row(_one_channel("arena-channel", arena, lambda id_: draft.choose(arena_channel=id_), ARENA_PLACES)),
        ui.TextDisplay(f"**{gettext('Releases')}**\n{gettext(RELEASES)}"),
        _row(_one_channel("announce", announce, lambda id_: draft.choose(announce_channel=id_), NEWS_PLACES)),
        ui.TextDisplay(f"**{gettext('Weekly message')}**\n{gettext(WEEKLY)}"),
        _row(OneChoice("weekly", weekly, lambda value: draft.choose(weekly=value == "on"))),
    ]


def language_rows(languages: Languages, draft: SetupDraft, guild: discord.Guild) -> Rows:
    present = language_name(languages.without_choice(guild.id).code)
    automatic = gettext("Automatic: {language}", language=present)
    chosen = draft.choices.language
    options = [
        _option(automatic, AUTOMATIC, chosen not in languages.codes, gettext("As my operator or Discord says")),
        *(
            _option(language_name(code), code, code == chosen)
            for code in sorted(languages.codes, key=lambda code: code != chosen)
        ),
    ]

    def choose(code: str) -> None:
        draft.choose(language="" if code == AUTOMATIC else code)

    return [ui.TextDisplay(gettext(LANGUAGE)), _row(OneChoice("language", options, choose))]


def steps_of(languages: Languages, settings: Settings) -> tuple[Step, ...]:
    return (
        Step(gettext_noop("where I answer"), where_rows),
        Step(gettext_noop("threads"), thread_rows),
        Step(gettext_noop("who may use me"), role_rows),
        Step(gettext_noop("personality"), partial(personality_rows, settings)),
        Step(gettext_noop("what I start on my own"), own_rows),
        Step(gettext_noop("language"), partial(language_rows, languages)),
    )


def _one_channel(
    key: str, chosen: list[int], choose: Callable[[int], None], kinds: list[discord.ChannelType]
) -> ChannelChoice:
    return ChannelChoice(key, chosen, lambda ids: choose(ids[0] if ids else 0), kinds=kinds, most=1)


def _existing(guild: discord.Guild, kinds: list[discord.ChannelType], channel_ids: Iterable[int]) -> list[int]:
    """Return the channels that a select of these kinds can show."""
    found = filter(None, map(guild.get_channel, sorted(channel_ids)))
    return [channel.id for channel in found if channel.type in kinds][:MOST_CHOICES]


def _capitalised(words: str) -> str:
    return words[0].upper() + words[1:]


def _option(label: str, value: str, is_default: bool, about: str = "") -> discord.SelectOption:
    description = shorten(quote_plainly(about), OPTION_CHARS) or None
    return discord.SelectOption(label=label, value=value, description=description, default=is_default)


def _row(item: ui.Item[Pages]) -> ui.ActionRow[Pages]:
    return ui.ActionRow(item)
