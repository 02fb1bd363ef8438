"""An admin's choices in `/setup` and the present setup, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from discord.utils import format_dt
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.localization.sentences import gettext, language_name
from bot.text.sanitize import escape_inline
from storage.database.enums import Rule, Scope
from storage.personalities.bindings import BindingPlace, active_personality_at, list_bindings
from storage.personalities.personalities import Personality, list_personalities, personality_named
from storage.servers import ServerChoices, apply_setup, choices_of, find_setup
from storage.settings.sections import Settings
from storage.wording import gettext_noop

RULE_WORDS = {
    Rule.ALWAYS: gettext_noop("every message"),
    Rule.QUESTION: gettext_noop("questions, mentions and replies"),
    Rule.REPLY: gettext_noop("mentions and replies"),
    Rule.MENTION: gettext_noop("only mentions"),
    Rule.NEVER: gettext_noop("nothing"),
}
MOST_LISTED = 5
END_OF_LABEL = "** "
ARENA_TIMES = {
    "0 18 * * *": gettext_noop("every day at 18:00 UTC"),
    "0 18 * * mon,thu": gettext_noop("on Mondays and Thursdays at 18:00 UTC"),
    "0 18 * * fri": gettext_noop("on Fridays at 18:00 UTC"),
}
WEEKLY_WORDS = {False: gettext_noop("none"), True: gettext_noop("on Mondays at 18:00 UTC")}


@dataclass(frozen=True)
class ServerState:
    """The setup that holds in a server."""

    choices: ServerChoices
    personality: str
    """The personality that answers where no other is bound."""
    generation: int = 0
    chosen_by: str = ""
    chosen_at: datetime | None = None

    def describe_origin(self) -> str:
        """Return the admin who set up the server, and the time; empty if nobody did."""
        if self.chosen_at is None:
            return ""
        when = format_dt(self.chosen_at, "R")
        return gettext("Set up by {admin} {time}.", admin=escape_inline(self.chosen_by), time=when)


@dataclass(frozen=True)
class Known:
    """The present setup, and the personalities to choose from."""

    now: ServerState
    personalities: tuple[Personality, ...]
    bound: frozenset[int] = frozenset()
    """IDs of the channels and categories that have a personality of their own."""


def read_known(session: Session, settings: Settings, guild_id: int, channel_ids: Collection[int]) -> Known:
    setup = find_setup(session, guild_id)
    speaks = active_personality_at(session, [BindingPlace(Scope.SERVER, guild_id)]).personality.name
    known = tuple(list_personalities(session, guild_id))
    bound = frozenset(
        one.place_id for one in list_bindings(session, guild_id=guild_id) if one.scope is not Scope.SERVER
    )
    now = (
        ServerState(setup.choices, speaks, setup.generation, setup.chosen_by, setup.chosen_at)
        if setup
        else ServerState(choices_of(settings, channel_ids), speaks)
    )
    return Known(now, known, bound)


@dataclass
class SetupDraft:
    """An admin's choices so far; they hold only once they are stored."""

    known: Known
    choices: ServerChoices
    personality: str

    @classmethod
    def of(cls, known: Known) -> SetupDraft:
        return cls(known, known.now.choices, known.now.personality)

    @property
    def speaker(self) -> Personality | None:
        """The chosen personality; None if it is not known, for example because it was made since."""
        return next((one for one in self.known.personalities if one.name == self.personality), None)

    def choose(self, **values: Any) -> None:
        changed = {**self.choices.model_dump(), **values}
        self.choices = ServerChoices.model_validate(changed, extra="forbid")

    def choose_rule(self, rule: Rule, shown: Collection[int], chosen: Iterable[int]) -> None:
        """Let the rule hold in the chosen channels, and no longer in others of those shown."""
        rules = {id_: of for id_, of in self.choices.rules.items() if not (of is rule and id_ in shown)}
        self.choose(rules={**rules, **dict.fromkeys(chosen, rule)})

    def require_complete(self) -> None:
        """Raise UserFacingError if something is missing."""
        if self.choices.arena_schedule and not self.choices.arena_channel:
            raise UserFacingError("Choose the channel for arenas, or switch them off.")
        if self.choices.weekly and not self.choices.announce_channel:
            raise UserFacingError("Choose the channel for releases, or switch the weekly message off.")

    def apply(self, session: Session, guild_id: int, by: str) -> None:
        """Store the choices; raises SetupConflict, or PersonalityConflict, as `apply_setup` does."""
        now = self.known.now
        is_other = self.personality != now.personality  # otherwise another admin may have bound one since
        personality = personality_named(session, self.personality, guild_id) if is_other else None
        apply_setup(session, guild_id, self.choices, personality, expected_generation=now.generation, by=by)

    def changes(self) -> list[str]:
        """Return the lines that differ from the present setup."""
        before = describe_state(self.known.now.choices, self.known.now.personality)
        after = describe_state(self.choices, self.personality)
        return [line.replace("**", "") for line in after if line not in before]

    def lines(self) -> list[str]:
        """Return the new setup in lines, with the present value below each change."""
        before = describe_state(self.known.now.choices, self.known.now.personality)
        after = describe_state(self.choices, self.personality)
        now = (gettext("now: {setting}", setting=old.partition(END_OF_LABEL)[2]) for old in before)
        changed = (f"{new}\n-# ✏️ {old}" for old, new in zip(now, after, strict=True))
        return [new if new in before else line for new, line in zip(after, changed, strict=True)]


def describe_state(choices: ServerChoices, personality: str) -> list[str]:
    """Return one line for each choice, always in the same order."""
    roles = list_mentions(f"<@&{id_}>" for id_ in sorted(choices.roles))
    announced = _in(choices.announce_channel) if choices.announce_channel else gettext("not announced")
    language = language_name(choices.language) if choices.language else gettext("automatic")
    lines = [
        (gettext("Answers:"), _describe_rules(choices)),
        (gettext("Threads:"), _describe_threads(choices)),
        (gettext("Members:"), roles or gettext("everybody")),
        (gettext("Personality:"), personality),
        (gettext("Arenas:"), describe_arenas(choices)),
        (gettext("Releases:"), announced),
        (gettext("Weekly message:"), gettext(WEEKLY_WORDS[choices.weekly])),
        (gettext("Language:"), language),
    ]
    return [f"**{label}{END_OF_LABEL}{value}" for label, value in lines]


def describe_arenas(choices: ServerChoices) -> str:
    when = describe_time(choices.arena_schedule)
    return f"{when} {_in(choices.arena_channel)}" if choices.arena_schedule else when


def describe_time(schedule: str) -> str:
    """Return the schedule of arenas in words; an empty schedule starts none."""
    if not schedule:
        return gettext("when an admin starts one")
    known = ARENA_TIMES.get(schedule)
    return gettext(known) if known else gettext("at `{schedule}` UTC", schedule=schedule)


def _describe_rules(choices: ServerChoices) -> str:
    by_rule = {rule: [id_ for id_, of in choices.rules.items() if of is rule] for rule in RULE_WORDS}
    places = [f"{gettext(RULE_WORDS[rule])} {_in(*ids)}" for rule, ids in by_rule.items() if ids]
    rest = gettext(RULE_WORDS[choices.elsewhere])
    last = gettext("{what} elsewhere", what=rest) if places else gettext("{what} everywhere", what=rest)
    return "; ".join([*places, last])


def _describe_threads(choices: ServerChoices) -> str:
    if choices.threads_everywhere:
        return gettext("each conversation gets its own")
    if choices.thread_channels:
        return f"{gettext('each conversation gets its own')} {_in(*choices.thread_channels)}"
    return gettext("only with `/thread`")


def _in(*channel_ids: int) -> str:
    return gettext("in {places}", places=list_mentions(f"<#{id_}>" for id_ in sorted(channel_ids)))


def list_mentions(mentions: Iterable[str]) -> str:
    """Return as many of these as a message has room for."""
    listed = list(mentions)
    more, shown = len(listed) - MOST_LISTED, ", ".join(listed[:MOST_LISTED])
    return gettext("{places} and {number} more", places=shown, number=more) if more > 0 else shown
